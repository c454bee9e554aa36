"""What an annotated frame shows: the box in the colour of the state, score, state and frame number."""

from __future__ import annotations

from types import ModuleType

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
    thickness = max(2, round(frame.shape[0] / 240))
    cv2.rectangle(drawn, (round(x), round(y)), (round(x + w), round(y + h)), colour, thickness)
    _label(cv2, drawn, f"{index}  {result.state}  {result.score:.2f}", colour)
    return drawn


def _label(cv2: ModuleType, drawn: NDArray[np.uint8], text: str, colour: tuple[int, int, int]) -> None:
    """Write `text` into the top left corner, on a dark plate.

    Not with an outline: since OpenCV 5 bolder letters are wider as well, and do not lie around thinner ones.
    """
    scale = drawn.shape[0] / 540
    font, weight, gap = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(scale)), round(8 * scale)
    (width, height), below = cv2.getTextSize(text, font, scale, weight)
    cv2.rectangle(drawn, (0, 0), (width + 2 * gap, height + below + 2 * gap), (24, 24, 24), cv2.FILLED)
    cv2.putText(drawn, text, (gap, gap + height), font, scale, colour, weight, cv2.LINE_AA)
