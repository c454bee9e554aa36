"""A place for the latest of something: a newer one replaces it, nobody waits, nothing queues."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")

__all__ = ["LatestSlot"]


class LatestSlot(Generic[T]):
    """Holds one value between threads; `put` never waits for those who look."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._value: T | None = None
        self._count = 0

    def put(self, value: T) -> None:
        """Replace the value."""
        with self._changed:
            self._value = value
            self._count += 1
            self._changed.notify_all()

    def clear(self) -> None:
        """Take the value away, which counts as a change."""
        with self._changed:
            self._value = None
            self._count += 1
            self._changed.notify_all()

    def get(self) -> tuple[int, T | None]:
        """Return how often the value changed so far, and the value; None before the first and after `clear`."""
        with self._changed:
            return self._count, self._value

    def wait(self, seen: int, timeout_s: float) -> tuple[int, T | None]:
        """Return as `get` does, as soon as it changed more than `seen` times, or after `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._count > seen, timeout_s)
            return self._count, self._value
