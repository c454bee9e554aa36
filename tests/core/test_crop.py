"""The crop against OpenCV, against the readable reference, and against what the published code recorded."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import reference_numeric as reference
from golden_files import golden
from hypothesis import example, given
from hypothesis import strategies as st

from edgetrack import _core
from edgetrack.export.standin import synth_box, synth_frame

cv2 = pytest.importorskip("cv2")
torch = pytest.importorskip("torch")

# Sides of the patch: every small one, those around simple ratios, and some large ones.
SIDES = [*range(1, 130), *range(130, 900, 17), 111, 113, 223, 225, 255, 257, 447, 449, 672, 896, 1001, 2048, 2999]
GOLDEN = ["fartrack_tiny", "fartrack_nano", "fartrack_pico", "fartrack_distill_tiny", "fartrack_frame_tiny"]


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """A frame in which every wrong pixel shows."""
    return np.random.default_rng(7).integers(0, 256, (3001, 3001, 3), np.uint8)


@pytest.mark.parametrize("out", [112, 224, 256, 384])
def test_resize_equals_opencv_byte_for_byte(noise, out):
    wrong = []
    for side in {*SIDES, out // 2, out, 2 * out, 3 * out}:
        x, y = (3000 - side) // 2, (3000 - side) // 3
        crop, factor = _core.crop(noise, (x, y, side, side), 1.0, out, "rgb")
        if not np.array_equal(crop, cv2.resize(noise[y : y + side, x : x + side], (out, out))):
            wrong.append(side)
        assert factor == out / side
    assert wrong == []


@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_extreme_pixel_values_equal_opencv(color):
    """Largest and smallest products in the fixed-point arithmetic."""
    for values in ([255, 255], [0, 255], [255, 254], [1, 0]):
        board = np.array(values, np.uint8)[np.indices((200, 200)).sum(0) % 2]
        frame = np.repeat(board[..., None], 3, 2) if color == "rgb" else board
        for side in (1, 2, 37, 112, 150, 199):
            crop, _ = _core.crop(frame, (0, 0, side, side), 1.0, 112, color)
            assert np.array_equal(crop[..., 0], cv2.resize(board[:side, :side], (112, 112)))


@pytest.mark.parametrize("out", [7, 32, 112, 224])
def test_a_squeezed_frame_equals_opencv_byte_for_byte(noise, out):
    """Every pixel counts, the last column and row too, whatever the ratio of the sides."""
    sizes = [(1, 1), (1, 9), (9, 1), (2, 2), (3, 448), (448, 3), (out, out), (2 * out, 2 * out), (2 * out, out)]
    sizes += [(out - 1, out + 1), (360, 480), (480, 360), (719, 1279), (3 * out, out // 2 + 1)]
    for height, width in sizes:
        frame = noise[:height, :width]
        expected = cv2.resize(frame, (out, out))
        assert np.array_equal(_core.squeeze(frame, out, "rgb"), expected), (height, width)
        assert np.array_equal(_core.squeeze(frame[..., ::-1], out), expected)
        assert np.array_equal(_core.squeeze(np.ascontiguousarray(frame[..., 0]), out, "gray")[..., 1], expected[..., 0])
        turned = np.ascontiguousarray(frame.transpose(1, 0, 2)).transpose(1, 0, 2)
        assert np.array_equal(_core.squeeze(turned, out, "rgb"), expected)
        packed = np.ascontiguousarray(np.dstack([frame, frame[..., :1]]))
        assert np.array_equal(_core.squeeze(packed, out, "rgba"), expected)


coordinates = st.floats(-150, 150)
sizes = st.floats(0.01, 120)


@given(
    st.tuples(coordinates, coordinates, sizes, sizes),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([1.0, 2.0, 4.0]),
    st.sampled_from([1, 16, 33]),
)
@example((0.0, 0.0, 40.0, 30.0), 30, 40, 1.0, 33)  # reaches the right and bottom border exactly
@example((0.0, 0.0, 39.0, 29.0), 30, 40, 1.0, 33)
@example((200.0, 200.0, 5.0, 5.0), 30, 40, 1.0, 16)  # nothing of the frame
@example((2.5, 3.5, 4.0, 4.0), 30, 40, 1.0, 16)  # ties of the rounding
@example((0.0, 0.0, 1.0, 1.0), 1, 1, 4.0, 16)
@example((-3.0, -3.0, 6.0, 6.0), 2, 2, 4.0, 33)
def test_windows_anywhere_equal_the_reference(box, height, width, factor, out):
    frame = np.random.default_rng(height * 100 + width).integers(1, 256, (height, width, 3), np.uint8)
    crop, resize_factor = _core.crop(frame, box, factor, out, "rgb")
    assert np.array_equal(crop, reference.crop(frame, box, factor, out))
    assert resize_factor == out / reference.crop_window(box, factor)[2]


def test_reference_equals_opencv(noise):
    """The reference itself, so that it can stand in for OpenCV above."""
    for side in (1, 2, 3, 50, 111, 112, 224, 300, 1000):
        patch = noise[:side, :side]
        assert np.array_equal(reference.resize_bilinear(patch, 112), cv2.resize(patch, (112, 112)))


def test_last_column_and_row_are_padding():
    """The published padding takes one pixel too many where a window ends at the right or bottom border."""
    frame = np.full((20, 30, 3), 200, np.uint8)
    crop, _ = _core.crop(frame, (10.0, 0.0, 20.0, 20.0), 1.0, 20, "rgb")
    assert (crop[:-1, :-1] == 200).all()
    assert not crop[-1].any()
    assert not crop[:, -1].any()
    crop, _ = _core.crop(frame, (9.0, 0.0, 19.0, 19.0), 1.0, 19, "rgb")
    assert (crop == 200).all()


def test_normalized_crop_equals_torch_exactly(noise):
    image, factor = _core.crop(noise, (100.0, 100.0, 60.0, 40.0), 4.0, 224, "rgb")
    planes, same_factor = _core.crop_normalized(
        noise, (100.0, 100.0, 60.0, 40.0), 4.0, 224, reference.MEAN, reference.STD, "rgb"
    )
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (reference.MEAN, reference.STD))
    published = (torch.from_numpy(image).permute(2, 0, 1).float() / 255.0 - mean) / std
    assert planes.dtype == np.float32
    assert np.array_equal(planes, published.numpy())
    assert np.array_equal(planes, reference.normalize(image))
    assert factor == same_factor


@pytest.mark.parametrize("name", GOLDEN)
def test_crops_equal_the_recorded_bytes(name):
    vectors = golden(name)
    for i, (case, box) in enumerate(zip(vectors["crop_cases"], vectors["crop_boxes"], strict=True)):
        frame = synth_frame(int(vectors["crop_frame"][i]))
        for j, (key, factor, out, step) in enumerate([("z", 2.0, 112, 2), ("x", 4.0, 224, 4)]):
            crop, resize_factor = _core.crop(frame, tuple(box), factor, out, "rgb")
            assert np.array_equal(crop[::step, ::step], vectors[f"crop_{case}_{key}"])
            assert hashlib.sha256(crop.tobytes()).hexdigest() == str(vectors["crop_sha256"][i, j])
            assert resize_factor == vectors["crop_resize_factor"][i, j]


@pytest.mark.parametrize("name", GOLDEN)
def test_network_inputs_equal_the_recorded_ones(name):
    vectors = golden(name)
    for k, template in enumerate(vectors["net_template_u8"]):
        crop, _ = _core.crop(synth_frame(2 * k), synth_box(2 * k), 2.0, 112, "rgb")
        assert np.array_equal(crop, template)
    crop, _ = _core.crop(synth_frame(10), synth_box(9), 4.0, 224, "rgb")
    assert np.array_equal(crop, vectors["net_search_u8"])
