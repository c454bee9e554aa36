"""What users hand to a tracker, checked before the core sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError

__all__ = ["Box", "checked_box", "checked_frame"]

Box = tuple[float, float, float, float]
"""A box (x, y, w, h) in pixels, top-left corner, 0-based."""


def checked_frame(frame: object) -> NDArray[np.uint8]:
    """Return a frame as the array that the core reads; InputError where it is none."""
    if isinstance(frame, np.ndarray):
        return frame
    if frame is None:
        raise InputError("the frame is None: the video has ended or could not be read; check what read() returned")
    raise InputError(f"the frame is a {type(frame).__name__}, must be a numpy array of uint8; convert it first")


def checked_box(box: object) -> Box:
    """Return x, y, w, h as floats; InputError where `box` is not four numbers."""
    try:
        if isinstance(box, str | bytes):
            raise TypeError
        x, y, w, h = (float(value) for value in box)  # type: ignore[attr-defined]
    except OverflowError as error:
        raise InputError(
            "the box holds a number too large for a float; give four numbers x, y, w, h in pixels"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"the box is {box!r}, must be four numbers x, y, w, h in pixels") from error
    return (x, y, w, h)
