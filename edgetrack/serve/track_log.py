"""What became of one run: a result for each frame, and how long each stage took lately."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping

from edgetrack.errors import InputError
from edgetrack.video.boxes import LINE_FORMATS, FrameResult, boxes_text, check_format

__all__ = ["StageClock", "TrackLog"]

_MOST_FRAMES = 1_000_000
_WINDOW = 100

Point = tuple[int, float, str]
"""Number of a frame, score and state."""


class TrackLog:
    """Results by frame number; written by the tracker's thread, read by any.

    Attributes:
        number: of the run, from 1; a page tells by it that an old log is over.
        full: there is no room for more frames; they are tracked, but not kept.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.full = False
        self._lock = threading.Lock()
        self._numbers: list[int] = []
        self._results: list[FrameResult] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int, result: FrameResult) -> None:
        """Append a frame; one with this number or later ones are replaced, as after winding back."""
        with self._lock:
            while self._numbers and self._numbers[-1] >= number:
                self._numbers.pop()
                self._results.pop()
            self.full = len(self._numbers) >= _MOST_FRAMES
            if not self.full:
                self._numbers.append(number)
                self._results.append(result)

    def last(self) -> FrameResult | None:
        """Return the newest result."""
        with self._lock:
            return self._results[-1] if self._results else None

    def points(self, after: int, most: int) -> list[Point]:
        """Return up to `most` points with numbers above `after`, the newest ones, oldest first."""
        with self._lock:
            start = len(self._numbers)
            least = max(0, start - most)
            while start > least and self._numbers[start - 1] > after:
                start -= 1
            rows = zip(self._numbers[start:], self._results[start:], strict=True)
            return [(number, round(result.score, 4), result.state) for number, result in rows]

    def text(self, results_format: str) -> str:
        """Return the boxes as a file of `edgetrack track` has them.

        Raises:
            InputError: the format is unknown, there are no boxes yet, or frames were skipped and the format has no
                frame numbers.
        """
        check_format(results_format)
        with self._lock:
            numbers, results = list(self._numbers), list(self._results)
        if not results:
            raise InputError("there are no boxes yet; start a run first")
        if results_format in LINE_FORMATS and numbers[-1] - numbers[0] != len(numbers) - 1:
            raise InputError(
                f"frames between {numbers[0]} and {numbers[-1]} were skipped, and {results_format} has one line for "
                "every frame; take json or csv"
            )
        return f"{boxes_text(results, results_format, numbers)}\n"


class StageClock:
    """Mean time of the stages of the last 100 frames, and the rate of the whole; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: deque[Mapping[str, float]] = deque(maxlen=_WINDOW)
        self._moments: deque[float] = deque(maxlen=_WINDOW)

    def add(self, stages_ms: Mapping[str, float]) -> None:
        """Note one frame that is done now."""
        with self._lock:
            self._frames.append(stages_ms)
            self._moments.append(time.perf_counter())

    def break_off(self) -> None:
        """Note that the frames stop here, so that a pause does not count as slowness."""
        with self._lock:
            self._moments.clear()

    def stages_ms(self) -> dict[str, float]:
        """Return the mean of each stage in milliseconds, in the order in which they are passed."""
        sums: dict[str, float] = {}
        with self._lock:
            count = len(self._frames)
            for stages in self._frames:
                for name, value in stages.items():
                    sums[name] = sums.get(name, 0.0) + value
        return {name: total / count for name, total in sums.items()}

    def fps(self) -> float | None:
        """Return frames a second as they come, waiting included; None where fewer than two came in a row."""
        with self._lock:
            count = len(self._moments)
            seconds = self._moments[-1] - self._moments[0] if count else 0.0
        return (count - 1) / seconds if seconds > 0 else None
