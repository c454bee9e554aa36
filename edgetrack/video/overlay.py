"""What an annotated frame shows: the box in the colour of the state, score, state and frame number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgetrack.video.boxes import FrameResult
from edgetrack.video.opencv import import_cv2

__all__ = ["draw"]

# BGR; told apart by people who do not see red and green alike.
_COLOURS = {"TRACKING": (120, 200, 0), "UNCERTAIN": (0, 190, 255), "LOST": (60, 60, 230)}


def draw(frame: NDArray[np.uint8], result: FrameResult, index: int) -> NDArray[np.uint8]:
    """Return a copy of a BGR frame with `result` drawn on it; `index` is the frame's number from 0."""
    cv2 = import_cv2()
    drawn: NDArray[np.uint8] = frame.copy()
    colour = _COLOURS.get(result.state, (255, 255, 255))
    x, y, w, h = result.box
    thickness = max(1, round(frame.shape[0] / 360))
    cv2.rectangle(drawn, (round(x), round(y)), (round(x + w), round(y + h)), colour, thickness)
    text = f"{index}  {result.state}  {result.score:.2f}"
    scale = frame.shape[0] / 720
    place = (round(10 * scale), round(30 * scale))
    for ink, weight in (((0, 0, 0), 3 * thickness), (colour, thickness)):
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, weight, cv2.LINE_AA)
    return drawn
