"""GLAD's published loop in eager PyTorch (spec section 4.3): the centre-head loop with a target that was described.

As published, the template is thinned out and embedded and the description's keys and values are projected anew in every
frame. What describes the target is given: Stable Diffusion, or something that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.errors import InputError
from edgetrack.export.loops.centre_head import CentreReference
from edgetrack.export.models.base import Box
from edgetrack.export.models.centre_net import CentreOutput
from edgetrack.export.models.glad_net import GladNet
from edgetrack.export.models.glad_variants import GladShape

__all__ = ["GladReference"]


class _Told:
    """The network together with what it was told about the target."""

    def __init__(self, net: GladNet) -> None:
        self._net = net
        self._pooled: list[Tensor] = []

    @torch.no_grad()
    def tell(self, latents: Sequence[Tensor]) -> None:
        self._pooled = self._net.pooled(latents)

    @property
    def shape(self) -> GladShape:
        return self._net.shape

    def __call__(self, template: Tensor, search: Tensor) -> CentreOutput:
        found: CentreOutput = self._net(template, search, self._pooled)
        return found


class GladReference(CentreReference):
    """The published tracker around one network; frames are uint8 RGB (H, W, 3)."""

    def __init__(self, net: GladNet, describe: Callable[[Tensor], Sequence[Tensor]]) -> None:
        """Use a loaded `net` in evaluation mode.

        describe: from the template (1, 3, T, T), normalised RGB, to the guided feature maps (1, 1280, g, g) that Stable
        Diffusion gives of it and of a sentence; asked once per target.
        """
        self._told = _Told(net)
        self._describe = describe
        super().__init__(self._told, net.shape.divisor)

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """Start on `frame` at `box`; forgets everything from before."""
        super().init(frame, box)
        if self.template is None:
            raise InputError("init made no template; give a frame and a box")
        self._told.tell(self._describe(self.template))
