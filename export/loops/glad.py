"""GLAD's published loop in eager PyTorch (spec section 4.3): the centre-head loop with a target that was described.

As published, the template is thinned out and embedded and the description's keys and values are projected anew in every
frame. Stable Diffusion is not part of it: what it said about the target is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgetrack.export.loops.centre_head import CentreReference
from edgetrack.export.models.centre_net import CentreOutput
from edgetrack.export.models.glad_net import GladNet
from edgetrack.export.models.glad_variants import GladShape

__all__ = ["GladReference"]


class _Told:
    """The network together with what it was told about the target."""

    def __init__(self, net: GladNet, latents: Sequence[Tensor]) -> None:
        self._net = net
        with torch.no_grad():
            self.pooled = net.pooled(latents)

    @property
    def shape(self) -> GladShape:
        return self._net.shape

    def __call__(self, template: Tensor, search: Tensor) -> CentreOutput:
        found: CentreOutput = self._net(template, search, self.pooled)
        return found


class GladReference(CentreReference):
    """The published tracker around one network; frames are uint8 RGB (H, W, 3)."""

    def __init__(self, net: GladNet, latents: Sequence[Tensor]) -> None:
        """Use a loaded `net` in evaluation mode.

        latents: the guided feature maps (1, 1280, g, g) that Stable Diffusion gives of template and sentence.
        """
        super().__init__(_Told(net, latents), net.shape.divisor)
