"""The toolkits' metrics: what the truth scores, cases computed by hand, and a slow second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetrack.benchmarks.accuracy.loss import LossCounts, count_states
from edgetrack.data.metrics import (
    CENTRE_THRESHOLDS,
    GOT10K_THRESHOLDS,
    NORMALISED_THRESHOLDS,
    OVERLAP_THRESHOLDS,
    box_iou,
    got10k_overlaps,
    got10k_scores,
    present,
    pytracking_curves,
    pytracking_scores,
)
from edgetrack.errors import InputError

NAN = [math.nan] * 4
SIZE = (640, 480)


def boxes(*rows) -> np.ndarray:
    return np.array(rows, np.float64)


def pytracking(predicted, truth, **options):
    return pytracking_scores([pytracking_curves(predicted, truth, **options)])


def integer_truth(frames: int = 50) -> np.ndarray:
    generator = np.random.default_rng(3)
    corner, size = generator.integers(0, 300, (frames, 2)), generator.integers(5, 150, (frames, 2))
    return np.concatenate([corner, size], axis=1).astype(np.float64)


def test_thresholds_are_the_toolkits():
    assert OVERLAP_THRESHOLDS.shape == (21,)
    assert OVERLAP_THRESHOLDS[[0, 10, 15, 20]].tolist() == [0.0, 0.5, 0.75, 1.0]
    assert CENTRE_THRESHOLDS[[0, 20, 50]].tolist() == [0, 20, 50]
    assert NORMALISED_THRESHOLDS[[0, 20, 50]].tolist() == [0, 0.2, 0.5]
    assert GOT10K_THRESHOLDS.shape == (101,)


def test_truth_as_result_scores_what_the_toolkits_say():
    truth = integer_truth()
    scores = pytracking(truth, truth)
    assert scores.auc == pytest.approx(100 * 20 / 21, abs=1e-12)  # no overlap is above the last threshold, 1
    assert (scores.op50, scores.op75, scores.precision, scores.norm_precision) == (100, 100, 100, 100)
    found = got10k_scores([got10k_overlaps(truth, truth, SIZE)])
    assert (found.ao, found.sr50, found.sr75) == (1, 1, 1)
    fine = truth + 0.125  # three decimals hold it
    assert got10k_scores([got10k_overlaps(fine, fine, SIZE)]).ao == 1


def test_pytracking_scores_boxes_cut_to_integers():
    truth = boxes([5, 5, 10, 10], [0.5, 0.5, 10.5, 10.5])
    # Cut: (0, 0, 10, 10). Intersection 9.5^2, union 100 + 110.25 - 90.25: overlap 0.752.
    curves = pytracking_curves(truth, truth)
    assert curves.success.tolist() == [1.0] * 16 + [0.5] * 4 + [0.0]  # above 0 ... 0.75; the first frame up to 0.95
    half = pytracking_curves(boxes([5, 5, 10, 10], [-3.9, -3.9, 10.9, 10.9]), boxes([5, 5, 10, 10], [-3, -3, 10, 10]))
    assert half.success[-2] == 1  # towards zero, not down


def test_pytracking_by_hand():
    truth = boxes([0, 0, 10, 10], [100, 100, 20, 10], [100, 100, 20, 10])
    predicted = boxes([50, 50, 9, 9], [110, 100, 20, 10], [100, 125, 20, 10])
    curves = pytracking_curves(predicted, truth)
    # Overlaps: 1 (the first box is the truth's), 1/3, 0. Centre errors: 0, 10, 25. Normalised: 0, 10/20, 25/10.
    assert (curves.success * 3).round(9).tolist() == [2.0] * 7 + [1.0] * 13 + [0.0]
    assert (curves.precision * 3).round(9).tolist() == [1.0] * 10 + [2.0] * 15 + [3.0] * 26
    assert (curves.normalised * 3).round(9).tolist() == [1.0] * 50 + [2.0]
    scores = pytracking_scores([curves])
    assert scores.auc == pytest.approx(100 * (7 * 2 + 13) / 3 / 21)
    assert scores.op50 == pytest.approx(100 / 3)
    assert scores.precision == pytest.approx(200 / 3)
    assert scores.norm_precision == pytest.approx(100 / 3)


def test_thresholds_at_their_borders():
    truth = boxes([0, 0, 9, 9], [0, 0, 10, 10], [0, 0, 100, 100])
    curves = pytracking_curves(boxes([0, 0, 9, 9], [0, 0, 10, 5], [20, 0, 100, 100]), truth)
    assert curves.success[10] == pytest.approx(2 / 3)  # an overlap of exactly 0.5 is not above 0.5
    assert (curves.precision[20], curves.precision[19]) == (1, pytest.approx(2 / 3))  # 20 px count at 20
    assert curves.normalised[20] == pytest.approx(2 / 3)  # 2.5 of 10 is too far, 20 of 100 counts at 0.2


def test_pytracking_repairs_results_as_the_toolkit_does():
    truth = boxes(*([[0, 0, 10, 10]] * 4))
    good, empty = [0, 0, 10, 10], [0, 0, 0.9, 10]
    repeated = pytracking_curves(boxes(good, good, empty, empty), truth)  # width 0 repeats the box before
    assert repeated.success[19] == 1
    assert pytracking_curves(boxes(good, good), truth).success[19] == 0.5  # too short: zeros
    assert pytracking_curves(boxes(*([good] * 9)), truth).success[19] == 1  # too long: cut


def test_absent_frames_are_left_out_or_missed():
    truth = boxes([0, 0, 10, 10], NAN, [0, 0, 10, 10], [0, 0, 0, 0])
    assert present(truth).tolist() == [True, False, True, False]
    predicted = boxes(*([[0, 0, 10, 10]] * 4))
    assert pytracking(predicted, truth).op50 == 100
    missed = pytracking(predicted, truth, absent_missed=True)
    assert (missed.op50, missed.precision, missed.norm_precision) == (50, 50, 50)
    assert got10k_overlaps(predicted, truth, SIZE).tolist() == [1.0]


def test_sequences_count_the_same_in_pytracking_and_by_frames_in_got10k():
    short, long = boxes(*([[0, 0, 10, 10]] * 2)), boxes(*([[0, 0, 10, 10]] * 8))
    lost = long.copy()
    lost[:, 0] = 500
    lost[0, 0] = 0
    curves = [pytracking_curves(short, short), pytracking_curves(lost, long)]
    assert pytracking_scores(curves).op50 == pytest.approx(100 * (1 + 1 / 8) / 2)
    overlaps = [got10k_overlaps(short, short, SIZE), got10k_overlaps(lost, long, SIZE)]
    assert got10k_scores(overlaps).ao == pytest.approx(1 / 8)  # one frame of the first, seven of the second


def test_got10k_by_hand():
    truth = boxes([0, 0, 5, 5], [600, 400, 80, 100], [10, 10, 10, 10])
    # Both are cut to 640 x 480: truth (600, 400, 40, 80), prediction (620, 400, 20, 80), overlap 1/2. Then 10.0004
    # becomes 10.000: overlap 1.
    predicted = boxes([9, 9, 1, 1], [620, 400, 100, 300], [10.0004, 10, 10, 10])
    overlaps = got10k_overlaps(predicted, truth, SIZE)
    assert overlaps.tolist() == [0.5, 1.0]
    found = got10k_scores([overlaps])
    assert (found.ao, found.sr50, found.sr75) == (0.75, 0.5, 0.5)  # exactly 0.5 is not above
    assert got10k_scores([np.zeros(0)]) is None


@pytest.mark.parametrize("bad", [[math.nan, 0, 5, 5], [0, 0, math.inf, 5], [0, 0, -1, 5]])
def test_results_that_toolkits_refuse(bad):
    truth = boxes([0, 0, 5, 5], [0, 0, 5, 5])
    with pytest.raises(InputError, match="track again"):
        pytracking_curves(boxes([0, 0, 5, 5], bad), truth)


def test_nothing_to_score():
    with pytest.raises(InputError, match="in no frame"):
        pytracking_curves(boxes([0, 0, 5, 5]), boxes(NAN))
    with pytest.raises(InputError, match="no sequence"):
        pytracking_scores([])
    with pytest.raises(InputError, match="2 predicted boxes for 1 frames"):
        got10k_overlaps(boxes(NAN, NAN), boxes(NAN), SIZE)


numbers = st.integers(-40, 700).map(float)
sizes = st.integers(1, 200).map(float)
rows = st.lists(st.tuples(numbers, numbers, sizes, sizes), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows, rows)
def test_against_a_slow_second_implementation(first, second):
    count = min(len(first), len(second))
    predicted, truth = boxes(*first[:count]), boxes(*second[:count])
    overlaps, errors, scaled = [], [], []
    for index, (a, b) in enumerate(zip(predicted.tolist(), truth.tolist(), strict=True)):
        p = b if index == 0 else a
        width = max(0.0, min(p[0] + p[2], b[0] + b[2]) - max(p[0], b[0]))
        height = max(0.0, min(p[1] + p[3], b[1] + b[3]) - max(p[1], b[1]))
        overlaps.append(width * height / (p[2] * p[3] + b[2] * b[3] - width * height))
        dx, dy = p[0] + p[2] / 2 - b[0] - b[2] / 2, p[1] + p[3] / 2 - b[1] - b[3] / 2
        errors.append(math.hypot(dx, dy))
        scaled.append(math.hypot(dx / b[2], dy / b[3]))
    curves = pytracking_curves(predicted, truth)
    forced = np.concatenate([truth[:1], predicted[1:]])
    assert box_iou(forced, truth) == pytest.approx(overlaps, abs=1e-12)
    # A value that lies on a threshold up to rounding may count on either side.
    for curve, values, thresholds, above in (
        (curves.success, overlaps, OVERLAP_THRESHOLDS, True),
        (curves.precision, errors, CENTRE_THRESHOLDS, False),
        (curves.normalised, scaled, NORMALISED_THRESHOLDS, False),
    ):
        for share, threshold in zip(curve, thresholds, strict=True):
            close = sum(abs(value - threshold) < 1e-9 for value in values)
            hits = sum(value > threshold if above else value <= threshold for value in values)
            assert abs(share * count - hits) <= close + 1e-9


def test_loss_rates():
    truth = boxes([0, 0, 5, 5], [0, 0, 5, 5], NAN, NAN, NAN, [0, 0, 5, 5], [0, 0, 5, 5], [0, 0, 5, 5])
    states = ["TRACKING", "LOST", "LOST", "UNCERTAIN", "TRACKING", "TRACKING", "UNCERTAIN", "UNCERTAIN"]
    counts = count_states(states, truth)
    assert counts == LossCounts(
        absent=3, absent_lost=1, absent_uncertain=1, present=4, present_lost=1, present_uncertain=2
    )
    found = (counts + counts).as_dict()
    assert (found["absent_frames"], found["present_frames"]) == (6, 8)
    assert found["true_lost_rate"] == pytest.approx(1 / 3)
    assert found["false_lost_rate"] == pytest.approx(1 / 4)
    assert found["true_uncertain_rate"] == pytest.approx(1 / 3)
    assert found["false_uncertain_rate"] == pytest.approx(1 / 2)
    assert LossCounts().as_dict()["true_lost_rate"] is None
