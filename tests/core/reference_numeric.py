"""Slow, readable numpy versions of the C++ core's numeric pieces, one function per piece.

They follow the published formulas in the order in which those are written, so that a test failure points at
one step. Boxes are (x, y, w, h) in pixels; frames uint8 HxWx3 RGB unless a colour is named.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


def crop_window(box: Box, factor: float) -> tuple[int, int, int]:
    """Return (x1, y1, side) of the square that is sampled around a box."""
    x, y, w, h = box
    side = math.ceil(math.sqrt(w * h) * factor)
    return round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5), side


def padded_patch(frame: NDArray[np.uint8], x1: int, y1: int, side: int) -> NDArray[np.uint8]:
    """Return the side x side patch: zero outside the frame, and one more column/row at its right/bottom border."""
    height, width = frame.shape[:2]
    right, bottom = max(0, x1 + side - width + 1), max(0, y1 + side - height + 1)
    left, top = max(0, -x1), max(0, -y1)
    patch = np.zeros((side, side, 3), np.uint8)
    if left < side - right and top < side - bottom:
        patch[top : side - bottom, left : side - right] = frame[
            y1 + top : y1 + side - bottom, x1 + left : x1 + side - right
        ]
    return patch


def _axis(side: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return floor and fraction of the source coordinate of every output pixel (half-pixel centres)."""
    scale = 1.0 / (out / side)
    position = ((np.arange(out) + 0.5) * scale - 0.5).astype(np.float32)
    floor = np.floor(position)
    return floor.astype(np.int64), position - floor


def _weights(fraction: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both taps' weights in 1/2048, each rounded half to even on its own."""
    one = np.float32(1)
    return (
        np.rint((one - fraction) * np.float32(2048)).astype(np.int64),
        np.rint(fraction * np.float32(2048)).astype(np.int64),
    )


def resize_bilinear(patch: NDArray[np.uint8], out: int) -> NDArray[np.uint8]:
    """Resize a square uint8 patch as OpenCV's 8-bit INTER_LINEAR does: 11-bit weights, two truncated products."""
    side = patch.shape[0]
    col, fx = _axis(side, out)
    fx = np.where((col < 0) | (col >= side - 1), np.float32(0), fx)
    col = np.clip(col, 0, side - 1)
    a0, a1 = _weights(fx)
    pixels = patch.astype(np.int64)
    rows = pixels[:, col] * a0[:, None] + pixels[:, np.minimum(col + 1, side - 1)] * a1[:, None]
    row, fy = _axis(side, out)
    b0, b1 = (b[:, None, None] for b in _weights(fy))
    top, bottom = (rows[np.clip(r, 0, side - 1)] >> 4 for r in (row, row + 1))
    return ((((b0 * top) >> 16) + ((b1 * bottom) >> 16) + 2) >> 2).astype(np.uint8)
