"""Centre-head networks of a few tokens, for what does not depend on size."""

from __future__ import annotations

import functools

import torch

from edgetrack.export.models.centre_net import CentreNet
from edgetrack.export.models.centre_variants import CentreShape
from edgetrack.export.models.grm_net import GrmNet
from edgetrack.export.models.ostrack_net import OsTrackNet
from edgetrack.export.standin import synth_state

_BASE = {"channels": 64, "depth": 4, "heads": 4}
SMALL = {
    "ostrack": CentreShape(48, 2.0, 96, 4.0, **_BASE),
    "ostrack-ce": CentreShape(48, 2.0, 96, 4.0, **_BASE, eliminates=(1, 2)),
    "grm": CentreShape(48, 2.0, 96, 4.0, **_BASE, divides=True),
}


def filled(net: CentreNet, seed: int = 0) -> CentreNet:
    """The network with stand-in weights, evaluation mode."""
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    net.load_state_dict({key: torch.from_numpy(value) for key, value in synth_state(shapes, seed).items()})
    return net.eval()


@functools.cache
def small_net(kind: str, threshold: float = 0.0) -> CentreNet:
    shape = SMALL[kind]
    net = GrmNet(shape, threshold) if shape.divides else OsTrackNet(shape)
    return filled(net).requires_grad_(False)


def small_inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, 48, 48, generator=generator), torch.randn(1, 3, 96, 96, generator=generator)
