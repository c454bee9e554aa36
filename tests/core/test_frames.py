"""Frames as Python hands them in: formats, strides, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import reference_numeric as reference
from hypothesis import given
from hypothesis import strategies as st

from edgetrack import _core
from edgetrack.errors import InputError

cv2 = pytest.importorskip("cv2")

BOXES = [(20.0, 15.0, 30.0, 20.0), (-8.0, -5.0, 30.0, 30.0), (60.0, 40.0, 20.0, 20.0), (3.3, 30.2, 0.7, 9.9)]


def frame_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def assert_same_crops(frame: np.ndarray, color: str, rgb: np.ndarray) -> None:
    for box in BOXES:
        for factor, out in ((1.0, 33), (4.0, 24)):
            crop, _ = _core.crop(frame, box, factor, out, color)
            assert np.array_equal(crop, reference.crop(rgb, box, factor, out))


def test_every_format_gives_the_crop_of_its_rgb_conversion():
    rgb = frame_of(48, 70, 3)
    gray = frame_of(48, 70)
    alpha = frame_of(48, 70, 1)
    assert_same_crops(rgb, "rgb", rgb)
    assert_same_crops(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), "bgr", rgb)
    assert_same_crops(np.concatenate([rgb, alpha], 2), "rgba", rgb)
    assert_same_crops(np.concatenate([rgb[..., ::-1], alpha], 2), "bgra", rgb)
    assert_same_crops(gray, "gray", np.repeat(gray[..., None], 3, 2))
    assert_same_crops(gray[..., None], "gray", np.repeat(gray[..., None], 3, 2))


@pytest.mark.parametrize(("height", "width"), [(48, 70), (46, 70), (2, 2), (270, 480)])
def test_nv12_equals_opencvs_conversion_before_the_crop(height, width):
    nv12 = frame_of(height * 3 // 2, width)
    rgb = cv2.cvtColor(nv12, cv2.COLOR_YUV2RGB_NV12)
    assert np.array_equal(reference.nv12_to_rgb(nv12), rgb)
    assert_same_crops(nv12, "nv12", rgb)


def test_nv12_conversion_of_every_luma_and_chroma():
    """All lumas in columns, a grid of chroma pairs in rows, at size 1:1."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    pairs = np.stack(np.meshgrid(levels, levels), -1).reshape(-1, 2)
    luma = np.tile(np.arange(256, dtype=np.uint8), (2 * len(pairs), 1))
    nv12 = np.concatenate([luma, np.repeat(pairs, 128, 0).reshape(len(pairs), 256)])
    rgb = cv2.cvtColor(nv12, cv2.COLOR_YUV2RGB_NV12)
    for top in range(0, len(luma) - 256, 256):
        crop, _ = _core.crop(nv12, (0.0, float(top), 255.0, 255.0), 1.0, 255, "nv12")
        assert np.array_equal(crop, rgb[top : top + 255, :255])


def test_nv12_views_with_gaps():
    nv12 = frame_of(72, 70)
    wide = frame_of(72, 100)
    wide[:, 10:80] = nv12
    assert_same_crops(wide[:, 10:80], "nv12", reference.nv12_to_rgb(nv12))
    assert_same_crops(np.asfortranarray(nv12), "nv12", reference.nv12_to_rgb(nv12))


@given(
    st.permutations(range(3)),
    *[st.sampled_from([-3, -2, -1, 1, 2, 3])] * 2,
    st.sampled_from([-1, 1]),
    st.integers(3, 5),
)
def test_views_of_any_strides_are_read_in_place(axes, down, right, channel, depth):
    """Transposed memory, steps, flips and extra channels between pixels."""
    shape = (48 * abs(down), 70 * abs(right), depth)
    memory = frame_of(*(shape[axis] for axis in axes))
    view = memory.transpose(np.argsort(axes))[::down, ::right, :3][..., ::channel]
    assert view.shape == (48, 70, 3)
    assert_same_crops(view, "rgb", np.ascontiguousarray(view))
    assert_same_crops(view, "bgr", np.ascontiguousarray(view[..., ::-1]))
    assert_same_crops(view[..., 1], "gray", np.repeat(view[..., 1:2], 3, 2))


def test_four_channel_views_may_run_backwards():
    rgba = frame_of(48, 70, 4)
    abgr = np.ascontiguousarray(rgba[..., ::-1])
    assert_same_crops(abgr[..., ::-1], "rgba", rgba[..., :3])
    assert_same_crops(rgba[:, ::-1], "rgba", rgba[:, ::-1, :3])


def test_broadcast_frames_are_read_in_place():
    pixel = np.array([10, 20, 30], np.uint8)
    frame = np.broadcast_to(pixel, (48, 70, 3))
    assert_same_crops(frame, "rgb", np.ascontiguousarray(frame))
    row = np.broadcast_to(frame_of(1, 70, 1), (48, 70, 3))
    assert_same_crops(row, "rgb", np.ascontiguousarray(row))


def test_frames_are_not_written_to():
    frame = frame_of(48, 70, 3)
    frame.flags.writeable = False
    before = frame.copy()
    _core.crop(frame, BOXES[0], 4.0, 24)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize(
    ("frame", "color", "named"),
    [
        ([[1, 2], [3, 4]], "bgr", "list"),
        (None, "bgr", "NoneType"),
        (np.zeros((4, 4, 3), np.float32), "bgr", "float32"),
        (np.zeros((4, 4, 3), np.int8), "bgr", "int8"),
        (np.zeros((4, 4, 3), bool), "rgb", "bool"),
        (np.zeros((4, 4), np.uint8), "bgr", r"\(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), "bgr", r"\(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.uint8), "bgra", r"\(4, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), "gray", r"\(4, 4, 3\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "rgb", r"\(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "bgr", r"\(0, 4, 3\)"),
        (np.zeros((4, 0, 3), np.uint8), "bgr", r"\(4, 0, 3\)"),
        (np.zeros((), np.uint8), "gray", r"\(\)"),
        (np.zeros((0, 0), np.uint8), "nv12", r"\(0, 0\)"),
        (np.zeros((7, 4), np.uint8), "nv12", r"\(7, 4\)"),
        (np.zeros((6, 5), np.uint8), "nv12", r"\(6, 5\)"),
        (np.zeros((6, 4, 1), np.uint8), "nv12", r"\(6, 4, 1\)"),
        (np.zeros((4, 4, 3), np.uint8), "BGR", "'BGR'"),
        (np.zeros((4, 4, 3), np.uint8), "", "''"),
        (np.broadcast_to(np.uint8(0), (1, 70000, 3)), "bgr", "70000"),
    ],
)
def test_other_frames_are_refused_by_name(frame, color, named):
    with pytest.raises(InputError, match=named) as caught:
        _core.crop(frame, (0.0, 0.0, 2.0, 2.0), 1.0, 8, color)
    assert "\n" not in str(caught.value)
