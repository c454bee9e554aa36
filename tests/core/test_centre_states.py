"""The centre-head tracker's scores and states, its two guards, its errors, and who may use it when."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from centre_fakes import GIVEN, centre_snapshot, centre_spec, centre_started, one_peak
from fartrack_fakes import START, textured_frame
from thread_case import frame_in_another_thread

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError

MIDDLE = 4 * 8 + 4


def test_states_follow_the_thresholds_and_lost_keeps_the_last_box() -> None:
    tracker, networks = centre_started(centre_spec(score__uncertain_below=0.8, score__lost_below=0.4))
    seen = []
    for n, score in enumerate([0.9, 0.5, 0.2, 0.8], start=1):
        networks.maps = one_peak(networks.spec, MIDDLE + n % 2, score)
        before = tracker.box
        ok, box = tracker.update(textured_frame(n))
        assert tracker.score == tracker.raw_score == np.float32(score)
        assert ok == (tracker.state != _core.State.LOST)
        assert box == tracker.box == (tracker.raw_box if ok else before)
        assert tracker.frame_index == n  # the published loop goes on
        assert tracker.candidates(1) == [(tracker.raw_box, tracker.raw_score)]
        seen.append(tracker.state)
    tracking, uncertain, lost = _core.State.TRACKING, _core.State.UNCERTAIN, _core.State.LOST
    assert seen == [tracking, uncertain, lost, tracking]


def test_calibration_is_a_logistic_curve() -> None:
    tracker, networks = centre_started(centre_spec(score__calibration={"slope": 3.0, "intercept": -1.0}))
    networks.maps = one_peak(networks.spec, MIDDLE, 0.5)
    tracker.update(textured_frame(1))
    assert tracker.raw_score == 0.5
    assert tracker.score == pytest.approx(1 / (1 + math.exp(-(3 * 0.5 - 1))), rel=1e-12)


def test_the_raw_score_is_without_the_window() -> None:
    tracker, networks = centre_started()
    networks.maps = one_peak(networks.spec, 0, 0.75)
    tracker.update(textured_frame(1))
    assert tracker.raw_score == 0.75
    np.testing.assert_allclose(tracker.leads, 0.75 * _core.hann_window(8)[0, 0], rtol=1e-6)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("start", [START, (-5.0, -4.0, 30.0, 20.0), (110.0, 80.0, 30.0, 20.0), (60.0, 40.0, 4.0, 3.0)])
def test_a_blank_frame_counts_as_not_seen(value: int, start: tuple[float, float, float, float]) -> None:
    tracker, networks = centre_started()
    tracker.update(textured_frame(1))
    tracker.set_state(start)
    before, calls = centre_snapshot(tracker), len(networks.calls)
    for _ in range(3):
        ok, box = tracker.update(np.full((96, 128, 3), value, np.uint8))
        assert (ok, box, tracker.state, tracker.score) == (False, before[0], _core.State.LOST, 0.0)
        assert (centre_snapshot(tracker), tracker.candidates(3)) == (before, [])
    assert len(networks.calls) == calls
    assert tracker.update(textured_frame(2))[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("where", [0, MIDDLE, -1])
def test_maps_that_are_not_finite_count_as_not_seen(bad: float, which: int, where: int) -> None:
    tracker, networks = centre_started()
    twin, _ = centre_started()
    assert tracker.update(textured_frame(1)) == twin.update(textured_frame(1))
    before = centre_snapshot(tracker)
    networks.maps = one_peak(networks.spec, MIDDLE)
    networks.maps[which].flat[where] = bad
    assert tracker.update(textured_frame(2)) == (False, before[0])
    assert (tracker.state, tracker.score, centre_snapshot(tracker)) == (_core.State.LOST, 0.0, before)
    assert tracker.candidates(3) == []
    assert np.isnan([tracker.corners, tracker.leads]).all()
    networks.maps = None
    for n in range(3, 9):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))


@pytest.mark.parametrize("which", [1, 2])
def test_numbers_that_leave_float32_in_pixels_count_as_not_seen(which: int) -> None:
    tracker, networks = centre_started()
    networks.maps = one_peak(networks.spec, MIDDLE)
    networks.maps[which].flat[MIDDLE] = 3e38
    assert tracker.update(textured_frame(1)) == (False, START)
    assert (tracker.frame_index, tracker.candidates(3)) == (0, [])


@pytest.mark.parametrize("name", GIVEN)
def test_a_template_that_is_not_finite_is_refused_and_the_old_target_stays(name: str) -> None:
    tracker, networks = centre_started()
    twin, _ = centre_started()
    assert tracker.update(textured_frame(1)) == twin.update(textured_frame(1))
    networks.given = {key: np.zeros(shape, np.float32) for key, shape in GIVEN.items()}
    networks.given[name].flat[-1] = np.nan
    with pytest.raises(ArtifactError, match="not finite for the init frame; export the artifact again"):
        tracker.init(textured_frame(0), (20.0, 20.0, 30.0, 30.0))
    for n in range(2, 6):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))


@pytest.mark.parametrize("failing", ["look", "embed"])
def test_an_engine_error_passes_through_and_leaves_the_tracker_as_it_was(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, networks = centre_started()
    twin, _ = centre_started()
    assert tracker.update(textured_frame(1)) == twin.update(textured_frame(1))
    before, failure = centre_snapshot(tracker), KeyError("device gone")

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(networks, failing, fail)
        with pytest.raises(KeyError) as caught:
            tracker.update(textured_frame(2)) if failing == "look" else tracker.init(textured_frame(0), START)
        assert caught.value is failure
        assert centre_snapshot(tracker) == before
    for n in range(3, 9):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))


def test_calls_out_of_order_and_unusable_frames_are_refused() -> None:
    tracker, _ = centre_started()
    with pytest.raises(InputError, match="the frame is 64x48 but the init frame was 128x96; call init again"):
        tracker.update(textured_frame(1, 48, 64))
    for frame in (np.zeros((96, 128, 3), np.float32), np.zeros((96, 128), np.uint8), None):
        with pytest.raises(InputError):
            tracker.update(frame)  # type: ignore[arg-type]
    for box in ((0, 0, 0, 10), (128, 0, 10, 10), (0, 0, math.nan, 10), (0, 0, 1e12, 1e12), "0,0,1,1"):
        with pytest.raises(InputError):
            tracker.init(textured_frame(0), box)  # type: ignore[arg-type]
        with pytest.raises(InputError):
            tracker.set_state(box)  # type: ignore[arg-type]
    assert tracker.update(textured_frame(1))[0]
    tracker.reset()
    assert (tracker.state, tracker.box, tracker.frame_index) == (_core.State.LOST, (0.0, 0.0, 0.0, 0.0), 0)
    for call in (lambda: tracker.update(textured_frame(1)), lambda: tracker.set_state(START)):
        with pytest.raises(InputError, match="before init; call init"):
            call()


def test_timings_are_those_of_the_stages() -> None:
    tracker, _ = centre_started()
    assert set(tracker.timings_ms.values()) == {0.0}
    tracker.update(textured_frame(1))
    times = tracker.timings_ms
    assert list(times) == ["crop", "run", "decode", "memory", "total"]
    assert times["memory"] == 0
    assert min(times["crop"], times["run"], times["decode"]) > 0
    assert times["total"] >= times["crop"] + times["run"] + times["decode"]


def test_other_threads_run_while_a_frame_is_tracked_and_may_not_use_the_tracker() -> None:
    tracker, networks = centre_started()
    with frame_in_another_thread(tracker, networks) as results:
        for call in (
            lambda: tracker.update(textured_frame(1)),
            lambda: tracker.init(textured_frame(0), START),
            tracker.reset,
            lambda: tracker.set_state(START),
            lambda: tracker.candidates(1),
            lambda: tracker.maps,
            lambda: tracker.corners,
            lambda: tracker.leads,
        ):
            with pytest.raises(InputError, match="used from two threads at once"):
                call()
        assert (tracker.box, tracker.state, tracker.frame_index) == (START, _core.State.TRACKING, 0)
    assert results[0][0]
    assert tracker.candidates(1)


def test_trackers_of_their_own_run_side_by_side() -> None:
    tracker, _ = centre_started()
    expected = [tracker.update(textured_frame(n)) for n in range(1, 25)]
    seen: dict[int, list[Any]] = {}

    def follow(key: int) -> None:
        mine, _ = centre_started()
        seen[key] = [mine.update(textured_frame(n)) for n in range(1, 25)]

    workers = [threading.Thread(target=follow, args=(key,)) for key in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == dict.fromkeys(range(4), expected)
