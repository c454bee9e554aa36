"""Stage 2, task-specific self-distillation: all exits learn, each also from the next deeper one (spec section 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from edgetrack.export.train.frame_stage import FrameStage
from edgetrack.export.train.losses import StageLoss, stage2_loss

if TYPE_CHECKING:
    from edgetrack.export.train.sampler import Batch

__all__ = ["DistillStage"]


class DistillStage(FrameStage):
    """See `Stage`; samples are those of stage 1."""

    def _exits(self) -> Sequence[int]:
        return self._config.exits

    def _stage_loss(self, logits: Tensor, batch: Batch) -> StageLoss:
        weights = self._config.loss
        return stage2_loss(
            logits,
            batch.target,
            siou_weight=weights.siou,
            ce_weight=weights.ce,
            kl_weight=weights.kl,
            labels=weights.labels,
        )
