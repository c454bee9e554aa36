"""MVLM networks of a few tokens, for what does not depend on size."""

from __future__ import annotations

import functools

import torch

from edgetrack.export.models import mvlm as module
from edgetrack.export.models.clip_text import TextShape
from edgetrack.export.models.mvlm_net import MvlmNet
from edgetrack.export.models.mvlm_variants import GateRule, MvlmShape
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


SMALL_CLIP = TextShape("a small CLIP", width=24, heads=2, layers=1, vocabulary=600, context=5)


def install(monkeypatch, kind: str, gate: GateRule) -> None:
    """Let the family have the small sizes, a small text encoder and another gate, whatever variant is asked for."""
    monkeypatch.setattr(module, "shape_of", lambda _: SMALL[kind])
    monkeypatch.setattr(module, "gate_of", lambda _: gate)
    monkeypatch.setattr(module, "TEXT_SHAPE", SMALL_CLIP)
    monkeypatch.setattr(module, "PROMPT_IDS", (598, 97, 599))
    load = module.MvlmFamily.load_published

    def load_moving(family, net, variant, state) -> None:
        """Layer scales large enough that sentence and templates count, and boxes smaller than half the input."""
        state = {key: value + 0.3 if "gamma_" in key else value for key, value in state.items()}
        state["head.conv5_size.bias"] = state["head.conv5_size.bias"] - 1.5
        load(family, net, variant, state)

    monkeypatch.setattr(module.MvlmFamily, "load_published", load_moving)
