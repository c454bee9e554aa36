"""Frames as they are shown, and those that are kept for someone who draws a box on one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.video import FrameResult

__all__ = ["Frame", "KeptFrames", "Shown"]

Frame = NDArray[np.uint8]
"""uint8 (height, width, 3) BGR."""

_MOST_BYTES = 64 << 20
_MOST_PINS = 4


@dataclass(frozen=True)
class Shown:
    """A frame and what the tracker said about it.

    Attributes:
        number: of the frame in its source, from 0.
        frame: never written to again.
        result: None where it was not tracked.
        run: number of the run that tracked it; 0 for none.
        details: what the tracker's family tells besides.
    """

    number: int
    frame: Frame
    result: FrameResult | None = None
    run: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


class KeptFrames:
    """The last frames by number, at most 64 MiB, and up to four that are pinned; for any thread.

    Drawing a box takes seconds. The frame that is drawn on is pinned meanwhile, so that the box is applied to it and
    not to a later one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: OrderedDict[int, Shown] = OrderedDict()
        self._pinned: OrderedDict[int, Shown] = OrderedDict()
        self._bytes = 0

    def add(self, shown: Shown) -> None:
        """Keep a frame; the oldest go."""
        with self._lock:
            old = self._recent.pop(shown.number, None)
            self._bytes += shown.frame.nbytes - (0 if old is None else old.frame.nbytes)
            self._recent[shown.number] = shown
            while self._bytes > _MOST_BYTES and len(self._recent) > 1:
                self._bytes -= self._recent.popitem(last=False)[1].frame.nbytes

    def pin(self, number: int) -> bool:
        """Keep a frame until four others are pinned; False where it has gone."""
        with self._lock:
            shown = self._pinned.pop(number, None) or self._recent.get(number)
            if shown is None:
                return False
            self._pinned[number] = shown
            while len(self._pinned) > _MOST_PINS:
                self._pinned.popitem(last=False)
            return True

    def get(self, number: int) -> Shown | None:
        """Return a kept frame."""
        with self._lock:
            return self._pinned.get(number) or self._recent.get(number)

    def clear(self) -> None:
        """Forget all, because another source is open."""
        with self._lock:
            self._recent.clear()
            self._pinned.clear()
            self._bytes = 0
