"""One JPEG encoder for all who look: it takes the latest frame, encodes it once, and hands it to everyone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgetrack.serve.frames import Frame, Shown
from edgetrack.serve.slot import LatestSlot
from edgetrack.serve.worker import THREADS
from edgetrack.video.opencv import import_cv2

__all__ = ["Picture", "Pictures", "encode_jpeg"]

_WAIT_S = 0.2
_MAX_SIDE_PX = 1280

Receiver = Callable[["Picture"], None]


@dataclass(frozen=True)
class Picture:
    """A JPEG of a frame, perhaps smaller than it; `count` is the number of the change of the slot that it shows."""

    count: int
    jpeg: bytes
    shown: Shown


class Pictures:
    """Encodes in a thread of its own while somebody looks; frames that come faster than it are not encoded.

    Attributes:
        encoded: how many pictures were made.
    """

    def __init__(self, slot: LatestSlot[Shown], *, quality: int, max_fps: float) -> None:
        """Start the thread.

        Args:
            slot: what is shown.
            quality: of the JPEGs, 1 to 100.
            max_fps: pictures a second at most.
        """
        self.encoded = 0
        self._slot = slot
        self._quality = quality
        self._period_s = 1 / max_fps
        self._lock = threading.Lock()
        self._receivers: set[Receiver] = set()
        self._last: Picture | None = None
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{THREADS}pictures", daemon=True)
        self._thread.start()

    def add(self, receiver: Receiver) -> None:
        """Call `receiver` with what is shown, and with every picture from now on, in the encoder's thread."""
        with self._lock:
            self._receivers.add(receiver)
            self._wanted.set()
            if self._last is not None and self._last.count == self._slot.get()[0]:
                receiver(self._last)

    def remove(self, receiver: Receiver) -> None:
        """Undo `add`; without receivers nothing is encoded."""
        with self._lock:
            self._receivers.discard(receiver)
            if not self._receivers:
                self._wanted.clear()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._wanted.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        seen = 0
        while not self._closed.is_set():
            self._wanted.wait()
            began = time.perf_counter()
            count, shown = self._slot.wait(seen, _WAIT_S)
            if count == seen:
                continue
            seen = count
            picture = None if shown is None else Picture(count, encode_jpeg(shown.frame, self._quality), shown)
            with self._lock:
                self._last = picture
                receivers = list(self._receivers)
            if picture is None:
                continue
            self.encoded += 1
            for receiver in receivers:
                receiver(picture)
            self._closed.wait(max(0.0, self._period_s - (time.perf_counter() - began)))


def encode_jpeg(frame: Frame, quality: int) -> bytes:
    """Return a frame as a JPEG, made smaller so that no side is longer than 1280 pixels."""
    cv2 = import_cv2()
    height, width = frame.shape[:2]
    scale = _MAX_SIDE_PX / max(height, width)
    if scale < 1:
        frame = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(jpeg)
