"""GLAD networks of a few tokens, for what does not depend on size."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import tiny_vocabulary
import torch
from safetensors.torch import save_file

from edgetrack.export.models import glad as module
from edgetrack.export.models.clip_text import TextShape
from edgetrack.export.models.diffusion import Diffusion
from edgetrack.export.models.diffusion_shape import DiffusionShape
from edgetrack.export.models.glad_net import GladNet
from edgetrack.export.models.glad_positions import nominal_frequencies
from edgetrack.export.models.glad_variants import GladShape
from edgetrack.export.standin import synth_state

SMALL = GladShape(
    template_side=48,
    search_size=96,
    search_factor=4.0,
    channels=64,
    depth=3,
    heads=4,
    text_width=24,
    divisor=7,  # not the grid of 6, as with L384
    template_size=128,  # not a multiple of what is kept
    latent_grids=(4, 4, 2),
    latent_width=48,
    head_width=16,
)


def filled(shape: GladShape = SMALL, seed: int = 0) -> GladNet:
    """The network with stand-in weights, evaluation mode; scores that differ, boxes smaller than half the input."""
    with torch.device("meta"):
        net = GladNet(shape)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    state = {key: torch.from_numpy(value) for key, value in synth_state(shapes, seed).items()}
    net.load_state_dict(lively(state), assign=True)
    return net.eval().requires_grad_(False)


def lively(state):
    """Stand-in weights that move boxes, and frequencies of positions as in a fresh network."""
    changed = {"head.conv5_ctr.weight": 8 * state["head.conv5_ctr.weight"]}
    changed["head.conv5_size.bias"] = state["head.conv5_size.bias"] - 1.0
    for key, value in state.items():
        if key.endswith("inv_freq"):
            changed[key] = nominal_frequencies(2 * value.shape[0])
    return state | changed


@functools.cache
def small_net(*, bf16: bool = True) -> GladNet:
    return filled(replace(SMALL, bf16_positions=bf16))


def small_inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Template, search crop and what stands for Stable Diffusion's feature maps."""
    generator = torch.Generator().manual_seed(seed)
    template = torch.randn(1, 3, 128, 128, generator=generator)
    search = torch.randn(1, 3, 96, 96, generator=generator)
    return template, search, [torch.randn(1, 48, side, side, generator=generator) for side in SMALL.latent_grids]


TEXT = TextShape("a small CLIP", width=16, heads=2, layers=1, vocabulary=tiny_vocabulary.SIZE, context=12)
DIFFUSION = DiffusionShape(
    "a small diffusion model", TEXT, vae_widths=(16, 16, 32, 32), unet_widths=(16, 32, 48, 48), heads=4, groups=8
)


def write_diffusion(folder: Path) -> Path:
    """A folder in diffusers' layout with stand-in weights for the small model."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Diffusion(DIFFUSION).state_dict().items()}
    state = {name: torch.from_numpy(value) for name, value in synth_state(shapes).items()}
    for part in ("text_encoder", "vae", "unet"):
        (folder / part).mkdir(parents=True)
        own = {name.removeprefix(f"{part}."): v for name, v in state.items() if name.startswith(f"{part}.")}
        file = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        save_file(own, folder / part / f"{file}.safetensors")
    (folder / "tokenizer").mkdir()
    tiny_vocabulary.write_tokenizer(folder / "tokenizer")
    return folder


def install(monkeypatch) -> None:
    """Let the family have the small sizes, whatever variant is asked for, and weights that move boxes."""
    monkeypatch.setattr(module, "shape_of", lambda _: SMALL)
    monkeypatch.setattr(module, "DIFFUSION", DIFFUSION)
    monkeypatch.setattr(module, "PROMPT_IDS", (TEXT.vocabulary - 2, 97, 300, TEXT.vocabulary - 1))
    load = module.GladFamily.load_state
    monkeypatch.setattr(
        module.GladFamily, "load_state", lambda family, net, variant, state: load(family, net, variant, lively(state))
    )
