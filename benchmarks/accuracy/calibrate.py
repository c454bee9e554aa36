"""From raw scores to probabilities: a logistic map to P(IoU > 0.5), and the limits of TRACKING, UNCERTAIN and LOST.

A frame is good if the published loop's box overlaps the truth by more than 0.5; where the target is absent no box is.
The first frame of a sequence is given, and a frame that could not be looked at (raw score 0) has no score, so neither
takes part in the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetrack.benchmarks.accuracy.loss import LossCounts, count_states
from edgetrack.benchmarks.accuracy.records import SequenceRecord
from edgetrack.benchmarks.accuracy.score_rule import Calibration, ScoreRule
from edgetrack.data.metrics import box_iou, present
from edgetrack.errors import CalibrationError

__all__ = [
    "GOOD_IOU",
    "UNCERTAIN_BELOW",
    "CalibrationFit",
    "Reliability",
    "ReliabilityBin",
    "Samples",
    "calibrate_score",
    "choose_lost_below",
    "fit_logistic",
    "reliability",
    "samples_of",
]

GOOD_IOU = 0.5
UNCERTAIN_BELOW = 0.5
"""UNCERTAIN is where the box is more likely wrong than right."""

RIDGE = 1.0  # on the slope per standard deviation of the raw score: as strong as a handful of frames
_LEAST = 10  # frames of either kind: fewer fix no slope
_LEAST_SPREAD = 1e-6  # of raw scores, which lie between 0 and 1
_BINS = 10
_ROUNDS = 100
_CONVERGED = 1e-10


@dataclass(frozen=True, eq=False)
class Samples:
    """Frames that were tracked: raw score, whether the box was good, and the number of the sequence, each (frames,)."""

    raw: NDArray[np.float64]
    good: NDArray[np.bool_]
    sequence: NDArray[np.int64]


@dataclass(frozen=True)
class ReliabilityBin:
    """Frames with a score from `low` on, up to the next bin; means are 0 where there are none."""

    low: float
    count: int
    mean_score: float
    share_good: float


@dataclass(frozen=True)
class Reliability:
    """How far scores are probabilities: Brier score (mean squared error) and expected calibration error, 10 bins."""

    brier: float
    ece: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class CalibrationFit:
    """A new rule, and what it does on the frames it was made from.

    Attributes:
        rule: calibration and limits.
        frames: that took part.
        share_good: of them, the share with IoU > 0.5.
        before: of the scores that the tracker gave.
        after: of the calibrated scores.
        held_out: of every sequence under a map that was fitted on the others; None where there is no other, or the
            others have too few frames of either kind.
        states_before: of the tracker as it was.
        states_after: under the new rule.
    """

    rule: ScoreRule
    frames: int
    share_good: float
    before: Reliability
    after: Reliability
    held_out: Reliability | None
    states_before: LossCounts
    states_after: LossCounts


def calibrate_score(records: Sequence[SequenceRecord], *, false_lost: float = 0.01) -> CalibrationFit:
    """Fit the map and choose the limits.

    Args:
        records: sequences that the tracker followed.
        false_lost: at most this share of the frames in which the target is present may be reported LOST.

    Raises:
        CalibrationError: the tracker has no raw score, there are too few good or bad frames, or the raw score does not
            grow with the probability that the box is good.
    """
    if any(not record.has_states for record in records):
        raise CalibrationError("this tracker has no raw score, so there is nothing to calibrate")
    samples = samples_of(records)
    calibration = fit_logistic(samples.raw, samples.good)
    open_rule = ScoreRule(calibration, UNCERTAIN_BELOW, 0.0)
    there = np.concatenate([present(record.truth_array())[1:] for record in records])
    scores = np.concatenate([record.under(open_rule).scores[1:] for record in records])
    limit = min(choose_lost_below(scores[there], false_lost), UNCERTAIN_BELOW)
    rule = ScoreRule(calibration, UNCERTAIN_BELOW, limit)
    seen = np.concatenate([np.asarray(record.raw_scores[1:], np.float64) > 0 for record in records])
    given = np.concatenate([record.scores[1:] for record in records])
    return CalibrationFit(
        rule=rule,
        frames=len(samples.raw),
        share_good=float(samples.good.mean()),
        before=reliability(given[seen], samples.good),
        after=reliability(scores[seen], samples.good),
        held_out=_held_out(samples),
        states_before=_count(records),
        states_after=_count([record.under(rule) for record in records]),
    )


def samples_of(records: Sequence[SequenceRecord]) -> Samples:
    """Return the frames that a fit uses, in their order.

    Raises:
        CalibrationError: there are fewer than ten good or ten bad ones.
    """
    raw, good, number = [np.zeros(0)], [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)]
    for index, record in enumerate(records):
        scores = np.asarray(record.raw_scores[1:], np.float64)
        seen = scores > 0
        overlap = box_iou(record.raw_array(), record.truth_array())[1:]
        raw.append(scores[seen])
        good.append((np.nan_to_num(overlap) > GOOD_IOU)[seen])
        number.append(np.full(int(seen.sum()), index, np.int64))
    samples = Samples(np.concatenate(raw), np.concatenate(good), np.concatenate(number))
    _check_kinds(samples.good)
    return samples


def fit_logistic(raw: NDArray[np.float64], good: NDArray[np.bool_], ridge: float = RIDGE) -> Calibration:
    """Fit P(good) = 1 / (1 + exp(-(slope * raw + intercept))) by Newton's method.

    Minimises the sum of log losses plus ridge / 2 times the squared slope per standard deviation of `raw`; the ridge
    keeps the slope finite where the scores tell good from bad frames without fail.

    Raises:
        CalibrationError: too few frames of either kind, raw scores that do not vary or are not finite, a slope that is
            not positive, or no convergence.
    """
    _check_kinds(good)
    mean, spread = float(raw.mean()), float(raw.std())
    if not np.isfinite(mean) or spread < _LEAST_SPREAD:
        raise CalibrationError(f"the raw scores are all {mean:g} or not finite; nothing can be fitted to them")
    design = np.stack([np.ones_like(raw), (raw - mean) / spread], axis=1)
    penalty = np.diag([0.0, ridge])
    weights = np.zeros(2)
    for _ in range(_ROUNDS):
        found = _sigmoid(design @ weights)
        gradient = design.T @ (found - good) + penalty @ weights
        curvature = (design * (found * (1 - found))[:, None]).T @ design + penalty
        step = _damped(design, good, penalty, weights, np.linalg.solve(curvature, gradient))
        weights = weights - step
        if float(np.abs(step).max()) < _CONVERGED:
            return _checked(weights, mean, spread)
    raise CalibrationError("the fit of the score does not converge; give more, and more varied, sequences")


def choose_lost_below(scores: NDArray[np.float64], false_lost: float) -> float:
    """Return the largest limit below which at most a share `false_lost` of `scores` lies, at most 1.

    Args:
        scores: of frames in which the target is present.
        false_lost: from 0 to 1.

    Raises:
        CalibrationError: there is no such frame.
    """
    if not scores.size:
        raise CalibrationError("the target is in no frame; give sequences in which it can be seen")
    allowed = int(np.floor(false_lost * scores.size))
    # Exactly the scores before this one in order lie below it; equal ones do not count as below.
    return float(np.sort(scores)[allowed]) if allowed < scores.size else 1.0


def reliability(scores: NDArray[np.float64], good: NDArray[np.bool_]) -> Reliability:
    """Compare scores (0 to 1) with what happened, in ten bins of equal width; both (frames,), at least one frame."""
    place = np.minimum((scores * _BINS).astype(np.int64), _BINS - 1)
    bins = []
    for index in range(_BINS):
        inside = place == index
        count = int(inside.sum())
        means = (float(scores[inside].mean()), float(good[inside].mean())) if count else (0.0, 0.0)
        bins.append(ReliabilityBin(index / _BINS, count, *means))
    ece = sum(entry.count * abs(entry.mean_score - entry.share_good) for entry in bins) / scores.size
    return Reliability(float(np.mean((scores - good) ** 2)), ece, tuple(bins))


def _held_out(samples: Samples) -> Reliability | None:
    """Judge the map on sequences that it was not fitted on, one after the other."""
    scores = np.zeros_like(samples.raw)
    if len(np.unique(samples.sequence)) < 2:
        return None
    for number in np.unique(samples.sequence):
        inside = samples.sequence == number
        try:
            fit = fit_logistic(samples.raw[~inside], samples.good[~inside])
        except CalibrationError:
            return None
        scores[inside] = _sigmoid(fit.slope * samples.raw[inside] + fit.intercept)
    return reliability(scores, samples.good)


def _count(records: Sequence[SequenceRecord]) -> LossCounts:
    return sum((count_states(record.states, record.truth_array()) for record in records), LossCounts())


def _check_kinds(good: NDArray[np.bool_]) -> None:
    right, wrong = int(good.sum()), int((~good).sum())
    if min(right, wrong) < _LEAST:
        raise CalibrationError(
            f"{right} frames with IoU > {GOOD_IOU:g} and {wrong} others; a fit needs {_LEAST} of each: give sequences "
            "that are followed and ones that are lost"
        )


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * values))  # does not overflow
    return found


def _damped(
    design: NDArray[np.float64],
    good: NDArray[np.bool_],
    penalty: NDArray[np.float64],
    weights: NDArray[np.float64],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Halve a Newton step until the loss does not grow."""

    def loss(at: NDArray[np.float64]) -> float:
        logits = design @ at
        return float(np.logaddexp(0, logits).sum() - logits[good].sum() + 0.5 * at @ penalty @ at)

    start = loss(weights)
    for _ in range(_ROUNDS):
        if loss(weights - step) <= start + _CONVERGED:
            break
        step = step / 2
    return step


def _checked(weights: NDArray[np.float64], mean: float, spread: float) -> Calibration:
    """Undo the scaling of the raw score; refuse a map that falls."""
    slope = float(weights[1]) / spread
    if not slope > 0:
        raise CalibrationError(
            "the raw score does not grow with the probability that the box is right, so it cannot be calibrated; "
            "give more sequences, or other weights"
        )
    return Calibration(slope, float(weights[0]) - slope * mean)
