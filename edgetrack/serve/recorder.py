"""The annotated video of a run, written while it is tracked."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import EdgetrackError
from edgetrack.serve.errors import one_line
from edgetrack.video import FrameResult, VideoSink
from edgetrack.video.overlay import draw

__all__ = ["Recorder"]

_MOST_FRAMES = 500_000
_LEAST_FREE_BYTES = 512 << 20
_CHECK_EVERY = 64  # frames


class Recorder:
    """Writes a video, or stops with a reason; a run goes on without it.

    Attributes:
        done: the finished video; None before, and if nothing was written.
        trouble: why there is no video, or no whole one; "" if nothing went wrong.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float | None) -> None:
        """`path` ends in .mp4; `size` is width and height in pixels."""
        self.done: Path | None = None
        self.trouble = ""
        self._sink: VideoSink | None = None
        try:
            self._sink = VideoSink(path, size, fps)
        except EdgetrackError as error:
            self.trouble = one_line(error)

    def write(self, frame: NDArray[np.uint8], result: FrameResult, number: int) -> None:
        """Append a frame, uint8 (height, width, 3) BGR, with its result drawn on it."""
        if self._sink is None:
            return
        self._sink.write(draw(frame, result, number))
        frames = self._sink.frames
        if frames == _MOST_FRAMES:
            self._end(f"the video ends after {_MOST_FRAMES} frames")
        elif frames % _CHECK_EVERY == 0 and shutil.disk_usage(self._sink.path.parent).free < _LEAST_FREE_BYTES:
            self._end(f"the video ends after {frames} frames, because the disk of the server is nearly full")

    def _end(self, why: str) -> None:
        self.finish()
        self.trouble = why

    def finish(self) -> None:
        """Make the video a whole file; may be called twice."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            sink.__exit__(None, None, None)
        except EdgetrackError as error:
            self.trouble = one_line(error)
            return
        self.done = sink.path if sink.frames else None

    def remove(self) -> None:
        """Remove the video, because another run's takes its place."""
        done, self.done = self.done, None
        if done is not None:
            done.unlink(missing_ok=True)
