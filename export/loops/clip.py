"""The published limits on a box: it stays in the frame and keeps a smallest size."""

from __future__ import annotations

from edgetrack.export.models.base import Box

__all__ = ["clip_box"]


def clip_box(box: Box, height: int, width: int, margin: float) -> Box:
    """Clip a box (x, y, w, h) in pixels to a frame of `height` x `width`, in float64 as the published loops do.

    Neither side becomes smaller than `margin`, and at least `margin` of the box stays inside; a frame narrower than
    that is not provided for.
    """
    x, y, w, h = box
    x2, y2 = x + w, y + h
    x, y = min(max(0, x), width - margin), min(max(0, y), height - margin)
    x2, y2 = min(max(margin, x2), width), min(max(margin, y2), height)
    return x, y, max(margin, x2 - x), max(margin, y2 - y)
