"""One tracker belongs to one thread at a time; other threads run on meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fartrack_fakes import START, started, textured_frame
from thread_case import frame_in_another_thread

from edgetrack import _core
from edgetrack.errors import InputError


def test_other_threads_run_while_a_frame_is_tracked_and_may_not_use_the_tracker() -> None:
    tracker, networks = started()
    with frame_in_another_thread(tracker, networks) as results:
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
