"""Accuracy as the published toolkits define it: pytracking (success, precision) and GOT-10k (AO, SR).

Boxes are float64 (frames, 4): x, y, w, h in pixels. A frame counts as present if its truth is finite and has an area;
in all others the target is absent, and what a tracker does there is judged by `edgetrack.benchmarks.accuracy.loss`.

Conventions of pytracking (pytracking/analysis/extract_results.py), all of them reproduced:
  * results are what its files hold: cut to integers, the first one replaced by the truth;
  * a box of width or height 0 repeats the one before it; a result that is too short is filled with zeros, one that is
    too long is cut;
  * overlap = intersection / union of real-valued rectangles (its "- 1" and "+ 1" cancel);
  * centre error in pixels; normalised: x and y error divided by the true width and height first;
  * success: share of frames with overlap > t, t = 0, 0.05 ... 1; precision: share with error <= t, t = 0 ... 50 px;
    normalised precision: share with error <= t, t = 0, 0.01 ... 0.5;
  * AUC is the mean of the success curve, OP50 and OP75 its values at 0.5 and 0.75, P the precision at 20 px, NP the
    normalised precision at 0.2; curves are averaged over sequences, each sequence counting the same.
  The truth as a result scores 20/21 = 95.24 AUC, because no overlap is above 1.
  Absent frames are left out of all curves, as the toolkit does with frames that are annotated as invisible; in LaSOT it
  counts them as missed instead. (Outside LaSOT the toolkit adds absent frames to the hits of the normalised precision,
  a slip that is not reproduced.)

Conventions of GOT-10k (got10k/experiments/got10k.py, got10k/utils/metrics.py):
  * results are what its files hold: three decimals; the first frame is not scored;
  * both boxes are cut to the picture, then overlap = intersection / (union + 2.2e-16), within 0 and 1;
  * AO is the mean overlap, SR50 and SR75 the shares with overlap > 0.5 and > 0.75, the success curve the shares with
    overlap > t, t = 0, 0.01 ... 1;
  * overall, all frames of all sequences are taken together; frames with nothing of the target visible are left out.
  The truth as a result scores 1 in all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError

__all__ = [
    "CENTRE_THRESHOLDS",
    "CONVENTIONS",
    "FOLLOWS",
    "GOT10K_THRESHOLDS",
    "NORMALISED_THRESHOLDS",
    "OVERLAP_THRESHOLDS",
    "Got10kScores",
    "PytrackingCurves",
    "PytrackingScores",
    "box_iou",
    "follows",
    "got10k_overlaps",
    "got10k_scores",
    "present",
    "pytracking_curves",
    "pytracking_scores",
]

Boxes = NDArray[np.float64]

OVERLAP_THRESHOLDS: NDArray[np.float64] = np.arange(0.0, 1.05, 0.05)[:21]
FOLLOWS = 0.5
"""Overlap with the truth above which a tracker is said to follow its target."""
CENTRE_THRESHOLDS: NDArray[np.float64] = np.arange(51, dtype=np.float64)
NORMALISED_THRESHOLDS: NDArray[np.float64] = np.arange(51, dtype=np.float64) / 100
GOT10K_THRESHOLDS: NDArray[np.float64] = np.linspace(0, 1, 101)

CONVENTIONS = {
    "pytracking": (
        "boxes cut to integers, first box = truth; success: overlap > t, t = 0:0.05:1 (the truth scores AUC 95.24); "
        "P: centre error <= 20 px; NP: normalised error <= 0.2; mean over sequences; absent frames left out "
        "(LaSOT: missed)"
    ),
    "got10k": (
        "boxes to three decimals, first frame not scored, boxes cut to the picture; AO: mean overlap, SR: overlap > "
        "0.5 and > 0.75; all frames of all sequences together; absent frames left out"
    ),
    "loss": (
        "true rates: share of absent frames with that state; false rates: share of present frames; all sequences "
        "together, first frames left out"
    ),
}
"""What each group of numbers means, in one line, for printed tables."""

_OP50, _OP75 = 10, 15  # places of 0.5 and 0.75 in OVERLAP_THRESHOLDS
_P20, _NP20 = 20, 20  # places of 20 px and 0.2 in the two others
_GOT10K_EPSILON = np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class PytrackingCurves:
    """Curves of one sequence, shares from 0 to 1: success (21,), precision (51,), normalised (51,)."""

    success: NDArray[np.float64]
    precision: NDArray[np.float64]
    normalised: NDArray[np.float64]


@dataclass(frozen=True)
class PytrackingScores:
    """The figures that pytracking prints, in percent."""

    auc: float
    op50: float
    op75: float
    precision: float
    norm_precision: float


@dataclass(frozen=True)
class Got10kScores:
    """The figures of GOT-10k, from 0 to 1."""

    ao: float
    sr50: float
    sr75: float


def present(truth: Boxes) -> NDArray[np.bool_]:
    """Return in which frames the target is there: (frames,), True where the box is finite and has an area."""
    sized = np.nan_to_num(truth[:, 2:]) > 0
    found: NDArray[np.bool_] = np.logical_and.reduce(np.concatenate([np.isfinite(truth), sized], axis=1), axis=1)
    return found


def follows(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell in which frames boxes overlap the truth, both (frames, 4), by more than half; in none where it is absent."""
    return present(truth) & (np.nan_to_num(box_iou(boxes, truth)) > FOLLOWS)


def box_iou(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Return intersection over union (frames,) of real-valued boxes; nan where a box is not finite."""
    low = np.maximum(first[:, :2], second[:, :2])
    # The order of these operations is the toolkit's: another one rounds otherwise and moves counts at thresholds.
    high = np.minimum(first[:, :2] + first[:, 2:] - 1.0, second[:, :2] + second[:, 2:] - 1.0)
    intersection = np.maximum(high - low + 1.0, 0.0).prod(axis=1)
    union = first[:, 2:].prod(axis=1) + second[:, 2:].prod(axis=1) - intersection
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = intersection / union
    return found


def pytracking_curves(predicted: Boxes, truth: Boxes, *, absent_missed: bool = False) -> PytrackingCurves:
    """Return the curves of one sequence.

    Args:
        predicted: the tracker's boxes, the first frame included, not yet cut to integers.
        truth: annotated boxes; rows of absent frames are nan or have no area.
        absent_missed: count absent frames as missed (LaSOT) instead of leaving them out.

    Raises:
        InputError: a predicted box is not finite or has a negative size, or no frame is present.
    """
    there = present(truth)
    boxes = _as_scored(predicted, truth, there)
    count = len(truth) if absent_missed else int(there.sum())
    overlap = box_iou(boxes[there], truth[there])
    shift = _centre(boxes[there]) - _centre(truth[there])
    relative = _centre(boxes[there]) / truth[there, 2:] - _centre(truth[there]) / truth[there, 2:]
    distance, scaled = (np.sqrt((error**2).sum(axis=1)) for error in (shift, relative))
    return PytrackingCurves(
        (overlap[:, None] > OVERLAP_THRESHOLDS).sum(axis=0) / count,
        (distance[:, None] <= CENTRE_THRESHOLDS).sum(axis=0) / count,
        (scaled[:, None] <= NORMALISED_THRESHOLDS).sum(axis=0) / count,
    )


def pytracking_scores(curves: Sequence[PytrackingCurves]) -> PytrackingScores:
    """Return the figures of one or several sequences, each counting the same.

    Raises:
        InputError: there is no sequence.
    """
    if not curves:
        raise InputError("there is no sequence to score; give one with --data")
    success, precision, normalised = (
        100 * np.mean([getattr(curve, name) for curve in curves], axis=0)
        for name in ("success", "precision", "normalised")
    )
    return PytrackingScores(
        auc=float(success.mean()),
        op50=float(success[_OP50]),
        op75=float(success[_OP75]),
        precision=float(precision[_P20]),
        norm_precision=float(normalised[_NP20]),
    )


def got10k_overlaps(predicted: Boxes, truth: Boxes, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the overlaps that GOT-10k scores: of the present frames but the first.

    Args:
        predicted: the tracker's boxes, the first frame included, not yet rounded.
        truth: annotated boxes; rows of absent frames are nan or have no area.
        size: width and height of the picture in pixels.

    Raises:
        InputError: a predicted box is not finite, or their number is not the truth's.
    """
    if predicted.shape != truth.shape or not np.isfinite(predicted).all():
        raise InputError(f"{len(predicted)} predicted boxes for {len(truth)} frames, or one not finite; track again")
    scored = present(truth)
    scored[0] = False
    first, second = (_inside(boxes[scored], size) for boxes in (np.round(predicted, 3), truth))
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    intersection = np.maximum(high - low, 0).prod(axis=1)
    union = first[:, 2:].prod(axis=1) + second[:, 2:].prod(axis=1) - intersection
    found: NDArray[np.float64] = np.clip(intersection / (union + _GOT10K_EPSILON), 0.0, 1.0)
    return found


def got10k_scores(overlaps: Sequence[NDArray[np.float64]]) -> Got10kScores | None:
    """Return the figures over all frames of the sequences taken together; None if there is no such frame."""
    together = np.concatenate([np.zeros(0), *overlaps])
    if not together.size:
        return None
    return Got10kScores(float(together.mean()), float((together > 0.5).mean()), float((together > 0.75).mean()))


def _as_scored(predicted: Boxes, truth: Boxes, there: NDArray[np.bool_]) -> Boxes:
    """Return the boxes (frames, 4) as pytracking scores them; see the module."""
    if not np.isfinite(predicted).all() or (predicted[:, 2:] < 0).any():
        raise InputError("a predicted box is not finite or has a negative size; track again")
    if not there.any():
        raise InputError("the target is in no frame of the sequence; leave it out")
    boxes = np.trunc(predicted)
    for index in np.flatnonzero((boxes[:, 2:] == 0).any(axis=1)):
        if index and index < len(truth) and np.isfinite(truth[index]).all():
            boxes[index] = boxes[index - 1]
    missing = max(0, len(truth) - len(boxes))
    boxes = np.concatenate([boxes[: len(truth)], np.zeros((missing, 4))])
    boxes[0] = truth[0]
    return boxes


def _centre(boxes: Boxes) -> NDArray[np.float64]:
    return boxes[:, :2] + 0.5 * (boxes[:, 2:] - 1.0)


def _inside(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """Cut boxes to the picture, sizes after corners, as GOT-10k does."""
    bound = np.asarray(size, np.float64)
    corner = np.clip(boxes[:, :2], 0, bound)
    return np.concatenate([corner, np.clip(boxes[:, 2:], 0, bound - corner)], axis=1)
