"""Parity of the decoding: before every frame both trackers are put on the same box (forced states).

The closed loop cannot tell decodings apart whose boxes are clipped to the same minimum, and one deviation there hides
the frames after it. Here every frame is judged for itself, by the corners as decoded (before clipping, where the loops
can show that).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.export.models.base import BinTracker, ForcedTracker
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.loop import Box, largest_difference
from edgetrack.export.parity.report import ForcedReport, iou

__all__ = ["compare_forced", "forced_box"]


def compare_forced(
    reference: ForcedTracker,
    candidate: ForcedTracker,
    frames: Iterable[NDArray[np.uint8]],
    clip: Clip,
    *,
    margin: float = 0.0,
    near_px: float = 0.0,
    on_frame: Callable[[], None] = lambda: None,
) -> ForcedReport:
    """Force both trackers along the same path through a clip and compare what they decode in each frame.

    Args:
        reference: what counts as right.
        candidate: what is judged.
        frames: uint8 RGB frames of `clip`, the first one included.
        clip: gives the first box and the path.
        margin: what the reference decided by a smaller lead may turn. A corner that this may move by more than
            `near_px` is counted, not compared.
        near_px: of the other ones, what such decisions may move is taken off the difference.
        on_frame: called after each tracked frame, for progress.
    """
    distances: list[float] = []
    reaches: list[float] = []
    swapped: list[int] = []
    overlaps: list[float] = []
    undecided = 0
    for index, frame in enumerate(frames):
        if index == 0:
            reference.init(frame, clip.box)
            candidate.init(frame, clip.box)
            continue
        box = forced_box(clip, index, frame.shape[0], frame.shape[1])
        for tracker in (reference, candidate):
            tracker.set_state(box)
            tracker.update(frame)
        a, b = reference.corners_px(), candidate.corners_px()
        reach = _reach(reference, margin)
        judged = ~((reach > near_px) & np.isfinite(a) & np.isfinite(b))
        undecided += int((~judged).sum())
        distances.append(_beyond(a[judged], b[judged], reach[judged]))
        reaches += reach[judged].tolist()
        if judged.all():
            overlaps.append(iou(_box_of(a), _box_of(b)))
        expected, found = reference.kept(), candidate.kept()
        if expected is not None:
            swapped.append(int(expected.sum() if found is None else (expected & ~found).sum()))
        on_frame()
    return ForcedReport(
        frames=len(distances),
        max_corner_px=max(distances, default=0.0),
        max_swapped=max(swapped) if swapped else None,
        corner_px=tuple(distances),
        undecided=undecided,
        min_iou=min(overlaps, default=None),
        max_reach_px=max(reaches, default=0.0),
    )


def _reach(reference: ForcedTracker, margin: float) -> NDArray[np.floating[Any]]:
    """Return how far decisions closer than `margin` may move each corner; without bins: anywhere."""
    if isinstance(reference, BinTracker):
        return reference.reach_px(margin)
    return np.where(reference.leads() < margin, np.inf, 0.0)


def _beyond(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]], reach: NDArray[np.floating[Any]]) -> float:
    """Return the largest difference of any corner beyond its reach, in pixels."""
    far = [max(0.0, largest_difference([p], [q]) - r) for p, q, r in zip(a, b, reach, strict=True)]
    return max(far, default=0.0)


def _box_of(corners: NDArray[np.floating[Any]]) -> Box:
    x1, y1, x2, y2 = corners.tolist()
    return (x1, y1, x2 - x1, y2 - y1)


def forced_box(clip: Clip, index: int, height: int, width: int) -> Box:
    """Return the state before frame `index` (from 1) of a clip of `height` x `width` pixels.

    It is the target's true box in the frame before, where that is known and its centre is in the picture, else a box
    on a smooth path inside the picture. Its size swings by 30 %, so that crops of many sizes are compared.
    """
    x, y, w, h = clip.truth[index - 1] if index <= len(clip.truth) else (math.nan,) * 4
    cx, cy = x + w / 2, y + h / 2
    known = all(map(math.isfinite, (cx, cy, w, h))) and w > 0 and h > 0 and 0 <= cx < width and 0 <= cy < height
    if not known:
        side = 0.2 * min(height, width)
        w, h = side * (1 + 0.3 * math.sin(0.37 * index)), side * (1 + 0.3 * math.cos(0.29 * index))
        cx, cy = width * (0.5 + 0.25 * math.sin(0.23 * index)), height * (0.5 + 0.25 * math.cos(0.31 * index))
    scale = 1 + 0.3 * math.sin(0.41 * index)
    w, h = w * scale, h * scale
    return (cx - w / 2, cy - h / 2, w, h)
