"""The clip that the gate runs on: frames and the target's box in the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.demo import CLIP, GROUND_TRUTH
from edgetrack.errors import InputError
from edgetrack.video import open_source, read_ground_truth

__all__ = ["Box", "Clip", "demo_clip", "open_clip"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Clip:
    """A video file or image folder, and the box (x, y, w, h) of the target in its first frame.

    Attributes:
        name: for reports.
        path: what `edgetrack.video.open_source` opens.
        box: in pixels.
        count: announced number of frames, where known.
        truth: the target's box in each frame, as far as it is known; not finite where it is not visible.
    """

    name: str
    path: str
    box: Box
    count: int | None
    truth: tuple[Box, ...] = ()

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Read the clip from its start: uint8 RGB (height, width, 3), C-contiguous.

        Raises:
            InputError: it cannot be read, or has fewer frames that decode than it announces.
        """
        with open_source(self.path) as source:
            for frame in source:
                yield np.ascontiguousarray(frame[..., ::-1])
            if source.warnings:
                raise InputError(f"{'; '.join(source.warnings)} Give a whole clip with --clip")

    def head(self, count: int) -> list[NDArray[np.uint8]]:
        """Return the first `count` frames, or all if there are fewer."""
        return list(islice(self.frames(), count))


def demo_clip() -> Clip:
    """Return the clip that comes with edgetrack."""
    truth = tuple((x, y, w, h) for x, y, w, h in read_ground_truth(GROUND_TRUTH).tolist())
    return _described(f"demo/{CLIP.name}", CLIP, truth[0], truth)


def open_clip(path: str | Path, box: Box) -> Clip:
    """Return a clip of the user's own.

    Args:
        path: video file or folder of images.
        box: the target in the first frame.

    Raises:
        InputError: it cannot be read, or is a camera or stream, which gives no two loops the same frames.
    """
    if not Path(path).exists():
        raise InputError(f"clip {path} does not exist; give a video file or a folder of images")
    return _described(Path(path).name, Path(path).absolute(), box)


def _described(name: str, path: Path, box: Box, truth: tuple[Box, ...] = ()) -> Clip:
    with open_source(str(path)) as source:
        return Clip(name, str(path), box, source.count, truth)
