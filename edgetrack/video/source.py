"""One way to read frames: a video file, a folder of images, a camera, or a network stream."""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError
from edgetrack.video.opencv import import_cv2

__all__ = ["Source", "open_source"]

Frame = NDArray[np.uint8]

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_STREAM = re.compile(r"(?:rtsps?|rtmps?|https?|srt|rtp|udp|tcp)://.+", re.IGNORECASE)
_CAMERA = re.compile(r"\d{1,3}")
_STREAM_TIMEOUT_MS = 10_000
# Containers round the count they announce; one frame more or less is no sign of damage.
_COUNT_TOLERANCE = 1


class Source(ABC):
    """Frames of one video in order: iterate once, or call `read`. Frames are uint8 (height, width, 3) BGR."""

    name: str
    """What the user gave."""
    fps: float | None
    """Frames a second, where known."""
    size: tuple[int, int]
    """Width and height of the first frame, in pixels."""
    count: int | None
    """Number of frames that are announced, or None for a camera or stream."""
    live: bool
    """Whether frames come at their own pace and are lost if they are not taken: a camera, or a stream without end."""
    warnings: list[str]
    """What was odd, one line each; complete once iteration has ended."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames that are left."""
        while (frame := self.read()) is not None:
            yield frame

    @abstractmethod
    def read(self) -> Frame | None:
        """Return the next frame, an array of its own; None at the end.

        Raises:
            InputError: an image of a folder cannot be decoded.
        """

    @abstractmethod
    def seek(self, index: int) -> None:
        """Make frame `index`, from 0, the next one.

        Raises:
            InputError: there is no such frame, or the source cannot go to one.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file or device."""

    def __enter__(self) -> Source:
        """Return the source itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self.close()


def open_source(name: str) -> Source:
    """Open a video file, a folder of images (jpg, png, bmp), a camera, or a stream.

    Streams are addresses that begin with rtsp, rtmp, http, srt, rtp, udp or tcp, never paths. Of the rest a file or
    folder of that name comes first; then digits are a camera's number. A camera may also be a device file as
    /dev/video0.

    Raises:
        InputError: it does not exist, cannot be read, or holds no frame.
        EngineUnavailable: OpenCV is not installed.
    """
    cv2 = import_cv2()
    if os.path.exists(name) and not _STREAM.fullmatch(name):
        return _open_path(cv2, Path(name))
    if _CAMERA.fullmatch(name):
        return _VideoSource(cv2, cv2.VideoCapture(int(name)), name, f"camera {name}", live=True)
    if _STREAM.fullmatch(name):
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _STREAM_TIMEOUT_MS]
        timeouts += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, _STREAM_TIMEOUT_MS]
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, timeouts)
        return _VideoSource(cv2, capture, name, f"stream {name}", network=True, live=False)
    raise InputError(f"source {name!r} does not exist; give a video, a folder of images, a camera number or an URL")


def _open_path(cv2: Any, path: Path) -> Source:  # noqa: ANN401
    """Open what exists on disk."""
    name = str(path)
    if path.is_dir():
        return _FolderSource(cv2, path)
    if stat.S_ISCHR(path.stat().st_mode):
        return _VideoSource(cv2, cv2.VideoCapture(name), name, f"camera {name}", live=True)
    if not path.is_file():
        raise InputError(f"source {name!r} is no file, folder or camera; give one of these, or an URL")
    return _VideoSource(cv2, cv2.VideoCapture(name), name, f"video {name}", live=False)


class _VideoSource(Source):
    """A video file, camera or stream through cv2.VideoCapture."""

    def __init__(self, cv2: Any, capture: Any, name: str, what: str, *, network: bool = False, live: bool) -> None:  # noqa: ANN401
        self.name = name
        self.warnings = []
        self._cv2 = cv2
        self._what = what
        self._capture = capture
        if not capture.isOpened():
            raise InputError(f"{what} cannot be opened; check that it is there and that its format is known")
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if 0 < fps < 1000 else None
        self.count = count if count > 0 and not live and not network else None
        # A file behind an address waits for its reader, and ends.
        self.live = live or (network and count <= 0)
        self._ends_itself = not live and not network
        # Reading one frame now is the only way to know that there is one, and its true size.
        good, first = capture.read()
        if not good or first is None:
            self.close()
            raise InputError(f"{what} holds no frame that can be decoded; check the file or the device")
        self._first: Frame | None = first
        self._next = 0
        self.size = (int(first.shape[1]), int(first.shape[0]))

    def read(self) -> Frame | None:
        """See `Source.read`."""
        frame, self._first = self._first, None
        if frame is None:
            good, frame = self._capture.read()
            if not good or frame is None:
                self._note_end()
                return None
        self._next += 1
        return frame

    def seek(self, index: int) -> None:
        """See `Source.seek`; as exact as the index of the file."""
        if self.count is None:
            raise InputError(f"{self._what} cannot be wound to frame {index}; only files can")
        if not 0 <= index < self.count:
            raise InputError(f"{self._what} has no frame {index}; it has {self.count}, from 0")
        if index == self._next:
            return
        self._first = None
        position = self._cv2.CAP_PROP_POS_FRAMES
        if not self._capture.set(position, index) or round(self._capture.get(position)) != index:
            raise InputError(f"{self._what} cannot be wound to frame {index}; its format has no index")
        self._next = index

    def _note_end(self) -> None:
        if not self._ends_itself:
            self.warnings.append(f"{self._what}: stream ended after {self._next} frames")
        elif self.count is not None and self._next < self.count - _COUNT_TOLERANCE:
            self.warnings.append(
                f"{self._what} ended early: {self._next} of {self.count} frames could be decoded; is it cut off?"
            )

    def close(self) -> None:
        """See `Source.close`."""
        self._capture.release()


class _FolderSource(Source):
    """A folder of images, in natural order of their names (2 before 10)."""

    def __init__(self, cv2: Any, folder: Path) -> None:  # noqa: ANN401
        self.name = str(folder)
        self.warnings = []
        self._cv2 = cv2
        self._paths = sorted(
            (path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES), key=_natural_key
        )
        if not self._paths:
            raise InputError(f"folder {folder} holds no image ({', '.join(_IMAGE_SUFFIXES)}); check the path")
        self.fps = None
        self.live = False
        self.count: int = len(self._paths)
        self._next = 0
        first = self._decoded(self._paths[0])
        self.size = (int(first.shape[1]), int(first.shape[0]))

    def _decoded(self, path: Path) -> Frame:
        frame: Frame | None = self._cv2.imread(str(path), self._cv2.IMREAD_COLOR)
        if frame is None:
            raise InputError(f"image {path} cannot be decoded; replace or remove it")
        return frame

    def read(self) -> Frame | None:
        """See `Source.read`."""
        if self._next == self.count:
            return None
        frame = self._decoded(self._paths[self._next])
        self._next += 1
        return frame

    def seek(self, index: int) -> None:
        """See `Source.seek`."""
        if not 0 <= index < self.count:
            raise InputError(f"folder {self.name} has no image {index}; it has {self.count}, from 0")
        self._next = index

    def close(self) -> None:
        """See `Source.close`."""


def _natural_key(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]
