"""One thread that carries out commands in the order in which they were given, and works on between them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from edgetrack.serve.errors import NotNow

T = TypeVar("T")

__all__ = ["THREADS", "Worker", "still_at_work"]

THREADS = "edgetrack-"
"""How the names of all threads of a session begin."""

_Job = tuple["Future[Any]", Callable[[], Any]]


class Worker:
    """Owns what belongs to one thread: all of it is touched by commands and by `advance` alone."""

    def __init__(self, advance: Callable[[], float | None], name: str) -> None:
        """Use `start` next.

        Args:
            advance: does one piece of work and returns after how many seconds it wants to be called again, unless a
                command comes before; 0: at once, None: only after a command. Raises nothing.
            name: of the thread.
        """
        self._advance = advance
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def closed(self) -> bool:
        """Whether no more commands are taken."""
        return self._closed.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, command: Callable[[], T]) -> Future[T]:
        """Have `command` called after those given before; what it returns or raises comes with the future.

        Raises:
            NotNow: the worker is closed.
        """
        if self._closed.is_set():
            raise NotNow("the server is shutting down; start it again")
        future: Future[T] = Future()
        self._jobs.put((future, command))
        return future

    def close(self, timeout_s: float) -> bool:
        """Carry out the commands given so far, end the thread, and tell whether it has ended in time."""
        self._closed.set()
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            wait_s = self._advance()
            while True:
                try:
                    job = self._jobs.get(timeout=wait_s) if wait_s is None or wait_s > 0 else self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    return
                _carry_out(*job)
                wait_s = 0.0


def still_at_work(timeout_s: float) -> bool:
    """Wait for the threads of closed sessions; tell whether one is left, in a network or driver that none can stop."""
    end = time.monotonic() + timeout_s
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return any(thread.is_alive() for thread in threads)


def _carry_out(future: Future[Any], command: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = command()
    except BaseException as error:  # noqa: BLE001 (whoever waits for the future is told)
        future.set_exception(error)
    else:
        future.set_result(result)
