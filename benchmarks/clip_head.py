"""The first frames of edgetrack's clip as a clip of their own: proving a large network on all of it takes minutes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from edgetrack.errors import InputError
from edgetrack.export.parity.clip import demo_clip
from edgetrack.video.opencv import import_cv2

__all__ = ["clip_head_words"]


def clip_head_words(work: Path, frames: int | None) -> list[str]:
    """Return the options of `edgetrack export` that name the clip's first `frames` frames; None: the whole clip.

    They are written as images into a folder in `work`, unless they are there.

    Raises:
        InputError: the folder cannot be written.
        EngineUnavailable: OpenCV is not installed.
    """
    if frames is None:
        return []
    clip, folder = demo_clip(), work / f"clip-{frames}"
    if not folder.is_dir():
        cv2 = import_cv2()
        try:
            with tempfile.TemporaryDirectory(prefix=".clip-", dir=work) as scratch:
                half = Path(scratch) / folder.name
                half.mkdir()
                for number, frame in enumerate(clip.head(frames)):
                    if not cv2.imwrite(str(half / f"{number:04d}.png"), frame[..., ::-1]):
                        raise OSError(None, "OpenCV could not write an image")
                shutil.move(half, folder)
        except OSError as error:
            raise InputError(
                f"cannot write {folder} ({error.strerror}); check the folder and the free space"
            ) from error
    return ["--clip", str(folder), "--init", ",".join(f"{value:g}" for value in clip.box)]
