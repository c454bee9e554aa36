"""Stage 1, frame-level pretraining: independent samples, one exit (spec sections 5.1 and 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from edgetrack.export.models.fartrack_net import COMMANDS, SEARCH_TOKENS, SLOTS, TEMPLATE_TOKENS
from edgetrack.export.train.guidance import attention_loss, coverage
from edgetrack.export.train.losses import StageLoss, decoded_corners, iou, stage1_loss
from edgetrack.export.train.stage import Loss

if TYPE_CHECKING:
    from edgetrack.export.train.config import TrainConfig
    from edgetrack.export.train.network import TrainNet
    from edgetrack.export.train.sampler import Batch

__all__ = ["BatchSource", "FrameStage"]


class BatchSource(Protocol):
    """Where batches come from: a `Sampler`, or one that works ahead."""

    def batch(self, size: int) -> Batch:
        """Return the next `size` samples."""

    def names(self, batch: Batch) -> list[str]:
        """Return what each sample of a batch was drawn from."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors from which the source continues with the batch after the last one given."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""


class FrameStage:
    """See `Stage`."""

    def __init__(self, model: TrainNet, source: BatchSource, config: TrainConfig) -> None:
        """Prepare the stage.

        Args:
            model: what is trained.
            source: of the batches, on the model's device.
            config: `model`, `loss` and `run` are read.
        """
        self.micro_steps = config.run.micro_steps
        self._model, self._source, self._config = model, source, config

    def loss(self, step: int, micro: int) -> Loss:  # noqa: ARG002 (the stage's interface)
        """Return the loss of the next batch, its share of `micro_steps`."""
        batch = self._source.batch(self._config.run.batch)
        out = self._model.run(batch.templates, batch.search, self._keep(batch), self._slots(), self._exits())
        found = self._stage_loss(out.logits, batch)
        total, parts = found.total, dict(found.parts)
        if out.aux is not None:
            seen = coverage(batch.corners.to(out.aux.device))
            aux = functional.binary_cross_entropy_with_logits(out.aux.float(), seen)
            total = total + self._config.loss.aux * aux
            parts["aux"] = aux.detach()
        if out.attention is not None:
            guided = attention_loss(out.attention, batch.corners.to(out.attention.device))
            total = total + self._config.loss.attention * guided
            parts["attention"] = guided.detach()
        corners = decoded_corners(out.logits[-1].detach(), expectation=self._model.net.sparse)
        return Loss(
            total=total / self.micro_steps,
            parts=parts,
            iou=iou(corners, batch.corners).mean(),
            where=", ".join(self._source.names(batch)),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the source's state."""
        return {"source": self._source.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the source's state."""
        self._source.load_state_dict(state["source"])

    def _exits(self) -> Sequence[int] | None:
        """Return the depths to read; None: the last one."""
        return None

    def _stage_loss(self, logits: Tensor, batch: Batch) -> StageLoss:
        """Return the loss of logits (E, B, 4, 605)."""
        weights = self._config.loss
        return stage1_loss(
            logits[-1], batch.target, siou_weight=weights.siou, ce_weight=weights.ce, labels=weights.labels
        )

    def _slots(self) -> Sequence[int] | None:
        if self._config.model.slots == "first":
            return None
        return torch.randperm(SLOTS)[: self._config.model.templates].tolist()

    def _keep(self, batch: Batch) -> Tensor | None:
        """Draw for each template which of its tokens take part; None: all."""
        count = self._config.model.template_tokens
        if count == TEMPLATE_TOKENS:
            return None
        size, slots = batch.templates.shape[:2]
        device = batch.templates.device
        order = torch.rand(size, slots, TEMPLATE_TOKENS, device=device).argsort(-1)
        rest = torch.ones(size, SEARCH_TOKENS + COMMANDS, dtype=torch.bool, device=device)
        return torch.cat(((order < count).flatten(1), rest), 1)
