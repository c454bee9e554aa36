"""The crop of the published one-stream trackers (OSTrack's `sample_target`, which FARTrack and GRM share), with OpenCV.

Kept as published, including work whose result nobody reads, because benchmarks compare with this loop.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.errors import InputError
from edgetrack.export.models.base import Box, Normalisation

__all__ = ["IMAGENET", "IMAGENET_MEAN", "IMAGENET_STD", "ImageNormaliser", "crop"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What all published one-stream trackers normalise with: per RGB channel, for values scaled to [0, 1]."""
IMAGENET = Normalisation(IMAGENET_MEAN, IMAGENET_STD)


def crop(
    frame: NDArray[np.uint8], box: Box, factor: float, size: int
) -> tuple[NDArray[np.uint8], float, NDArray[np.bool_]]:
    """Cut the square of side `ceil(sqrt(w h) factor)` around `box` out of `frame` and resize it (spec section 4.1).

    frame: uint8 (H, W, 3). Returns the patch (size, size, 3) in the frame's colour order, the resize factor, and the
    published attention mask (size, size), True where the patch is padding.

    Raises:
        InputError: the square has no pixels, or none of the frame's.
    """
    x, y, w, h = box
    side = math.ceil(math.sqrt(w * h) * factor)
    if side < 1:
        raise InputError(f"the box {box} is too small to crop; give a box of at least one pixel")
    x1 = round(x + 0.5 * w - side * 0.5)
    y1 = round(y + 0.5 * h - side * 0.5)
    x2, y2 = x1 + side, y1 + side
    left, top = max(0, -x1), max(0, -y1)
    # The published code pads one pixel more than necessary on the right and at the bottom.
    right, bottom = max(x2 - frame.shape[1] + 1, 0), max(y2 - frame.shape[0] + 1, 0)
    if x1 + left >= x2 - right or y1 + top >= y2 - bottom:
        raise InputError(
            f"the box {box} lies outside the frame of {frame.shape[1]} x {frame.shape[0]} pixels; give a box inside it"
        )
    patch = cv2.copyMakeBorder(
        frame[y1 + top : y2 - bottom, x1 + left : x2 - right], top, bottom, left, right, cv2.BORDER_CONSTANT
    )
    outside = np.ones(patch.shape[:2])
    outside[top : patch.shape[0] - bottom, left : patch.shape[1] - right] = 0
    outside = cv2.resize(outside, (size, size)).astype(np.bool_)
    return cv2.resize(patch, (size, size)).astype(np.uint8, copy=False), size / side, outside


class ImageNormaliser:
    """Turns uint8 RGB patches into the network's input."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """`mean` and `std` are per RGB channel, for values scaled to [0, 1]."""
        self._mean = torch.tensor(mean).view(1, 3, 1, 1)
        self._std = torch.tensor(std).view(1, 3, 1, 1)

    def __call__(self, patch: NDArray[np.uint8]) -> Tensor:
        """Return float32 (1, 3, H, W) of a uint8 RGB patch (H, W, 3)."""
        image = torch.tensor(patch).float().permute(2, 0, 1).unsqueeze(0)
        return ((image / 255.0) - self._mean) / self._std
