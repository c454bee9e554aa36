"""ATSTrack networks of a few tokens, for what does not depend on size."""

from __future__ import annotations

import functools

import torch

from edgetrack.export.models.atstrack_net import AtsNet, Told
from edgetrack.export.models.atstrack_variants import AtsShape
from edgetrack.export.models.clip_text import ClipText, TextShape
from edgetrack.export.standin import synth_state

_BASE = {"channels": 64, "depth": 2, "heads": 4, "text_width": 24, "phrase_tokens": 6, "match_width": 16}
SMALL = {count: AtsShape(32, 2.0, 64, 4.0, **_BASE, templates=count) for count in (1, 2, 3)}
SMALL_CLIP = TextShape("a small CLIP", width=24, heads=2, layers=1, vocabulary=600, context=77)
MOVING = {"vl_gain": (0.5, 0.05, 0.4)}
"""Gains with which picture and words both count."""


def filled(net: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The network with stand-in weights, evaluation mode; language counts, and boxes keep their size."""
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    state = {key: torch.from_numpy(value) for key, value in synth_state(shapes, seed).items()}
    for key, values in MOVING.items():
        if key in state:
            state[key] = torch.tensor(values)
            state["box_head.conv5_size.bias"] -= 1.0
    net.load_state_dict(state)
    return net.eval()


@functools.cache
def small_net(templates: int = 3, *, clip: bool = False) -> AtsNet:
    net = filled(AtsNet(SMALL[templates])).requires_grad_(False)
    if clip:
        net.add_clip(filled(ClipText(SMALL_CLIP)).requires_grad_(False))
    return net


def small_mask(*lengths: int) -> torch.Tensor:
    """A mask (1, 4, 6) of phrases with so many tokens; 0: the phrase is empty."""
    mask = torch.zeros(1, 4, 6)
    for row, length in enumerate(lengths):
        mask[0, row, 1 : length + 2] = float(length > 0)
    return mask


def small_told(net: AtsNet, *lengths: int, seed: int = 0) -> Told:
    """What made-up features of phrases of so many tokens tell the network."""
    generator = torch.Generator().manual_seed(seed)
    return net.tell(torch.randn(1, 4, 6, 24, generator=generator), small_mask(*(lengths or (1, 3, 2, 4))))


def small_inputs(templates: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A search crop, and the tokens of `templates` templates."""
    generator = torch.Generator().manual_seed(seed)
    search = torch.randn(1, 3, 64, 64, generator=generator)
    images = [torch.randn(1, 3, 32, 32, generator=generator) for _ in range(templates)]
    net = small_net(templates)
    return search, torch.cat([net.backbone.template_tokens(image) for image in images], dim=1)


def install(monkeypatch, templates: int = 3) -> None:
    """Let the family have the small sizes, a small text encoder, quick renewal and moving gains."""
    from edgetrack.export.models import atstrack as module
    from edgetrack.export.models.atstrack_variants import SlotRule

    rule = functools.partial(SlotRule, interval=2, at_least=0.1, history=4)
    monkeypatch.setattr(module, "shape_of", lambda _: SMALL[templates])
    monkeypatch.setattr(module, "TEXT_SHAPE", SMALL_CLIP)
    monkeypatch.setattr(module, "START", 598)
    monkeypatch.setattr(module, "END", 599)
    monkeypatch.setattr(module, "PROMPT_IDS", ((97,), (98, 99), (100,), (101, 102, 103)))
    monkeypatch.setattr(module, "SlotRule", rule)
    monkeypatch.setattr("edgetrack.export.loops.atstrack.SlotRule", rule)
    load = module.AtsFamily.load_published

    def load_moving(family, net, variant, state) -> None:
        gain = torch.tensor(MOVING["vl_gain"])
        state = {**state, "vl_gain": gain, "box_head.conv5_size.bias": state["box_head.conv5_size.bias"] - 1.0}
        load(family, net, variant, state)

    monkeypatch.setattr(module.AtsFamily, "load_published", load_moving)
