"""What a tracker tells a student that is distilled from it: distributions over coordinate bins, or corner points.

A FARTrack teacher sees the student's own crops and gives its distributions as they are. Another tracker is shown the
same samples in the crops that it was trained with (`Teacher.crops`), around the same middle, so that its box needs
scaling only; it gives corners, which stand for Gaussians over the bins (`blur_corners`).

A tracker family becomes a teacher by a class with the members of `Teacher` and one line in `TEACHERS`.
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
from edgetrack.export.train.geometry import CropSizes
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
    "rescaled",
]

_PER_UNIT = 300.0  # bin k stands for -0.5 + k/300, as the student's expectation reads it (spec section 4.4)


@dataclass(frozen=True)
class TeacherSettings:
    """How much and in what a teacher is followed.

    Attributes:
        kl: weight of the divergence, which is summed over the four coordinates. The default weighs the teacher as much
            as the published recipe weighs the true bins: 0.5 on the sum is 2 on the mean.
        temperature: above 1 softens the distributions of a teacher that gives them.
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
        corners: float32 (B, 4), x1, y1, x2, y2 in crop units: 0 and 1 are the edges of the search crop it was shown.
        bins: float32 (B, 4, 600), probabilities of each coordinate's bins; None from a teacher that gives only points.
    """

    corners: Tensor
    bins: Tensor | None = None


class Teacher(Protocol):
    """A trained tracker whose answers a student imitates; it is in evaluation mode and gets no gradient.

    Attributes:
        name: for messages.
        crops: what it is shown instead of the student's own crops, then one template of each sample; None: these. With
            crops of its own it gives corners alone.
    """

    name: str
    crops: CropSizes | None

    def answer(self, templates: Tensor, search: Tensor) -> Answer:
        """Answer for a batch: templates (B, S, 3, T, T) and search (B, 3, size, size), float32, normalised RGB.

        The student's are S of T = 112, in the order of its slots, and size = 224.
        """


class FarTrackTeacher:
    """A FARTrack network of any flavour and depth as a teacher."""

    crops = None

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
TEACHERS.register("ostrack", "edgetrack.export.train.centre_teacher:CentreTeacher")
TEACHERS.register("grm", "edgetrack.export.train.centre_teacher:CentreTeacher")


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
        InputError: there is no such model, its family cannot teach, or it has no use for the temperature.
        CheckpointError: the checkpoint cannot be read or is of another model.
    """
    family = find_variant(variant).family
    if family not in TEACHERS:
        raise InputError(
            f"{variant} cannot teach: a teacher needs no more than pictures, and is of the families "
            f"{', '.join(sorted(TEACHERS))}; name one of their models in distill.teacher"
        )
    build = TEACHERS.get(family)
    return build(load_source(variant, weights).net, device, temperature)


def rescaled(corners: Tensor, ratio: float) -> Tensor:
    """Return corners (B, 4) in units of a crop, from units of one of the same middle that is `ratio` times as wide."""
    return 0.5 + (corners - 0.5) * ratio


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
