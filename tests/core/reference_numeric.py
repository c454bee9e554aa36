"""Slow, readable numpy versions of the C++ core's numeric pieces, one function per piece.

They follow the published formulas in the order in which those are written, so that a test failure points at
one step. Boxes are (x, y, w, h) in pixels; frames uint8 HxWx3 RGB unless a colour is named.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


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


def crop(frame: NDArray[np.uint8], box: Box, factor: float, out: int) -> NDArray[np.uint8]:
    """Return the (out, out, 3) crop around a box: window, padding, resize."""
    return resize_bilinear(padded_patch(frame, *crop_window(box, factor)), out)


def normalize(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return float32 planes (3, height, width) of an RGB image: (v / 255 - mean) / std."""
    values = image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (MEAN, STD))
    return (values - mean) / std


def nv12_to_rgb(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert (height * 3 / 2, width) NV12 to RGB: BT.601 video range in 20-bit fixed point, as OpenCV does."""
    height = frame.shape[0] // 3 * 2
    luma = np.maximum(frame[:height].astype(np.int64) - 16, 0) * 1220542 + (1 << 19)
    pairs = frame[height:].reshape(height // 2, -1, 2).astype(np.int64) - 128
    u, v = np.moveaxis(pairs.repeat(2, 0).repeat(2, 1), 2, 0)
    rgb = np.stack([luma + 1673527 * v, luma - 852492 * v - 409993 * u, luma + 2116026 * u], 2)
    return np.clip(rgb >> 20, 0, 255).astype(np.uint8)


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax over the last axis."""
    weights = np.exp(values - values.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def decode_bins(logits: NDArray[np.float32], bins: int, span: int, expectation: bool) -> NDArray[np.float64]:
    """Return (x1, y1, x2, y2) in units of the crop from logits (4, classes), in float64."""
    logits = logits.astype(np.float64)
    best = logits.argmax(1)
    if not expectation:
        return best / (bins - 1) - span / 4
    grid = -span / 4 + np.arange(bins * span) / bins
    expected = (softmax(logits[:, : bins * span]) * grid).sum(1)
    return ((best + 0.5) / (bins - 1) - span / 4 + expected) / 2


def map_box(corners: NDArray[np.float64], state: Box, resize_factor: float, size: int) -> Box:
    """Map corners in units of the search crop to a box in the frame."""
    x1, y1, x2, y2 = (float(c) * size / resize_factor for c in corners)
    half = 0.5 * size / resize_factor
    cx = (x1 + x2) / 2 + state[0] + 0.5 * state[2] - half
    cy = (y1 + y2) / 2 + state[1] + 0.5 * state[3] - half
    return cx - 0.5 * (x2 - x1), cy - 0.5 * (y2 - y1), x2 - x1, y2 - y1


def clip_box(box: Box, height: int, width: int, margin: float) -> Box:
    """Clip a box to the frame: near edges first, then far edges, then the smallest size."""
    x, y, w, h = box
    x2, y2 = x + w, y + h
    x, y = min(max(0, x), width - margin), min(max(0, y), height - margin)
    x2, y2 = min(max(margin, x2), width), min(max(margin, y2), height)
    return x, y, max(margin, x2 - x), max(margin, y2 - y)


def bin_mass(logits: NDArray[np.float32], used: int, radius: int) -> float:
    """Return the geometric mean over coordinates of the softmax mass near the largest of the first `used` bins."""
    mass = 1.0
    for row in softmax(logits[:, :used].astype(np.float64)):
        best = int(row.argmax())
        mass *= row[max(0, best - radius) : best + radius + 1].sum()
    return float(mass**0.25)


def keep_rows(score: NDArray[np.float32], prune: int) -> NDArray[np.int64]:
    """Return, ascending, the indices left when the `prune` lowest scores go (equal scores: lowest index first)."""
    return np.sort(np.argsort(score, kind="stable")[prune:])
