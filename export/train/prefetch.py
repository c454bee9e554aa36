"""Prepares the next batches while the network trains on this one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from edgetrack.errors import InputError
from edgetrack.export.train.sampler import Batch, Sampler

__all__ = ["Prefetcher"]

_POLL_S = 0.1


class _Ready(NamedTuple):
    batch: Batch
    state: dict[str, Any]  # of the sampler after this batch
    done: torch.cuda.Event | None  # recorded behind the kernels that make the batch


class Prefetcher:
    """A sampler's batches, drawn ahead by a thread, on a GPU in a stream of its own.

    The batches, and the state between two of them, are exactly the sampler's own. Use as a context manager, or call
    `close`; the sampler belongs to the thread until then.
    """

    def __init__(self, sampler: Sampler, size: int, depth: int = 2) -> None:
        """Start with the first batch that is asked for.

        Args:
            sampler: what draws.
            size: samples of every batch.
            depth: batches that wait at most.

        Raises:
            InputError: `size` or `depth` is below 1.
        """
        if size < 1 or depth < 1:
            raise InputError(f"{depth} batches of {size} samples ahead; give at least 1 of 1")
        self._sampler = sampler
        self._size = size
        self._depth = depth
        self._state = sampler.state_dict()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batch(self, size: int) -> Batch:
        """Return the next batch, of the size given at the start.

        Raises:
            InputError: another size is asked for, or what the sampler raises.
        """
        if size != self._size:
            raise InputError(f"a batch of {size} samples from a prefetcher of {self._size}; ask for that many")
        if self._thread is None:
            self._start()
        ready = self._queue.get()
        if isinstance(ready, BaseException):
            self.close()
            raise ready
        if ready.done is not None:
            stream = torch.cuda.current_stream(self._sampler.device)
            stream.wait_event(ready.done)
            for tensor in (*ready.batch[:-1], *(ready.batch.shown or ())):
                if tensor.is_cuda:
                    tensor.record_stream(stream)  # or its memory would be given to the next batch too early
        self._state = ready.state
        return ready.batch

    def names(self, batch: Batch) -> list[str]:
        """Return the names of the tracks in a batch, in its order."""
        return self._sampler.names(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state after the last batch that was handed out."""
        return self._state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of this class or of `Sampler`; see there for what is raised."""
        self.close()
        self._sampler.load_state_dict(state)
        self._state = self._sampler.state_dict()

    def close(self) -> None:
        """Stop the thread and put the sampler back behind the last batch that was handed out."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._sampler.load_state_dict(self._state)

    def _start(self) -> None:
        self._queue: queue.Queue[_Ready | BaseException] = queue.Queue(self._depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            stream = self._stream()
            while not self._stop.is_set():
                self._put(self._draw(stream))
        except BaseException as error:  # noqa: BLE001 (raised again by whoever asks for the batch)
            self._put(error)

    def _stream(self) -> torch.cuda.Stream | None:
        device = self._sampler.device
        if device.type != "cuda":
            return None
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.default_stream(device))  # which filled the bank
        return stream

    def _draw(self, stream: torch.cuda.Stream | None) -> _Ready:
        if stream is None:
            return _Ready(self._sampler.batch(self._size), self._sampler.state_dict(), None)
        with torch.cuda.stream(stream):
            batch = self._sampler.batch(self._size)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(stream)
        return _Ready(batch, self._sampler.state_dict(), done)

    def _put(self, item: _Ready | BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return
