"""MVLM networks of a few tokens, for what does not depend on size."""

from __future__ import annotations

import functools

import torch

from edgetrack.export.models.mvlm_net import MvlmNet
from edgetrack.export.models.mvlm_variants import MvlmShape
from edgetrack.export.standin import synth_state

_BASE = {
    "search_size": 96,
    "template_size": 48,
    "stem": (16, 32),
    "stem_blocks": 1,
    "channels": 64,
    "heads": 4,
    "depth": 3,
    "text_width": 24,
    "text_tokens": 5,
}
SMALL = {"tf": MvlmShape(templates=0, **_BASE), "bbox": MvlmShape(templates=2, **_BASE)}


def filled(net: MvlmNet, seed: int = 0) -> MvlmNet:
    """The network with stand-in weights, evaluation mode; layer scales large enough that every block counts."""
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    state = {key: torch.from_numpy(value) for key, value in synth_state(shapes, seed).items()}
    state |= {key: state[key] + 0.3 for key in state if "gamma_" in key}
    state["head.conv5_size.bias"] -= 1.0
    net.load_state_dict(state)
    return net.eval()


@functools.cache
def small_net(kind: str) -> MvlmNet:
    return filled(MvlmNet(SMALL[kind])).requires_grad_(False)


def small_inputs(kind: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Search crop, text features and templates."""
    generator = torch.Generator().manual_seed(seed)
    search = torch.randn(1, 3, 96, 96, generator=generator)
    text = torch.randn(1, 5, 64, generator=generator)
    return search, text, [torch.randn(1, 3, 48, 48, generator=generator) for _ in range(SMALL[kind].templates)]
