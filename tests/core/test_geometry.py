"""Mapping, clipping and windows against the readable reference, and boxes that cannot be used."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference_numeric as reference
from hypothesis import given
from hypothesis import strategies as st

from edgetrack import _core
from edgetrack.errors import InputError

position = st.floats(-3000, 3000)
size = st.floats(10, 2000)
boxes = st.tuples(position, position, size, size)


@given(st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 4), boxes)
def test_mapping_equals_the_reference(corners, state):
    factor = 224 / math.ceil(4 * math.sqrt(state[2] * state[3]))
    mapped = _core.map_box(corners, state, factor, 224)
    # The network's side is float32, as published: its rounding grows with the window.
    np.testing.assert_allclose(
        mapped, reference.map_box(np.array(corners), state, factor, 224), atol=2e-7 * 3 * 224 / factor
    )


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 4), st.integers(10, 5000), st.integers(10, 5000), st.sampled_from([0, 10]))
def test_clipping_equals_the_reference(box, height, width, margin):
    assert _core.clip_box(box, height, width, margin) == reference.clip_box(box, height, width, margin)


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 4))
def test_clipped_boxes_keep_inside_the_frame(box):
    x, y, w, h = _core.clip_box(box, 360, 480, 10)
    assert 0 <= x <= 470
    assert 0 <= y <= 350
    assert w >= 10
    assert h >= 10
    assert x + w <= 480 + 1e-9
    assert y + h <= 360 + 1e-9


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 4), st.integers(1, 9), st.integers(1, 9))
def test_clipped_boxes_cover_a_frame_smaller_than_the_margin(box, height, width):
    assert _core.clip_box(box, height, width, 10) == (0, 0, width, height)


@given(st.tuples(position, position, st.floats(0.01, 2000), st.floats(0.01, 2000)), st.sampled_from([2.0, 4.0]))
def test_resize_factor_is_that_of_the_window(box, factor):
    _, resize_factor = _core.crop(np.zeros((4, 4), np.uint8), box, factor, 8, "gray")
    assert resize_factor == 8 / reference.crop_window(box, factor)[2]


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ((math.nan, 0, 5, 5), "not finite"),
        ((0, math.inf, 5, 5), "not finite"),
        ((0, 0, -math.inf, 5), "not finite"),
        ((0, 0, 5, math.nan), "not finite"),
        ((0, 0, 0, 5), "no area"),
        ((0, 0, 5, -1), "no area"),
        ((0, 0, 5e-324, 5e-324), "too small"),
        ((0, 0, 1e300, 1e300), "too large"),
        ((0, 0, 1e9, 1e9), "too large"),
        ((1e10, 0, 5, 5), "too large"),
        ((0, -1e300, 5, 5), "too large"),
    ],
)
def test_boxes_without_a_window_are_refused(box, problem):
    with pytest.raises(InputError, match=problem):
        _core.crop(np.zeros((40, 40, 3), np.uint8), box, 4.0, 16)


@pytest.mark.parametrize(
    "box", [(-2e8, -2e8, 1e8, 1e8), (0, 0, 2e8, 2e8), (9e8, -9e8, 5, 5), (-1e8, -1e8, 2e8, 2e8), (0, 0, 1e8, 1e-4)]
)
def test_huge_windows_are_cropped_without_trouble(box):
    frame = np.full((40, 40, 3), 255, np.uint8)
    crop, _ = _core.crop(frame, box, 4.0, 16)
    assert crop.max() <= 255
    assert crop.shape == (16, 16, 3)
