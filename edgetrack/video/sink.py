"""Annotated video out, through OpenCV; needs no display."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError
from edgetrack.video.opencv import import_cv2

__all__ = ["VIDEO_SUFFIXES", "VideoSink"]

_CODES = {".mp4": "mp4v", ".avi": "MJPG"}
VIDEO_SUFFIXES = tuple(_CODES)
_DEFAULT_FPS = 30.0


class VideoSink:
    """Context manager that writes BGR frames to a video under a temporary name and renames it at the end.

    An error removes the file; Ctrl-C keeps what was written, as a whole video.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float | None) -> None:
        """`size` is (width, height) in pixels; without `fps` 30 is assumed.

        Raises:
            InputError: the suffix is not .mp4 or .avi, or the file cannot be created.
            EngineUnavailable: OpenCV is not installed.
        """
        self.path = Path(path)
        self.frames = 0
        suffix = self.path.suffix.lower()
        if suffix not in _CODES:
            raise InputError(f"output {self.path} must end in {' or '.join(_CODES)}; rename it")
        self._partial = self.path.with_name(f".{self.path.stem}.partial-{os.getpid()}{suffix}")
        self._cv2 = import_cv2()
        code = self._cv2.VideoWriter_fourcc(*_CODES[suffix])
        self._writer = self._cv2.VideoWriter(str(self._partial), code, fps or _DEFAULT_FPS, size)
        if not self._writer.isOpened():
            self._partial.unlink(missing_ok=True)
            raise InputError(f"output {self.path} cannot be created; check that its folder exists and is writable")

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one uint8 (height, width, 3) BGR frame of the size given at the start."""
        self._writer.write(frame)
        self.frames += 1

    def __enter__(self) -> VideoSink:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and give it its name, or remove it after an error.

        Raises:
            InputError: the file is not whole; OpenCV does not report a full disk, so it is read back.
        """
        self._writer.release()
        keep = kind is None or issubclass(kind, KeyboardInterrupt)
        if not keep or not self.frames:
            self._partial.unlink(missing_ok=True)
            return
        if not self._is_whole():
            self._partial.unlink(missing_ok=True)
            raise InputError(f"output {self.path} could not be written whole; is the disk full?")
        self._partial.replace(self.path)

    def _is_whole(self) -> bool:
        capture = self._cv2.VideoCapture(str(self._partial))
        try:
            return bool(capture.isOpened()) and int(capture.get(self._cv2.CAP_PROP_FRAME_COUNT)) == self.frames
        finally:
            capture.release()
