"""The losses of the three training stages (spec section 5.2), on the network's logits over coordinate bins.

Boxes here are corners (x1, y1, x2, y2) in crop units: 0 and 1 are the crop's edges, coordinates range over [-0.5, 1.5].
Everything is computed in float32, whatever the network ran in.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from edgetrack.export.models.fartrack_net import CLASSES

__all__ = [
    "BINS",
    "LAST_BIN",
    "Labels",
    "StageLoss",
    "cross_entropy",
    "decoded_corners",
    "distillation",
    "expected_corners",
    "iou",
    "quantise",
    "siou",
    "stage1_loss",
    "stage2_loss",
    "stage3_loss",
    "target_corners",
]

BINS = 600
LAST_BIN = 598  # the largest target: int((1.5 + 0.5) * 299)
_PER_UNIT = 299.0  # targets count bins in 299 per crop side, the expectation in 300: as published
_EPS = 1e-7
_SMALL = 1 / 600  # half a bin: below it only a target without area has an extent, whose gradient would be boundless
_TINY = 1e-20  # keeps the slope of a square root at 0 finite; below what float32 can add to any squared distance


@dataclass(frozen=True)
class Labels:
    """How the target bin becomes a distribution over the bins; the defaults are the published one-hot label.

    Attributes:
        width: standard deviation in bins of a Gaussian around the target bin; 0 = all on the target bin.
        smoothing: probability that is spread evenly over the 600 bins.
    """

    width: float = 0.0
    smoothing: float = 0.0


class StageLoss(NamedTuple):
    """`total`: scalar to be back-propagated; `parts`: the unweighted terms, detached scalars."""

    total: Tensor
    parts: dict[str, Tensor]


def iou(pred: Tensor, target: Tensor) -> Tensor:
    """Return the intersection over union (...) of corners (..., 4); 0 where a box has no area."""
    low, high = torch.maximum(pred[..., :2], target[..., :2]), torch.minimum(pred[..., 2:], target[..., 2:])
    overlap = (high - low).clamp_min(0).prod(-1)
    union = _area(pred) + _area(target) - overlap
    return overlap / union.clamp_min(_TINY)


def _area(corners: Tensor) -> Tensor:
    return (corners[..., 2:] - corners[..., :2]).clamp_min(0).prod(-1)


def siou(pred: Tensor, target: Tensor) -> Tensor:
    """Return the SIoU loss (B,) of corners (B, 4) in crop units (spec 5.2; 0 = equal, about 2 and more = far apart).

    The published `1 - 2 sin^2(asin(s) - pi/4)` is `2 s sqrt(1 - s^2)`, here with `1 - s^2` written so that neither it
    nor its gradient breaks down where the centres lie exactly above each other or coincide.
    """
    size, size_t = pred[..., 2:] - pred[..., :2], target[..., 2:] - target[..., :2]
    apart = (target[..., :2] + target[..., 2:] - pred[..., :2] - pred[..., 2:]) / 2
    hull = torch.maximum(pred[..., 2:], target[..., 2:]) - torch.minimum(pred[..., :2], target[..., :2])
    squared = apart.square()
    distance = (squared.sum(-1) + _TINY).sqrt()
    sine = apart[..., 1].abs() / (distance + _EPS)
    # 1 - s^2 = ((d + eps)^2 - dy^2) / (d + eps)^2, and d^2 - dy^2 = dx^2
    cosine = (squared[..., 0] + 2 * distance * _EPS + _EPS**2).sqrt() / (distance + _EPS)
    gamma = 2 - 2 * sine * cosine
    ratio = (apart / (hull.clamp_min(_SMALL) + _EPS)).square()
    dist = (1 - torch.exp(-gamma[..., None] * ratio)).sum(-1)
    omega = (size - size_t).abs() / (torch.maximum(size, size_t).clamp_min(_SMALL) + _EPS)
    shape = (1 - torch.exp(-omega)).pow(4).sum(-1)
    return 1 - iou(pred, target) + (dist + shape) / 2


def expected_corners(logits: Tensor) -> Tensor:
    """Return the expected coordinates (..., 4) of logits (..., 4, 605): softmax over the 600 bins (spec 4.4)."""
    grid = torch.arange(BINS, dtype=torch.float32, device=logits.device) / 300 - 0.5
    return logits[..., :BINS].float().softmax(-1) @ grid


def decoded_corners(logits: Tensor, *, expectation: bool) -> Tensor:
    """Return the coordinates (..., 4) that the tracker decodes from logits (..., 4, 605) (spec 4.4).

    `expectation`: as the sparse flavour, the mean of argmax and expectation; else the argmax alone.
    """
    top = logits.argmax(-1).float()
    if not expectation:
        return top / _PER_UNIT - 0.5
    return ((top + 0.5) / _PER_UNIT - 0.5 + expected_corners(logits)) / 2


def quantise(corners: Tensor) -> Tensor:
    """Return the target bins int64 (..., 4), 0 to 598, of corners in crop units (spec 5.1: truncated)."""
    return ((corners.clamp(-0.5, 1.5) + 0.5) * _PER_UNIT).long()


def target_corners(q: Tensor) -> Tensor:
    """Return the corners in crop units that target bins `q` (any number type, also between bins) stand for."""
    return q.float() / _PER_UNIT - 0.5


def cross_entropy(logits: Tensor, q: Tensor, labels: Labels = Labels()) -> Tensor:
    """Return the mean cross entropy over 605 classes of logits (..., 4, 605) against bins `q` int64 (..., 4)."""
    flat, bins = logits.float().reshape(-1, CLASSES), q.reshape(-1)
    if labels.width == 0:
        sharp = functional.cross_entropy(flat, bins)
        if labels.smoothing == 0:
            return sharp
        even = -flat.log_softmax(-1)[:, :BINS].mean()
        return (1 - labels.smoothing) * sharp + labels.smoothing * even
    table = _label_table(labels, str(logits.device))
    return functional.cross_entropy(flat, table[bins])


@functools.lru_cache(maxsize=8)
def _label_table(labels: Labels, device: str) -> Tensor:
    """Return the label distribution float32 (600, 605) of every target bin."""
    bins = torch.arange(BINS, dtype=torch.float64)
    soft = torch.exp(-((bins[None] - bins[:, None]) / labels.width).square() / 2)
    soft = (1 - labels.smoothing) * soft / soft.sum(1, keepdim=True) + labels.smoothing / BINS
    return functional.pad(soft, (0, CLASSES - BINS)).float().to(device)


def distillation(logits: Tensor) -> Tensor:
    """Return KL (E - 1,) from each exit to the next deeper one, for logits (E, B, 4, 605) from shallow to deep.

    Over the 600 bins, summed over bins and the 4 coordinates, divided by the batch only; the deeper exit is the
    teacher and gets no gradient (spec 5.2, stage 2).
    """
    log_prob = logits[..., :BINS].float().log_softmax(-1)
    teacher = log_prob[1:].detach()
    return (teacher.exp() * (teacher - log_prob[:-1])).sum((2, 3)).mean(1)


def stage1_loss(
    logits: Tensor,
    q: Tensor,
    *,
    siou_weight: float = 2.0,
    ce_weight: float = 2.0,
    labels: Labels = Labels(),
) -> StageLoss:
    """Return stage 1's loss, `2 SIoU + 2 CE`, of logits (B, 4, 605) and target bins `q` int64 (B, 4)."""
    box = siou(expected_corners(logits), target_corners(q)).mean()
    ce = cross_entropy(logits, q, labels)
    return StageLoss(siou_weight * box + ce_weight * ce, {"siou": box.detach(), "ce": ce.detach()})


def stage2_loss(
    logits: Tensor,
    q: Tensor,
    *,
    siou_weight: float = 2.0,
    ce_weight: float = 2.0,
    kl_weight: float = 0.01,
    labels: Labels = Labels(),
) -> StageLoss:
    """Return stage 2's loss of exits' logits (E, B, 4, 605), shallow to deep, and target bins `q` int64 (B, 4).

    `2 mean(SIoU) + 2 mean(CE) + 0.01 mean(KL)`, the means over exits and over pairs of neighbours; one exit has no
    pair and no KL.
    """
    every = q.expand(logits.shape[0], *q.shape)
    box = siou(expected_corners(logits), target_corners(every)).mean()
    ce = cross_entropy(logits, every, labels)
    kl = distillation(logits).mean() if logits.shape[0] > 1 else box.new_zeros(())
    total = siou_weight * box + ce_weight * ce + kl_weight * kl
    return StageLoss(total, {"siou": box.detach(), "ce": ce.detach(), "kl": kl.detach()})


def stage3_loss(logits: Tensor, corners: Tensor, *, siou_weight: float = 2.0) -> StageLoss:
    """Return stage 3's loss, `2 SIoU`, of logits (B, 4, 605) and true corners (B, 4) in crop units, not quantised.

    The corners are clamped as published: their bins to [0, 600 - 1e-4] (spec 5.3).
    """
    bins = ((corners.float() + 0.5) * _PER_UNIT).clamp(0, BINS - 1e-4)
    box = siou(expected_corners(logits), target_corners(bins)).mean()
    return StageLoss(siou_weight * box, {"siou": box.detach()})
