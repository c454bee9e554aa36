"""From times to numbers: percentiles, frames a second, drift, and how sure a ratio is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SETTLED_CHANGE",
    "Drift",
    "Ratio",
    "Summary",
    "drift",
    "fps",
    "has_settled",
    "ratio_of_medians",
    "ratio_of_rates",
    "summarize",
]

SETTLED_CHANGE = 0.05
"""Two windows of times count as alike if their medians differ by no more than this share."""

_RESAMPLES = 1000
_SEED = 0
_CONFIDENCE = (2.5, 97.5)
_SHARE_OF_WINDOW = 10
_SMALLEST_WINDOW = 8

Times = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """Times in milliseconds; percentiles are interpolated linearly."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class Drift:
    """Medians of the first and the last `window` times, and the last over the first minus 1."""

    window: int
    first_ms: float
    last_ms: float
    change: float
    stationary: bool


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def summarize(times_ms: Times) -> Summary:
    """Return the summary of `times_ms`; all zeros if there are none."""
    values = np.asarray(times_ms, np.float64)
    if not values.size:
        return Summary(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    p50, p90, p95, p99 = np.percentile(values, (50, 90, 95, 99)).tolist()
    return Summary(values.size, float(values.mean()), p50, p90, p95, p99, float(values.max()))


def fps(times_ms: Times) -> float:
    """Return frames over the sum of their times (the mean of 1/time would flatter); 0 if there are none."""
    total_ms = float(np.sum(times_ms))
    return 1e3 * len(times_ms) / total_ms if total_ms > 0 else 0.0


def drift(times_ms: Times) -> Drift:
    """Compare the first tenth of a run with its last tenth (at least 8 times each, at most half the run)."""
    count = len(times_ms)
    window = max(1, min(max(count // _SHARE_OF_WINDOW, _SMALLEST_WINDOW), count // 2))
    first, last = float(np.median(times_ms[:window])), float(np.median(times_ms[-window:]))
    change = last / first - 1 if first > 0 else 0.0
    return Drift(window, first, last, change, abs(change) <= SETTLED_CHANGE)


def has_settled(times_ms: Times, window: int = _SMALLEST_WINDOW) -> bool:
    """Say whether the last `window` times have the median of the `window` before them, within 5 %."""
    if len(times_ms) < 2 * window:
        return False
    before, now = np.median(times_ms[-2 * window : -window]), np.median(times_ms[-window:])
    return bool(abs(now - before) <= SETTLED_CHANGE * before)


def ratio_of_medians(base_ms: Times, other_ms: Times, blocks: Sequence[int]) -> Ratio:
    """Return median(base) / median(other), above 1 where `other` is faster; arguments as for `ratio_of_rates`."""
    base, other = np.asarray(base_ms, np.float64), np.asarray(other_ms, np.float64)
    drawn = [float(np.median(base[pick]) / np.median(other[pick])) for pick in _resamples(blocks)]
    return _ratio(float(np.median(base) / np.median(other)), drawn)


def ratio_of_rates(base_ms: Times, other_ms: Times, blocks: Sequence[int]) -> Ratio:
    """Return fps(other) / fps(base), above 1 where `other` is faster.

    Args:
        base_ms: times of one contender.
        other_ms: times of another one on the same frames, in the same order.
        blocks: number of the block that each frame was measured in. The paired bootstrap draws whole blocks,
            because times that follow one another are not independent; with a single block it draws frames.
    """
    base, other = np.asarray(base_ms, np.float64), np.asarray(other_ms, np.float64)
    drawn = [float(base[pick].sum() / other[pick].sum()) for pick in _resamples(blocks)]
    return _ratio(float(base.sum() / other.sum()), drawn)


def _resamples(blocks: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return, for each resample, the frames it is made of."""
    numbers = np.asarray(blocks, np.int64)
    names = np.unique(numbers)
    groups = [np.flatnonzero(numbers == name) for name in names]
    if len(groups) == 1:
        groups = [np.array([index]) for index in range(len(numbers))]
    generator = np.random.default_rng(_SEED)
    draws = generator.integers(0, len(groups), (_RESAMPLES, len(groups)))
    return [np.concatenate([groups[index] for index in draw]) for draw in draws]


def _ratio(value: float, drawn: list[float]) -> Ratio:
    low, high = np.percentile(drawn, _CONFIDENCE).tolist()
    return Ratio(value, low, high)
