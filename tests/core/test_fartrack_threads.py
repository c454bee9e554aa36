"""One tracker belongs to one thread at a time; other threads run on meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from fartrack_fakes import START, started, textured_frame

from edgetrack import _core
from edgetrack.errors import InputError


def test_other_threads_run_while_a_frame_is_tracked_and_may_not_use_the_tracker() -> None:
    tracker, networks = started()
    entered, leave = threading.Event(), threading.Event()
    plain_look = networks.look

    def slow_look(*args: Any) -> tuple[np.ndarray, np.ndarray]:
        entered.set()
        leave.wait(10)
        return plain_look(*args)

    networks.look = slow_look  # type: ignore[method-assign]
    results: list[Any] = []
    worker = threading.Thread(target=lambda: results.append(tracker.update(textured_frame(1))))
    worker.start()
    assert entered.wait(10)
    try:
        for call in (
            lambda: tracker.update(textured_frame(1)),
            lambda: tracker.init(textured_frame(0), START),
            tracker.reset,
            lambda: tracker.set_state(START),
            lambda: tracker.logits,
        ):
            with pytest.raises(InputError, match="used from two threads at once"):
                call()
        assert (tracker.box, tracker.state, tracker.frame_index) == (START, _core.State.TRACKING, 0)
    finally:
        leave.set()
        worker.join()
    assert results[0][0]
    assert tracker.update(textured_frame(2))[0]


def test_trackers_of_their_own_run_side_by_side() -> None:
    expected: list[Any] = []
    tracker, _ = started()
    expected = [tracker.update(textured_frame(n)) for n in range(1, 25)]
    seen: dict[int, list[Any]] = {}

    def follow(key: int) -> None:
        mine, _ = started()
        seen[key] = [mine.update(textured_frame(n)) for n in range(1, 25)]

    workers = [threading.Thread(target=follow, args=(key,)) for key in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == dict.fromkeys(range(4), expected)
