"""Puts pieces of one search view onto another: something that covers the target, or a second target beside it.

Rectangles are x1 y1 x2 y2 in pixels of the crop. What goes where is drawn on the host, the pixels move on the device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Pieces", "draw_distractors", "draw_occlusions", "paste"]

_TRIES = 8  # places tried for a distractor
_OVERLAP = 0.1  # of the target that a distractor may cover
_SMALLEST = 8  # pixels; smaller targets make no distractor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Pieces(NamedTuple):
    """n rectangles to copy."""

    to: Ints  # (n,) samples that receive
    donor: Ints  # (n,) samples that give
    place: Ints  # (n, 4) rectangles in the receiver
    shift: Ints  # (n, 2) from a pixel of the receiver, x y, to the donor's


def draw_occlusions(corners: Floats, size: int, probability: float, generator: np.random.Generator) -> Pieces:
    """Cover 0.2 to 0.7 of each side of some targets, anywhere on them, by content of another sample.

    Args:
        corners: (B, 4) targets in their crops, 0 to 1.
        size: side of the crops, pixels.
        probability: of each sample.
        generator: source of chance.
    """
    to, donor = _draw_pairs(len(corners), probability, generator)
    target = corners[to] * size
    sides = (target[:, 2:] - target[:, :2]) * generator.uniform(0.2, 0.7, (len(to), 2))
    middle = target[:, :2] + (target[:, 2:] - target[:, :2]) * generator.random((len(to), 2))
    place = _inside(np.concatenate([middle - sides / 2, middle + sides / 2], 1), size)
    source = (generator.random((len(to), 2)) * (size - (place[:, 2:] - place[:, :2]) + 1)).astype(np.int64)
    return _real(Pieces(to, donor, place, source - place[:, :2]), 1)


def draw_distractors(corners: Floats, size: int, probability: float, generator: np.random.Generator) -> Pieces:
    """Put another sample's target wherever it leaves at least 0.9 of a target free; skipped if no such place is found.

    The arguments are those of `draw_occlusions`.
    """
    to, donor = _draw_pairs(len(corners), probability, generator)
    target, source = _inside(corners[to] * size, size), _inside(corners[donor] * size, size)
    sides = source[:, 2:] - source[:, :2]
    start = (generator.random((_TRIES, len(to), 2)) * (size - sides + 1)).astype(np.int64)
    common = np.minimum(start + sides, target[:, 2:]) - np.maximum(start, target[:, :2])
    area = np.maximum((target[:, 2:] - target[:, :2]).prod(-1), 1)
    free = np.maximum(common, 0).prod(-1) <= _OVERLAP * area  # (tries, n)
    chosen = start[free.argmax(0), np.arange(len(to))]
    place = np.concatenate([chosen, chosen + sides], 1)
    place[~free.any(0)] = 0
    return _real(Pieces(to, donor, place, source[:, :2] - chosen), _SMALLEST)


def _draw_pairs(count: int, probability: float, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw receivers, and for each one of the other samples; none if there is no other."""
    to = np.flatnonzero(generator.random(count) < (probability if count > 1 else 0))
    return to, (to + generator.integers(1, max(count, 2), len(to))) % count


def _inside(rectangles: Floats, size: int) -> Ints:
    return np.clip(np.rint(rectangles), 0, size).astype(np.int64)


def _real(pieces: Pieces, smallest: int) -> Pieces:
    """Leave out pieces with a side below `smallest`."""
    keep = (pieces.place[:, 2:] - pieces.place[:, :2] >= smallest).all(1)
    return Pieces(*(table[keep] for table in pieces))


def paste(words: Tensor, pieces: Pieces) -> None:
    """Copy the pieces between packed crops (B, size, size), in place; donors give what they showed before."""
    if not len(pieces.to):
        return
    whole = np.concatenate([pieces.to[:, None], pieces.donor[:, None], pieces.place, pieces.shift], 1).T
    to, donor, left, top, right, bottom, across, down = torch.from_numpy(whole.copy()).to(
        words.device, non_blocking=True
    )[..., None, None]
    steps = torch.arange(words.shape[-1], device=words.device)
    columns, rows = steps[None, None, :], steps[None, :, None]
    covered = (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)
    limit = words.shape[-1] - 1
    given = words[donor, (rows + down).clamp_(0, limit), (columns + across).clamp_(0, limit)]
    receivers = to[:, 0, 0]
    words[receivers] = torch.where(covered, given, words[receivers])
