"""From times to numbers, on times whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from edgetrack.benchmarks.stats import drift, fps, has_settled, ratio_of_medians, ratio_of_rates, summarize


def test_percentiles():
    found = summarize(range(101))
    assert (found.count, found.mean, found.p50, found.p90, found.p95, found.p99, found.max) == (
        *(101, 50.0, 50.0, 90.0, 95.0, 99.0, 100.0),
    )


def test_nothing_measured_is_all_zero():
    assert set(vars(summarize([])).values()) == {0}
    assert fps([]) == 0


def test_fps_is_frames_over_the_sum_of_times():
    assert fps([10.0, 30.0]) == pytest.approx(50.0)  # the mean of 1/time would say 66.7


def test_drift_compares_the_ends():
    steady = drift([10.0] * 100)
    assert (steady.window, steady.change, steady.stationary) == (10, 0.0, True)
    slower = drift([10.0] * 100 + [12.0] * 100)
    assert slower.window == 20
    assert slower.change == pytest.approx(0.2)
    assert not slower.stationary


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_drift_of_short_runs_uses_windows_that_do_not_overlap(count):
    assert drift([1.0] * count).window == max(1, count // 2)


def test_times_settle_when_two_windows_agree():
    assert not has_settled([5.0] * 15)
    assert has_settled([5.0] * 16)
    assert not has_settled([20.0] * 8 + [10.0] * 8)
    assert has_settled([20.0] * 8 + [10.0] * 16)


def noisy(scale: float, count: int, seed: int) -> np.ndarray:
    return scale * np.exp(0.1 * np.random.default_rng(seed).standard_normal(count))


def test_ratios_of_known_times():
    blocks = [index // 16 for index in range(320)]
    base, other = noisy(60.0, 320, 1), noisy(20.0, 320, 2)
    for ratio in (ratio_of_rates(base, other, blocks), ratio_of_medians(base, other, blocks)):
        assert ratio.low < ratio.value < ratio.high
        assert ratio.low < 3.0 < ratio.high
        assert ratio.high - ratio.low < 0.3
    assert ratio_of_rates(base, other, blocks).value == pytest.approx(fps(other) / fps(base))
    assert ratio_of_medians(base, other, blocks).value == pytest.approx(np.median(base) / np.median(other))


def test_the_bootstrap_is_paired():
    # Both slow down together; drawn apart, the interval would be as wide as that.
    blocks = [index // 8 for index in range(160)]
    both = np.linspace(10.0, 40.0, 160)
    ratio = ratio_of_rates(2 * both, both, blocks)
    assert ratio.low == pytest.approx(2.0)
    assert ratio.high == pytest.approx(2.0)


def test_the_bootstrap_draws_whole_blocks():
    # Within a block nothing varies, between blocks everything does: frames drawn singly would look too sure.
    generator = np.random.default_rng(3)
    base = np.repeat(10.0 * np.exp(0.3 * generator.standard_normal(10)), 32)
    other = np.full(320, 10.0)
    whole = ratio_of_rates(base, other, [index // 32 for index in range(320)])
    single = ratio_of_rates(base, other, list(range(320)))
    assert whole.high - whole.low > 3 * (single.high - single.low)


def test_the_bootstrap_of_one_block_draws_frames():
    ratio = ratio_of_rates(noisy(20.0, 30, 1), noisy(10.0, 30, 2), [0] * 30)
    assert ratio.low < ratio.value < ratio.high


def test_the_bootstrap_repeats():
    base, other, blocks = noisy(3.0, 64, 1), noisy(2.0, 64, 2), [index // 16 for index in range(64)]
    assert ratio_of_rates(base, other, blocks) == ratio_of_rates(base, other, blocks)
