"""The centre-head loop in C++ against a slow port: boxes, candidates, forced states, colours."""

from __future__ import annotations

import numpy as np
import pytest
from centre_fakes import (
    CentreNetworks,
    centre_graphs,
    centre_spec,
    centre_started,
    centre_tracker,
    one_peak,
)
from fartrack_fakes import START, textured_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_centre import SlowCentreLoop
from reference_numeric import clip_box

from edgetrack import _core
from edgetrack.errors import InputError

SPECS = {
    "plain": centre_spec(),
    "odd grid": centre_spec(decode__grid=5, search__size=40, search__factor=5.0),
    "one cell": centre_spec(decode__grid=1, clip_margin_px=3),
    "large template": centre_spec(template__size=24, template__factor=3.5),
}


@pytest.mark.parametrize("name", SPECS)
def test_loop_equals_the_slow_port(name: str) -> None:
    spec = SPECS[name]
    tracker, slow = centre_tracker(spec), SlowCentreLoop(spec, CentreNetworks(spec))
    tracker.init(textured_frame(0), START, "rgb")
    slow.init(textured_frame(0), START)
    moved, several = 0.0, 0
    for n in range(1, 61):
        before = tracker.box
        ok, box = tracker.update(textured_frame(n), "rgb")
        expected = slow.update(textured_frame(n))
        assert ok
        assert box == tracker.box == tracker.raw_box == expected
        assert tracker.candidates(100) == slow.candidates
        assert tracker.raw_score == slow.candidates[0][1]
        np.testing.assert_allclose(tracker.corners, slow.corners, rtol=0, atol=1e-15)
        np.testing.assert_array_equal(tracker.maps["score"], slow.score[0])
        np.testing.assert_allclose(tracker.leads, slow.lead, rtol=0, atol=2**-24)
        moved = max(moved, abs(box[0] - before[0]))
        several += len(slow.candidates) > 1
        assert tracker.frame_index == n
    assert moved > 0.5  # the comparison is of a loop that moves
    assert several > 0 or spec["decode"]["grid"] == 1


@settings(max_examples=60, deadline=None)
@given(
    state=st.tuples(st.floats(-30, 127), st.floats(-30, 95), st.floats(0.2, 300), st.floats(0.2, 300)),
    cell=st.integers(0, 63),
    size=st.floats(2**-13, 1, width=32),
    offset=st.floats(-3, 4, width=32),
)
def test_boxes_from_anywhere_equal_the_slow_port_and_keep_inside(
    state: tuple[float, float, float, float], cell: int, size: float, offset: float
) -> None:
    """Tiny boxes, huge ones, and boxes partly outside the frame."""
    if state[0] + state[2] <= 0 or state[1] + state[3] <= 0:
        return
    tracker, networks = centre_started()
    slow = SlowCentreLoop(networks.spec, networks)
    slow.init(textured_frame(0), START)
    networks.maps = one_peak(networks.spec, cell, size=size, offset=offset)
    slow.state = state
    tracker.set_state(state)
    tracker.update(textured_frame(1), "rgb")
    if tracker.frame_index == 0:  # so coarse a crop, or one so far outside, that nothing is seen
        return
    assert tracker.raw_box == slow.update(textured_frame(1))
    x, y, w, h = tracker.raw_box
    assert w >= 10
    assert h >= 10
    assert 0 <= x <= 118
    assert 0 <= y <= 86
    assert x + w <= 128 + 1e-9
    assert y + h <= 96 + 1e-9


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (300, 7), (9, 9), (10, 10), (720, 1280)])
def test_frames_of_any_size(height: int, width: int) -> None:
    tracker, networks = centre_started()
    frame = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tracker.init(frame, (0.0, 0.0, width / 2, height / 2))
    for n in range(8):
        networks.maps = one_peak(networks.spec, 9 * n % 64)
        tracker.update(frame)
        x, y, w, h = tracker.raw_box
        if tracker.frame_index:
            assert min(10, width) <= w <= width
            assert min(10, height) <= h <= height
            assert 0 <= x <= width - min(10, width)
            assert 0 <= y <= height - min(10, height)
    assert tracker.frame_index == 8 or (height, width) == (1, 1)


def test_the_template_is_taken_once_and_kept() -> None:
    tracker, networks = centre_started()
    for n in range(1, 4):
        tracker.update(textured_frame(n), "rgb")
    assert networks.calls == ["template", "search", "search", "search"]


def test_a_second_init_starts_afresh() -> None:
    used, fresh = centre_started()[0], centre_started()[0]
    used.init(textured_frame(50), (20.0, 20.0, 40.0, 30.0), "rgb")
    for n in range(1, 10):
        used.update(textured_frame(50 + n), "rgb")
    used.init(textured_frame(0), START, "rgb")
    assert (used.frame_index, used.candidates(3), used.maps) == (0, [], None)
    assert np.isnan([used.corners, used.leads]).all()
    for n in range(1, 10):
        assert used.update(textured_frame(n), "rgb") == fresh.update(textured_frame(n), "rgb")


def test_forced_states_replace_the_box() -> None:
    free, forced = centre_started()[0], centre_started()[0]
    forced.set_state(START)
    assert forced.update(textured_frame(1), "rgb") == free.update(textured_frame(1), "rgb")
    forced.set_state((30.0, 30.0, 20.0, 10.0))
    assert forced.raw_box == (30.0, 30.0, 20.0, 10.0)
    forced.update(textured_frame(2), "rgb")
    x1, y1, x2, y2 = forced.corners * 32
    side = np.ceil(4 * np.sqrt(200.0))
    cx, cy = 40 + ((x1 + x2) / 2 - 16) * side / 32, 35 + ((y1 + y2) / 2 - 16) * side / 32
    w, h = (x2 - x1) * side / 32, (y2 - y1) * side / 32
    assert forced.raw_box == pytest.approx(clip_box((cx - w / 2, cy - h / 2, w, h), 96, 128, 10), abs=1e-4)


def test_candidates_are_bounded_and_checked() -> None:
    tracker, _ = centre_started()
    assert tracker.candidates(5) == []
    tracker.update(textured_frame(1), "rgb")
    found = tracker.candidates(64)
    assert 1 < len(found) <= 16  # peaks are at least two cells apart
    for k in range(1, len(found) + 3):
        assert tracker.candidates(k) == found[:k]
    for k in (0, -1):
        with pytest.raises(InputError, match=f"candidates was asked for {k} boxes; ask for 1 or more"):
            tracker.candidates(k)


def test_format_may_change_from_frame_to_frame() -> None:
    plain, mixed = centre_started()[0], centre_started()[0]
    for n in range(1, 7):
        frame = textured_frame(n)
        colour, view = [
            ("bgr", frame[..., ::-1]),
            ("rgba", np.dstack([frame, frame[..., 0]])),
            ("rgb", frame.transpose(1, 0, 2).copy().transpose(1, 0, 2)),
        ][n % 3]
        assert plain.update(frame, "rgb") == mixed.update(view, colour)


def test_graphs_outlive_whoever_made_them() -> None:
    spec = centre_spec()
    tracker = _core.CentreHeadTracker(spec, **centre_graphs(spec, CentreNetworks(spec)))
    tracker.init(textured_frame(0), START)
    rubbish = [np.full(1000, np.nan, np.float32) for _ in range(200)]
    assert all(tracker.update(textured_frame(n))[0] for n in range(1, 5))
    assert len(rubbish) == 200
