"""The frames that loops are measured on: decoded before the clock starts, and kept in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError
from edgetrack.export.parity.clip import Box, demo_clip, open_clip

__all__ = ["Box", "Footage", "Frame", "load_footage"]

Frame = NDArray[np.uint8]

_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True)
class Footage:
    """Decoded frames, uint8 RGB (height, width, 3), and the target in the first of them, x, y, w, h in pixels.

    `cut` says that the clip is longer than what memory was spent on.
    """

    name: str
    frames: list[Frame]
    box: Box
    cut: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.frames[0].shape[:2]
        return width, height


def load_footage(source: str | None = None, box: Box | None = None) -> Footage:
    """Decode a clip into memory, at most 1 GiB of it.

    Args:
        source: video file or folder of images; None is the clip that comes with edgetrack.
        box: the target in the first frame of `source`.

    Raises:
        InputError: the clip cannot be read, has fewer than two frames, or comes without its box.
        EngineUnavailable: OpenCV is not installed.
    """
    if source is not None and box is None:
        raise InputError(f"clip {source} comes without a box; give the target in its first frame with --init")
    clip = demo_clip() if source is None or box is None else open_clip(source, box)
    frames: list[Frame] = []
    held, cut = 0, False
    for frame in clip.frames():
        cut = bool(frames) and held + frame.nbytes > _LIMIT_BYTES
        if cut:
            break
        frames.append(frame)
        held += frame.nbytes
    if len(frames) < 2:
        raise InputError(f"clip {clip.name} has {len(frames)} frames, a loop needs two; give a longer one")
    return Footage(clip.name, frames, clip.box, cut)
