"""Centre maps in C++ against the readable reference: window, peaks, targets, and where boxes land."""

from __future__ import annotations

import numpy as np
import pytest
import reference_centre as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError

GRIDS = st.sampled_from([1, 2, 3, 8, 16])
FEW = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # ties and plateaus
ANY = st.floats(0, 1, width=32)
SIDE = st.floats(2**-13, 1, width=32)
OFFSET = st.floats(-2, 3, width=32)


@st.composite
def maps(draw: st.DrawFn) -> reference.Maps:
    grid = draw(GRIDS)
    scores = draw(arrays(np.float32, (1, grid, grid), elements=draw(st.sampled_from([FEW, ANY]))))
    size, offset = (draw(arrays(np.float32, (2, grid, grid), elements=e, fill=e)) for e in (SIDE, OFFSET))
    return scores, size, offset


@pytest.mark.parametrize("grid", [1, 2, 3, 14, 16, 20, 24, 64])
def test_window_equals_the_reference(grid: int) -> None:
    window = _core.hann_window(grid)
    assert window.dtype == np.float32
    np.testing.assert_array_equal(window, reference.hann_window(grid))
    assert window.min() > 0


@pytest.mark.parametrize("grid", [0, -3, 1025])
def test_grids_that_cannot_be_used_are_refused(grid: int) -> None:
    with pytest.raises(ArtifactError, match=f"decode.grid is {grid}; it must be 1 to 1024"):
        _core.hann_window(grid)


@given(maps(), st.integers(0, 300))
def test_peaks_equal_the_reference(found: reference.Maps, k: int) -> None:
    score, size, offset = found
    response = reference.hann_window(score.shape[-1]) * score[0]
    expected = reference.peaks(response)
    peaks = _core.centre_peaks(score, size, offset, k)
    assert [cell for cell, _, _ in peaks] == expected[:k]
    assert expected[0] == response.argmax()
    for cell, height, box in peaks:
        assert height == response.flat[cell]
        assert tuple(box) == reference.target(cell, size, offset)


@given(
    maps(),
    st.tuples(st.floats(-300, 900), st.floats(-300, 900), st.floats(0.5, 800), st.floats(0.5, 800)),
    st.sampled_from([(256, 4.0), (384, 5.0), (320, 5.0)]),
)
def test_boxes_equal_the_reference(found: reference.Maps, state: reference.Box, crop: tuple[int, float]) -> None:
    size, factor = crop
    resize_factor = size / reference.crop_window(state, factor)[2]
    ((_, _, box),) = _core.centre_peaks(*found, 1)
    expected = reference.place(tuple(map(np.float32, box)), state, resize_factor, size)
    assert _core.place_box(box, state, resize_factor, size) == expected


def test_scaling_divides_truly_and_multiplies_first() -> None:
    """Another order of the two differs by a float32 rounding, which the recorded boxes show."""
    rng = np.random.default_rng(0)
    values, factor = rng.random(1000, np.float32), 384 / 278
    placed = np.array([_core.place_box((v, v, v, v), (0, 0, 0, 0), factor, 384)[2] for v in values])
    np.testing.assert_array_equal(placed, values * np.float32(384) / np.float32(factor))
    assert (placed != values * (np.float32(384) / np.float32(factor))).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_maps_that_are_not_finite_are_refused(bad: float, which: int) -> None:
    found = [np.full((n, 4, 4), 0.5, np.float32) for n in (1, 2, 2)]
    found[which].flat[-1] = bad
    with pytest.raises(InputError, match="the maps are not finite; pass finite numbers"):
        _core.centre_peaks(*found)


@pytest.mark.parametrize(
    "shapes",
    [
        ((4, 4), (2, 4, 4), (2, 4, 4)),
        ((1, 4, 4), (2, 4, 5), (2, 4, 4)),
        ((1, 4, 4), (2, 4, 4), (1, 4, 4)),
        ((1, 4, 4), (2, 3, 3), (2, 4, 4)),
    ],
)
def test_maps_of_other_shapes_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match="pass \\("):
        _core.centre_peaks(*(np.zeros(shape, np.float32) for shape in shapes))
