"""Distilling another tracker into a FARTrack student: stage 2, with a teacher beside the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgetrack.export.train.distill_stage import DistillStage
from edgetrack.export.train.frame_stage import BatchSource
from edgetrack.export.train.losses import StageLoss, iou
from edgetrack.export.train.teacher import Answer, Teacher, TeacherSettings, blur_corners, divergence, rescaled

if TYPE_CHECKING:
    from edgetrack.export.train.config import TrainConfig
    from edgetrack.export.train.network import TrainNet
    from edgetrack.export.train.sampler import Batch

__all__ = ["TeacherStage"]


class TeacherStage(DistillStage):
    """See `Stage`; samples and exits are those of stage 2.

    The loss is stage 2's, `loss.siou` SIoU to the true box + `loss.ce` cross entropy to the true bins + `loss.kl` KL of
    each exit to the next deeper one, and `teacher.kl` KL(teacher || exit), the mean over exits. With `loss.ce = 0` and
    one exit only the box loss and the teacher remain. The teacher sees all tokens of the templates, also where the
    student is given fewer.
    """

    def __init__(
        self, model: TrainNet, source: BatchSource, config: TrainConfig, teacher: Teacher, settings: TeacherSettings
    ) -> None:
        """Prepare the stage.

        Args:
            model: the student.
            source: of the batches, on the device of student and teacher; cut for the teacher too if it takes other
                crops than the student.
            config: `model`, `sampler`, `loss`, `distill` and `run` are read.
            teacher: who is imitated.
            settings: how much, and where.
        """
        super().__init__(model, source, config)
        self._teacher, self._settings = teacher, settings

    def _stage_loss(self, logits: Tensor, batch: Batch) -> StageLoss:
        found = super()._stage_loss(logits, batch)
        with torch.no_grad():
            answer = self._answer(batch)
            bins = blur_corners(answer.corners, self._settings.point_width) if answer.bins is None else answer.bins
            overlap = iou(answer.corners, batch.corners)
            followed = (overlap >= self._settings.min_iou).float()
        kl = (divergence(logits, bins) * followed).mean()
        parts = {**found.parts, "teacher_kl": kl.detach(), "teacher_iou": overlap.mean(), "followed": followed.mean()}
        return StageLoss(found.total + self._settings.kl * kl, parts)

    def _answer(self, batch: Batch) -> Answer:
        """Return what the teacher says, in units of the student's search crop."""
        crops = self._teacher.crops
        if crops is None:
            return self._teacher.answer(batch.templates, batch.search)
        if batch.shown is None:
            raise TypeError(f"the teacher {self._teacher.name} takes other crops than the student, but none were cut")
        found = self._teacher.answer(batch.shown.templates, batch.shown.search)
        return Answer(rescaled(found.corners, crops.search_factor / self._config.sampler.search_factor))
