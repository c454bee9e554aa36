"""Slow, readable versions of FARTrack's slot rule and template history, as published and bounded."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


def published_slots(n: int, early: str = "shift") -> list[int]:
    """Return the history index of each of the five slots after frame n, in the published float64 form."""
    if n >= 4:
        return [int(n * (1 - 0.7**i)) for i in range(4)] + [n]
    if early == "distill" and n == 1:
        return [0, 0, 1, 0, 0]
    if early == "distill" and n == 2:
        return [0, 0, 1, 2, 0]
    return [max(0, p - 4 + n) for p in range(5)]


class BoundedHistory(Generic[T]):
    """At most `capacity` entries: what the rule can still ask for, every stride-th when full."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.entries: dict[int, T] = {}
        self.size = 0
        self.stride = 1

    def put(self, entry: T) -> None:
        """Store the next entry, or pass it over when its index is not a multiple of the stride."""
        index, self.size = self.size, self.size + 1
        if index % self.stride:
            return
        oldest = 3 * self.size // 10
        oldest -= oldest % (2 * self.stride)  # what it is rounded down to once the stride has doubled
        self.entries = {k: e for k, e in self.entries.items() if k == 0 or k >= oldest}
        if len(self.entries) == self.capacity:
            self.stride *= 2
            self.entries = {k: e for k, e in self.entries.items() if k % self.stride == 0}
        if index % self.stride == 0:
            self.entries[index] = entry

    def get(self, k: int) -> T:
        """Return what stands for index k; KeyError if it was dropped."""
        return self.entries[k - k % self.stride]
