"""A running average of the weights (EMA), which is often better than the last weights of a short run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """`average = d * average + (1 - d) * weights` after every step, with d rising to `decay` in the first steps."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        """Start from the present values of `parameters`."""
        self._decay = decay
        self._steps = 0
        self._values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, parameters: Sequence[nn.Parameter]) -> None:
        """Count one optimiser step; `parameters` as at the start."""
        self._steps += 1
        # The first steps would otherwise keep the initial values for 1 / (1 - decay) steps.
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._values, [p.detach() for p in parameters], 1 - decay)

    @contextmanager
    def swapped_in(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        """Put the averages into `parameters` for the length of the block."""
        before = [parameter.detach().clone() for parameter in parameters]
        self._put(parameters, self._values)
        try:
            yield
        finally:
            self._put(parameters, before)

    @staticmethod
    @torch.no_grad()
    def _put(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {"steps": self._steps, "values": list(self._values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved average of the same parameters."""
        self._steps = int(state["steps"])
        for own, saved in zip(self._values, state["values"], strict=True):
            own.copy_(saved)
