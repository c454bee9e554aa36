"""A clip of drawn frames for the gate of small networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetrack.export.parity.clip import Clip, open_clip
from edgetrack.export.standin import synth_box, synth_frame

HEIGHT, WIDTH = 150, 200
TOY_SIZE = 90, 120
"""Of the clips that toy families track."""


def drawn_clip(folder: Path, frames: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Clip:
    """Write `frames` images of `size`, height and width, into an existing folder and return them as a clip."""
    cv2 = pytest.importorskip("cv2")
    for index in range(frames):
        cv2.imwrite(str(folder / f"{index:02}.png"), synth_frame(index, *size)[..., ::-1])
    return open_clip(folder, synth_box(0, *size))
