"""Where the tracker's thread takes frames: a file waits for it, a camera or stream does not."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from edgetrack.errors import EdgetrackError, InputError
from edgetrack.serve.control import SourceChoice
from edgetrack.serve.errors import one_line
from edgetrack.serve.frames import Frame
from edgetrack.serve.worker import THREADS
from edgetrack.video import Source

__all__ = ["Feed", "FileFeed", "LiveFeed", "check_size", "open_feed"]

Opener = Callable[[str], Source]

_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 10.0
_JOIN_S = 2.0
_MOST_PIXELS = 36_000_000  # 8K video has 33 million; several frames are kept


class Feed(ABC):
    """Frames with numbers from 0; used by one thread, but for the counts, which any may read.

    Attributes:
        size: width and height in pixels.
        fps: frames a second, where known.
        count: frames in all; None where nobody knows.
        live: frames come at their own pace; those not taken in time are dropped and counted.
        position: number of the next frame.
        ended: there will be no more frames.
        dropped: frames that came and were never taken.
        trouble: why no frames come at the moment; "" while they do.
        reconnects: how often a source was opened again.
    """

    size: tuple[int, int]
    fps: float | None
    count: int | None
    live: bool

    def __init__(self, choice: SourceChoice) -> None:
        self._choice = choice
        self.position = 0
        self.ended = False
        self.dropped = 0
        self.trouble = ""
        self.reconnects = 0

    def _say(self, text: str) -> None:
        """Show what is the matter, without what is private."""
        self.trouble = self._choice.shown(text)

    @abstractmethod
    def peek(self, timeout_s: float) -> Frame | None:
        """Return the next frame and keep it as the next; None if none came in `timeout_s` seconds, or none is left.

        Raises:
            InputError: it cannot be decoded.
        """

    @abstractmethod
    def take(self, timeout_s: float) -> Frame | None:
        """Return the next frame, see `peek`, and go on to the one after it."""

    @abstractmethod
    def seek(self, number: int) -> None:
        """Make a frame the next one; InputError where that cannot be."""

    @abstractmethod
    def close(self) -> None:
        """Release the source."""


class FileFeed(Feed):
    """Reads when asked: no frame is ever dropped."""

    live = False

    def __init__(self, choice: SourceChoice, source: Source) -> None:
        """`source` is what `choice` names, open."""
        super().__init__(choice)
        self._source = source
        self._kept: Frame | None = None
        self.size, self.fps, self.count = source.size, source.fps, source.count

    def peek(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 (a file never lets us wait)
        """See `Feed.peek`."""
        if self._kept is None and not self.ended:
            self._kept = self._source.read()
            self.ended = self._kept is None
            self._say("; ".join(self._source.warnings) if self.ended else "")
        return self._kept

    def take(self, timeout_s: float) -> Frame | None:
        """See `Feed.take`."""
        frame = self.peek(timeout_s)
        self._kept = None
        self.position += frame is not None
        return frame

    def seek(self, number: int) -> None:
        """See `Feed.seek`."""
        self._source.seek(number)
        self._kept = None
        self.position = number
        self.ended = False
        self._source.warnings.clear()
        self.trouble = ""

    def close(self) -> None:
        """See `Feed.close`."""
        self._source.close()


class LiveFeed(Feed):
    """Reads a camera or stream in a thread of its own and keeps the latest frame; opens it again when it breaks off."""

    live = True
    count = None

    def __init__(self, choice: SourceChoice, source: Source, opener: Opener) -> None:
        """`source` is what `choice` names, open; `opener` opens it again."""
        super().__init__(choice)
        self.size, self.fps = source.size, source.fps
        self._source = source
        self._opener = opener
        self._changed = threading.Condition()
        self._latest: Frame | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"{THREADS}live", daemon=True)
        self._thread.start()

    def peek(self, timeout_s: float) -> Frame | None:
        """See `Feed.peek`."""
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None, timeout_s)
            return self._latest

    def take(self, timeout_s: float) -> Frame | None:
        """See `Feed.take`."""
        with self._changed:
            frame = self.peek(timeout_s)
            self._latest = None
        self.position += frame is not None
        return frame

    def seek(self, number: int) -> None:
        """See `Feed.seek`."""
        raise InputError(f"a camera or stream cannot be wound to frame {number}; only files can")

    def close(self) -> None:
        """See `Feed.close`; a device that does not answer is left to its thread."""
        self._closing.set()
        self._thread.join(_JOIN_S)

    def _read(self) -> None:
        """Read until closed; runs in the thread, which alone touches the source."""
        source: Source | None = self._source
        wait_s = _FIRST_RETRY_S
        while not self._closing.is_set():
            if source is not None:
                if self._read_all(source):
                    wait_s = _FIRST_RETRY_S
                source.close()
            if self._closing.wait(wait_s):
                return
            wait_s = min(2 * wait_s, _LAST_RETRY_S)
            source = self._opened()
        if source is not None:
            source.close()

    def _read_all(self, source: Source) -> bool:
        """Read until the source breaks off; tell whether it gave a frame."""
        came = False
        try:
            while not self._closing.is_set() and (frame := source.read()) is not None:
                came = True
                with self._changed:
                    self.dropped += self._latest is not None
                    self._latest = frame
                    self.trouble = ""
                    self._changed.notify_all()
            self._say("the source broke off; opening it again")
        except Exception as error:  # noqa: BLE001 (whatever a driver raises, the source is opened again)
            self._say(f"{one_line(error)}; opening it again")
        return came

    def _opened(self) -> Source | None:
        try:
            source = self._opener(self._choice.name)
        except EdgetrackError as error:
            self._say(f"{one_line(error)}; trying again")
            return None
        self.reconnects += 1
        return source


def check_size(size: tuple[int, int]) -> None:
    """Refuse frames of which a few would fill the memory of a small device; InputError."""
    width, height = size
    if width * height > _MOST_PIXELS:
        raise InputError(
            f"frames of {width}x{height} are larger than {_MOST_PIXELS // 10**6} megapixels; make the video smaller"
        )


def open_feed(choice: SourceChoice, opener: Opener) -> Feed:
    """Open a source with `opener`, `edgetrack.video.open_source` usually.

    Raises:
        InputError: it cannot be opened, or its frames are too large; says so by its label, because an address may hold
            a password.
        EngineUnavailable: OpenCV is not installed.
    """
    try:
        source = opener(choice.name)
    except InputError as error:
        raise InputError(choice.shown(str(error))) from error
    try:
        check_size(source.size)
    except InputError:
        source.close()
        raise
    return LiveFeed(choice, source, opener) if source.live else FileFeed(choice, source)
