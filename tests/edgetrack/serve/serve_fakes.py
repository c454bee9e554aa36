"""Sources and trackers that do what a test tells them, and a session over them."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from edgetrack.errors import InputError
from edgetrack.serve.control import SourceChoice
from edgetrack.serve.model import LoadedModel
from edgetrack.video import Source

BOX = (10.0, 8.0, 20.0, 16.0)
FACTS = {"name": "fake", "reads_text": False, "needs_text": False, "needs_box": True}


def wait_for(condition, timeout_s: float = 20.0):
    """Return what `condition` gives as soon as it is true."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)
    return found


def picture(number: int) -> np.ndarray:
    """A frame that tells its number."""
    return np.full((48, 64, 3), number % 256, np.uint8)


class FakeSource(Source):
    """`count` frames of a file."""

    live = False

    def __init__(self, name: str = "file", count: int = 50) -> None:
        self.name, self.fps, self.size, self.count, self.warnings = name, 25.0, (64, 48), count, []
        self.next, self.closed = 0, False

    def read(self):
        if self.next == self.count:
            return None
        self.next += 1
        return picture(self.next - 1)

    def seek(self, index: int) -> None:
        if not 0 <= index < self.count:
            raise InputError(f"no frame {index}")
        self.next = index

    def close(self) -> None:
        self.closed = True


class FakeCamera(Source):
    """Gives what a test pushes; None breaks it off."""

    live = True

    def __init__(self, name: str = "camera") -> None:
        self.name, self.fps, self.size, self.count, self.warnings = name, None, (64, 48), None, []
        self.frames: queue.Queue = queue.Queue()
        self.closed = False

    def push(self, *numbers: int | None) -> None:
        for number in numbers:
            self.frames.put(None if number is None else picture(number))

    def read(self):
        return self.frames.get(timeout=20)

    def seek(self, index: int) -> None:
        raise InputError("a camera cannot be wound")

    def close(self) -> None:
        self.closed = True


class FakeTracker:
    """Notes what it is told; the box moves by a pixel a frame, the score is the frame's number / 1000."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.seen: list[int] = []
        self.fail_at: int | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self.core = SimpleNamespace(mode="local", confidence=float("nan"))
        self.box = self.raw_box = BOX
        self.score = 1.0
        self.thresholds: dict[str, float] = {}
        self.state = SimpleNamespace(name="TRACKING")
        self.timings_ms = {"crop": 1.0, "run": 2.0, "total": 3.5}

    def init(self, frame, box, *, text=None, pack=None) -> None:
        if text is not None:
            raise InputError("this tracker reads no text")
        self.calls.append(("init", int(frame[0, 0, 0]), box, pack))
        self.box = self.raw_box = BOX if box is None else box

    def retarget(self, *, text=None, pack=None) -> None:
        self.calls.append(("retarget", pack))

    def update(self, frame):
        assert self.gate.wait(20)
        number = int(frame[0, 0, 0])
        if number == self.fail_at:
            raise InputError("the frame cannot be used;\n convert it")
        self.seen.append(number)
        x, y, w, h = self.box
        self.box = self.raw_box = (x + 1, y, w, h)
        self.score = number / 1000
        return True, self.box

    def close(self) -> None:
        self.closed = True


class Told(NamedTuple):
    """Stands for a target pack."""

    word: str
    text: str


class FakeTextSide:
    """Encodes a text as ("told", text) when its gate is open; "bad" is refused."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.at_work = ""
        self.views: list = []
        self._thread = ThreadPoolExecutor(1)

    def describe(self, text, pack, view):
        self.views.append(view)
        return self._thread.submit(self._encode, text)

    def _encode(self, text):
        assert self.gate.wait(20)
        if text == "bad":
            raise InputError("the text says nothing")
        return Told("told", text)

    def close(self) -> None:
        self._thread.shutdown()


def fake_model(tracker, text_side=None, **facts):
    """What a session's loader returns."""
    return LoadedModel(tracker, FACTS | {"reads_text": text_side is not None} | facts, text_side)


FILE = SourceChoice("file", "a file")
