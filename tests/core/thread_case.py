"""A tracker that is in the middle of a frame in another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fartrack_fakes import textured_frame


@contextmanager
def frame_in_another_thread(tracker: Any, networks: Any) -> Iterator[list[Any]]:
    """Hold `tracker` inside its search network for the length of the block; afterwards the list has its result."""
    entered, leave = threading.Event(), threading.Event()
    plain_look = networks.look

    def slow_look(*args: Any) -> Any:
        entered.set()
        leave.wait(10)
        return plain_look(*args)

    networks.look = slow_look
    results: list[Any] = []
    worker = threading.Thread(target=lambda: results.append(tracker.update(textured_frame(1))))
    worker.start()
    assert entered.wait(10)
    try:
        yield results
    finally:
        leave.set()
        worker.join()
