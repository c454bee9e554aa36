"""A clip of drawn frames for the gate of small networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetrack.export.parity.clip import Clip, open_clip
from edgetrack.export.standin import synth_box, synth_frame

HEIGHT, WIDTH = 150, 200


def drawn_clip(folder: Path, frames: int) -> Clip:
    """Write `frames` images into an existing folder and return them as a clip."""
    cv2 = pytest.importorskip("cv2")
    for index in range(frames):
        cv2.imwrite(str(folder / f"{index:02}.png"), synth_frame(index, HEIGHT, WIDTH)[..., ::-1])
    return open_clip(folder, synth_box(0, HEIGHT, WIDTH))
