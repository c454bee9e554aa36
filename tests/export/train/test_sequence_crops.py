"""Stage 3's crops against a slow one that pads the whole frame (spec section 5.3)."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from edgetrack.export.train.bank import ImageBank
from edgetrack.export.train.sequence_crops import SequenceCrops, centre_form, corners_in_crop, crop_side, place

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


class Frames(list):
    def shape(self, index):
        return self[index].shape[:2]

    def read(self, index):
        return self[index]


def picture(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def slow_crop(frame: np.ndarray, box: tuple[float, ...], factor: float, size: int) -> np.ndarray:
    """Grey levels (size, size, 3) of the crop around a centre-form box."""
    cx, cy, w, h = box
    side = math.ceil(math.sqrt(w * h) * factor)
    left, top = math.floor(cx - (side + 1) / 2 + 0.5), math.floor(cy - (side + 1) / 2 + 0.5)
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = frame.reshape(-1, 3).mean(0)
    for row in range(side):
        for column in range(side):
            y, x = top + row, left + column
            if 0 <= y < frame.shape[0] and 0 <= x < frame.shape[1]:
                canvas[row, column] = frame[y, x]
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_LINEAR)


def grey_levels(crops: torch.Tensor) -> np.ndarray:
    return (crops.permute(0, 2, 3, 1).numpy() * STD + MEAN) * 255


FRAMES = Frames([picture(60, 80, 1), picture(48, 100, 2)])
BOXES = [
    (0, (40.0, 30.0, 12.0, 9.0)),  # inside
    (1, (50.3, 20.7, 13.2, 8.1)),  # inside, fractions, the other image
    (0, (2.0, 1.5, 20.0, 11.0)),  # over the left and upper edge
    (1, (99.0, 47.5, 18.0, 14.0)),  # over the right and lower edge
    (0, (40.0, 30.0, 90.0, 70.0)),  # larger than the image
    (0, (0.0, 60.0, 10.0, 10.0)),  # centre on a corner
    (1, (30.0, 30.0, 0.9, 0.9)),  # a side of four pixels or fewer
]


@pytest.mark.parametrize(("factor", "size"), [(2.0, 112), (4.0, 224)])
def test_crops_equal_the_slow_reference(factor, size):
    bank = ImageBank(FRAMES)
    images = torch.tensor([image for image, _ in BOXES])
    boxes = torch.tensor([box for _, box in BOXES], dtype=torch.float64)
    crops, side = SequenceCrops(bank)(images, boxes, factor, size)
    assert crops.shape == (len(BOXES), 3, size, size)
    assert crops.dtype == torch.float32
    for found, (image, box) in zip(grey_levels(crops), BOXES, strict=True):
        np.testing.assert_allclose(found, slow_crop(FRAMES[image], box, factor, size), atol=0.51)
    assert side.tolist() == [math.ceil(math.sqrt(w * h) * factor) for _, (_, _, w, h) in BOXES]


def test_a_crop_far_outside_has_the_mean_colour():
    crops, _ = SequenceCrops(ImageBank(FRAMES))(
        torch.tensor([1]), torch.tensor([[-500.0, -500.0, 10.0, 10.0]], dtype=torch.float64), 4.0, 16
    )
    mean = np.round(FRAMES[1].reshape(-1, 3).mean(0))
    np.testing.assert_allclose(grey_levels(crops)[0], np.broadcast_to(mean, (16, 16, 3)), atol=1e-3)


def test_the_left_column_follows_the_published_rule():
    """A box around (20, 10): side 8 starts at 16 and 6; side 9 at floor(20 - 5 + 0.5) = 15 and 5."""
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(60)[None, :], np.arange(40)[:, None]
    cut = SequenceCrops(ImageBank(Frames([frame])))
    for extent, left, top in ((4.0, 16, 6), (4.5, 15, 5)):
        box = torch.tensor([[20.0, 10.0, extent, extent]], dtype=torch.float64)
        side = int(2 * extent)
        crops, _ = cut(torch.tensor([0]), box, 2.0, side)
        found = grey_levels(crops)[0]
        np.testing.assert_allclose(found[0, :, 0], np.arange(left, left + side), atol=1e-3)
        np.testing.assert_allclose(found[:, 0, 1], np.arange(top, top + side), atol=1e-3)


def doubles(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_corners_of_the_truth_by_hand():
    """A crop of side 100 around (50, 40) spans 0..100 by -10..90; a box 20 x 10 around (60, 30)."""
    corners = corners_in_crop(doubles((60, 30, 20, 10)), doubles((50, 40, 25, 25)), torch.tensor([100.0]))
    torch.testing.assert_close(corners, doubles((0.50, 0.35, 0.70, 0.45)))


def test_placing_undoes_the_corners():
    boxes = doubles((61.5, 33.25, 20, 14), (30, 80, 11, 40))
    around = doubles((50, 40, 25, 25), (33, 71, 15, 30))
    side = crop_side(around, 4.0)
    assert side.tolist() == [100, 85]
    frame = doubles((200, 120), (200, 120))
    torch.testing.assert_close(place(corners_in_crop(boxes, around, side), around, side, frame), boxes)


def test_placing_keeps_the_centre_in_the_frame_and_the_size_from_10_pixels_to_the_frame():
    """A side of 400 around (100, 60) in a frame of 200 x 120: crop units 0..1 span -100..300 by -140..260."""
    corners = doubles((0.7, 0.7, 1.5, 1.5), (-0.5, -0.5, -0.2, -0.4), (0.5, 0.6, 0.4, 0.6))
    around, side = doubles((100, 60, 100, 100)).expand(3, 4), torch.full((3,), 400.0, dtype=torch.float64)
    placed = place(corners, around, side, doubles((200, 120)).expand(3, 2))
    expected = doubles(
        (200, 120, 200, 120),  # 320 x 320 around (340, 300)
        (0, 0, 120, 40),  # 120 x 40 around (-240, -320)
        (80, 100, 10, 10),  # -40 x 0 around (80, 100)
    )
    torch.testing.assert_close(placed, expected)


def test_centre_form():
    torch.testing.assert_close(centre_form(doubles((10, 20, 30, 5))), doubles((25, 22.5, 30, 5)))
