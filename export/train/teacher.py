"""What a tracker tells a student that is distilled from it: distributions over coordinate bins, or corner points.

A teacher sees the student's own crops (templates of area factor 2, a search crop of factor 4, normalised RGB), resized
to whatever it was trained with, and answers in the student's crop units, so no box has to be mapped. Trackers with bins
give their distributions as they are. Trackers with corner maps spread the maps' marginals over the bins
(`spread_points`); trackers that give one box give its corners alone, which are blurred (`blur_corners`).

A tracker family becomes a teacher by a class with the two members of `Teacher` and one line in `TEACHERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from edgetrack.errors import InputError
from edgetrack.export.models import find_variant
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.source import load_source
from edgetrack.export.train.losses import BINS, expected_corners
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.sections import number
from edgetrack.registry import Registry

__all__ = [
    "TEACHERS",
    "Answer",
    "FarTrackTeacher",
    "Teacher",
    "TeacherSettings",
    "blur_corners",
    "divergence",
    "load_teacher",
    "spread_points",
]

_PER_UNIT = 300.0  # bin k stands for -0.5 + k/300, as the student's expectation reads it (spec section 4.4)


@dataclass(frozen=True)
class TeacherSettings:
    """How much and in what a teacher is followed.

    Attributes:
        kl: weight of the divergence, which is summed over the four coordinates. The default weighs the teacher as much
            as the published recipe weighs the true bins: 0.5 on the sum is 2 on the mean.
        temperature: above 1 softens the teacher's distributions.
        point_width: standard deviation in bins of what stands for the corners of a teacher that gives only points.
        min_iou: a teacher whose box overlaps the true one less than this is not followed on that sample; 0 = always.
    """

    kl: float = number(0.5, 0)
    temperature: float = number(1.0, 0.01, 100)
    point_width: float = number(2.0, 0.1, 100)
    min_iou: float = number(0.0, 0, 1)


@dataclass(frozen=True)
class Answer:
    """A teacher's answer for B samples.

    Attributes:
        corners: float32 (B, 4), x1, y1, x2, y2 in crop units: 0 and 1 are the search crop's edges.
        bins: float32 (B, 4, 600), probabilities of each coordinate's bins; None from a teacher that gives only points.
    """

    corners: Tensor
    bins: Tensor | None = None


class Teacher(Protocol):
    """A trained tracker whose answers a student imitates; it is in evaluation mode and gets no gradient."""

    name: str

    def answer(self, templates: Tensor, search: Tensor) -> Answer:
        """Answer for the student's batch: templates (B, S, 3, 112, 112) and search (B, 3, 224, 224).

        Both float32, normalised RGB; the templates in the order of the student's slots.
        """


class FarTrackTeacher:
    """A FARTrack network of any flavour and depth as a teacher."""

    def __init__(self, net: nn.Module, device: torch.device | str = "cpu", temperature: float = 1.0) -> None:
        """Freeze the network and move it.

        Args:
            net: a `FarTrackNet` with its weights loaded; the teacher's alone from here on.
            device: where the batches are.
            temperature: above 1 softens the distributions, 1 leaves them as the network gives them.

        Raises:
            InputError: another network, or a temperature of 0 or less.
        """
        if not isinstance(net, FarTrackNet):
            raise InputError(f"a {type(net).__name__} was given as a FARTrack teacher; give a FARTrack checkpoint")
        if not temperature > 0:
            raise InputError(f"the teacher's temperature is {temperature}; give a number above 0")
        self.name = f"fartrack {net.flavour}, {net.depth} layers"
        self._model = TrainNet(net).to(device).eval().requires_grad_(False)
        self._temperature = temperature

    @torch.no_grad()
    def answer(self, templates: Tensor, search: Tensor) -> Answer:
        """See `Teacher.answer`; S templates take the identity rows of slots 0 to S - 1, as in the student."""
        logits = self._model(templates, search, slots=range(templates.shape[1]))[-1].float()
        return Answer(expected_corners(logits), (logits[..., :BINS] / self._temperature).softmax(-1))


TEACHERS: Registry[Callable[[nn.Module, torch.device | str, float], Teacher]] = Registry("teacher family", InputError)
TEACHERS.register("fartrack", "edgetrack.export.train.teacher:FarTrackTeacher")


def load_teacher(
    variant: str, weights: str | Path, device: torch.device | str = "cpu", temperature: float = 1.0
) -> Teacher:
    """Load a trained tracker as a teacher.

    Args:
        variant: a name in the table of models.
        weights: its checkpoint.
        device: where the batches will be.
        temperature: see `TeacherSettings`.

    Raises:
        InputError: there is no such model, or its family cannot teach yet.
        CheckpointError: the checkpoint cannot be read or is of another model.
    """
    build = TEACHERS.get(find_variant(variant).family)
    return build(load_source(variant, weights).net, device, temperature)


def spread_points(positions: Tensor, weights: Tensor) -> Tensor:
    """Spread weighted points over the bins so that their expectation stays, e.g. the marginals of a corner map.

    Each point goes to its two neighbouring bins in proportion to its nearness; outside [-0.5, 1.5) to the last bin.

    Args:
        positions: float32 (B, 4, n), coordinates in crop units.
        weights: float32 (B, 4, n), 0 or more, some of them above 0.

    Returns:
        float32 (B, 4, 600) probabilities.
    """
    place = ((positions + 0.5) * _PER_UNIT).clamp(0, BINS - 1)
    low = place.floor().clamp(max=BINS - 2)
    upper = weights * (place - low)
    bins = torch.zeros(*positions.shape[:2], BINS, device=positions.device)
    bins.scatter_add_(2, low.long(), weights - upper).scatter_add_(2, low.long() + 1, upper)
    return bins / bins.sum(-1, keepdim=True)


def blur_corners(corners: Tensor, width: float) -> Tensor:
    """Return distributions (B, 4, 600) for points (B, 4) in crop units: Gaussians of `width` bins' standard deviation.

    A point outside the bins' range is moved to its end.
    """
    bins = torch.arange(BINS, dtype=torch.float32, device=corners.device)
    place = ((corners.float() + 0.5) * _PER_UNIT).clamp(0, BINS - 1)
    return (-((bins - place[..., None]) / width).square() / 2).softmax(-1)


def divergence(logits: Tensor, bins: Tensor) -> Tensor:
    """Return KL(teacher || student) of every exit and sample (E, B), summed over 4 coordinates and 600 bins.

    Like the divergence of stage 2 (spec section 5.2): the student's five special logits are cut off first.

    Args:
        logits: the student's, (E, B, 4, 605).
        bins: the teacher's probabilities, float32 (B, 4, 600).
    """
    student = logits[..., :BINS].float().log_softmax(-1)
    return torch.xlogy(bins, bins).sum((1, 2)) - (bins * student).sum((2, 3))
