"""What a training recipe is to the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

__all__ = ["Loss", "Stage"]


@dataclass(frozen=True)
class Loss:
    """The loss of one micro step.

    Attributes:
        total: scalar tensor to be back-propagated, already divided by whatever it should be.
        parts: its terms, for the log; numbers or detached scalars (which are then read only when they are logged).
        iou: mean overlap of the decoded boxes with the true ones.
        where: names what was in the batch, for the report of a loss that is not finite.
    """

    total: Tensor
    parts: Mapping[str, float | Tensor] = field(default_factory=dict)
    iou: float | Tensor = 0.0
    where: str = ""


class Stage(Protocol):
    """One recipe: gives losses of micro steps, and can say and be told where it is.

    `micro_steps` micro steps make one optimiser step; their gradients are summed.
    """

    micro_steps: int

    def loss(self, step: int, micro: int) -> Loss:
        """Return the loss of micro step `micro` of optimiser step `step`, both from 0."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors from which the stage continues exactly."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
