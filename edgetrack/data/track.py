"""One target and its boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError

__all__ = ["MAX_COORDINATE", "Boxes", "Track", "absent_outside", "checked_boxes"]

Boxes = NDArray[np.float64]

MAX_COORDINATE = 1e6
"""No coordinate or size of a box is larger, in pixels."""


@dataclass(frozen=True, eq=False)
class Track:
    """One target through one sequence, or on one still image.

    Attributes:
        name: unique in its data set, such as "GOT-10k_Train_000001", or "000000000139#2" for a box of an image.
        dataset: which data set it came from.
        images: one file a frame; one for a still image.
        boxes: float64 (frames, 4), x, y, w, h in pixels of the image as annotated; a row of nan: target absent.
        text: what the target is, in words, where the data set says so.
    """

    name: str
    dataset: str
    images: tuple[Path, ...]
    boxes: Boxes
    text: str | None = None

    @property
    def still(self) -> bool:
        """Whether this is one image, not a sequence."""
        return len(self.images) == 1


def checked_boxes(boxes: Boxes, where: str) -> Boxes:
    """Return the boxes with a row of nan wherever width or height is not above zero: the target is absent.

    Args:
        boxes: float64 (frames, 4), x, y, w, h in pixels.
        where: the file, for messages.

    Raises:
        InputError: a row is partly nan, or a number is infinite or beyond a million.
    """
    missing = np.isnan(boxes)
    odd = missing.any(axis=1) & ~missing.all(axis=1)
    odd |= (np.abs(np.where(missing, 0.0, boxes)) > MAX_COORDINATE).any(axis=1)
    if odd.any():
        row = int(np.argmax(odd))
        raise InputError(
            f"{where}: box {row + 1} is {boxes[row].tolist()}, must be x,y,w,h in pixels, or all four nan where the "
            "target is absent; mend the file"
        )
    return np.where((boxes[:, 2:] > 0).all(axis=1, keepdims=True), boxes, np.nan)


def absent_outside(boxes: Boxes, height: float | Boxes, width: float | Boxes) -> Boxes:
    """Return the boxes with a row of nan wherever a box has no area or does not touch its image.

    Nothing of such a target can be seen, whatever the annotation says. Boxes that are partly outside stay as they are.

    Args:
        boxes: float64 (frames, 4), x, y, w, h in pixels.
        height: of the images, in pixels; one number, or float64 (frames,).
        width: likewise.
    """
    x, y, w, h = boxes.T
    seen = (w > 0) & (h > 0) & (x < width) & (y < height) & (x + w > 0) & (y + h > 0)  # false for nan
    return np.where(seen[:, None], boxes, np.nan)
