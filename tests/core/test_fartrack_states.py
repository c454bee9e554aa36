"""FARTrack's scores, states and timings, and its two guards: blank frames and outputs that are not finite."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from fartrack_fakes import START, snapshot, spec_with, started, textured_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetrack import _core


def flat_logits(spread: float) -> np.ndarray:
    """Return logits (4, 45) of one small box in the middle; the larger `spread`, the less sure."""
    centres = np.array([0.4, 0.4, 0.6, 0.6])[:, None] * 19 + 0.5 * 19
    return np.asarray(-((np.arange(45) - centres) ** 2) / spread, np.float32)


def test_states_follow_the_thresholds_and_lost_keeps_the_last_box() -> None:
    tracker, networks = started(spec_with(score__uncertain_below=0.8, score__lost_below=0.4))
    seen = []
    for n, spread in enumerate([1.0, 10.0, 2000.0, 1.0], start=1):
        networks.logits = flat_logits(spread)
        before = tracker.box
        ok, box = tracker.update(textured_frame(n))
        assert tracker.score == tracker.raw_score == pytest.approx(_core.bin_mass(tracker.logits, 40, 2), abs=1e-6)
        assert box == tracker.box
        assert ok == (tracker.state != _core.State.LOST)
        assert box == (tracker.raw_box if ok else before)
        assert tracker.frame_index == n  # the published loop goes on
        seen.append(tracker.state)
    tracking, uncertain, lost = _core.State.TRACKING, _core.State.UNCERTAIN, _core.State.LOST
    assert seen == [tracking, uncertain, lost, tracking]


@settings(max_examples=30, deadline=None)
@given(slope=st.floats(-20, 20), intercept=st.floats(-20, 20), spread=st.floats(0.5, 1e4))
def test_calibration_is_a_logistic_curve(slope: float, intercept: float, spread: float) -> None:
    spec = spec_with(score__calibration={"slope": slope, "intercept": intercept})
    tracker, networks = started(spec)
    networks.logits = flat_logits(spread)
    tracker.update(textured_frame(1))
    assert tracker.score == pytest.approx(1 / (1 + math.exp(-(slope * tracker.raw_score + intercept))), rel=1e-12)


def test_init_reports_a_sure_box() -> None:
    tracker, _ = started()
    assert (tracker.box, tracker.raw_box) == (START, START)
    assert (tracker.score, tracker.state) == (1.0, _core.State.TRACKING)
    assert tracker.logits is None
    assert set(tracker.timings_ms.values()) == {0.0}


def test_timings_add_up() -> None:
    tracker, networks = started()
    slept = 0.02
    plain_embed = networks.embed
    networks.embed = lambda image: time.sleep(slept) or plain_embed(image)  # type: ignore[method-assign]
    tracker.update(textured_frame(1))
    times = tracker.timings_ms
    assert list(times) == ["crop", "run", "decode", "memory", "total"]
    assert min(times.values()) >= 0
    assert times["run"] >= 1000 * slept
    assert sum(times.values()) - times["total"] == pytest.approx(times["total"], rel=0.2)


@pytest.mark.parametrize("value", [0, 16, 128, 255])
@pytest.mark.parametrize("start", [START, (-5.0, -4.0, 30.0, 20.0), (110.0, 80.0, 30.0, 20.0)])
def test_a_blank_frame_counts_as_not_seen(value: int, start: tuple[float, float, float, float]) -> None:
    tracker, networks = started()
    tracker.update(textured_frame(1))
    tracker.set_state(start)
    before, calls = snapshot(tracker), len(networks.calls)
    for _ in range(3):
        ok, box = tracker.update(np.full((96, 128, 3), value, np.uint8))
        assert (ok, box, tracker.state, tracker.score) == (False, before[0], _core.State.LOST, 0.0)
        assert snapshot(tracker) == before
    assert len(networks.calls) == calls
    assert tracker.update(textured_frame(2))[0]


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-20, 120),
    y=st.floats(-20, 90),
    w=st.floats(4, 200),
    h=st.floats(4, 200),
    value=st.integers(0, 255),
)
def test_padding_never_hides_a_blank_frame(x: float, y: float, w: float, h: float, value: int) -> None:
    tracker, _ = started()
    if x + w <= 0 or y + h <= 0:
        return
    tracker.set_state((x, y, w, h))
    assert not tracker.update(np.full((96, 128, 3), value, np.uint8))[0]
    assert tracker.frame_index == 0


@pytest.mark.parametrize("start", [START, (-5.0, -4.0, 30.0, 20.0), (110.0, 80.0, 30.0, 20.0), (60.0, 40.0, 4.0, 3.0)])
def test_a_black_frame_is_lost_and_the_box_stays(start: tuple[float, float, float, float]) -> None:
    tracker, networks = started()
    tracker.set_state(start)
    before, calls = snapshot(tracker), len(networks.calls)
    for _ in range(60):
        assert tracker.update(np.zeros((96, 128, 3), np.uint8)) == (False, before[0])
        assert tracker.state == _core.State.LOST
    assert snapshot(tracker) == before
    assert len(networks.calls) == calls
    assert tracker.update(textured_frame(1))[0]


@pytest.mark.parametrize(("step", "seen"), [(0, False), (1, True)])
@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("color", ["rgb", "bgr", "rgba"])
def test_an_edge_of_one_grey_level_is_something_to_see(step: int, seen: bool, channel: int, color: str) -> None:
    """A small target on sky spreads over a few levels only: the published loop must go on there."""
    tracker, _ = started()
    frame = np.full((96, 128, len(color)), 90, np.uint8)
    frame[:, 64:, channel] += step
    if color == "rgba":
        frame[..., 3] = np.arange(128)  # transparency shows nothing
    assert tracker.update(frame, color)[0] is seen


def test_dim_texture_is_something_to_see() -> None:
    tracker, _ = started()
    for n in range(1, 20):
        assert tracker.update(textured_frame(n) // 20 + 10)[0]


@pytest.mark.parametrize("box", [(125.0, 94.0, 400.0, 400.0), (-300.0, -300.0, 301.0, 301.0)])
def test_padding_is_nothing_to_see(box: tuple[float, float, float, float]) -> None:
    """The crop is so coarse that no output pixel lies in the frame."""
    tracker, networks = started()
    tracker.set_state(box)
    frame = np.full((96, 128, 3), 255, np.uint8)
    calls = len(networks.calls)
    assert tracker.update(frame) == (False, START)
    assert len(networks.calls) == calls


def test_init_on_a_blank_frame_is_allowed() -> None:
    tracker, _ = started()
    tracker.init(np.zeros((96, 128, 3), np.uint8), START)
    assert (tracker.box, tracker.state) == (START, _core.State.TRACKING)
    assert not tracker.update(np.zeros((96, 128, 3), np.uint8))[0]
    assert tracker.update(textured_frame(1))[0]


def test_one_differing_pixel_is_something_to_see() -> None:
    tracker, _ = started()
    frame = np.full((96, 128, 3), 90, np.uint8)
    frame[50, 60] = 200
    assert tracker.update(frame)[0]
    assert tracker.frame_index == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", ["logits", "score", "tokens"])
def test_outputs_that_are_not_finite_count_as_not_seen(output: str, bad: float) -> None:
    tracker, networks = started()
    twin, _ = started()
    tracker.update(textured_frame(1))
    twin.update(textured_frame(1))
    before = snapshot(tracker)
    shape = {"logits": (4, 45), "score": (6,), "tokens": (6, 3)}[output]
    poisoned = np.zeros(shape, np.float32)
    poisoned.flat[-1] = bad
    setattr(networks, output, poisoned)
    assert tracker.update(textured_frame(2)) == (False, before[0])
    assert (tracker.state, tracker.score, snapshot(tracker)) == (_core.State.LOST, 0.0, before)
    setattr(networks, output, None)
    for n in range(3, 12):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))
