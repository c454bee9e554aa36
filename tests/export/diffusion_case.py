"""The diffusion model of the golden vectors: the published sizes, and the same classes with small widths."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import torch
from fartrack_case import normalised
from golden_files import golden

from edgetrack.export.clip_files import text_state
from edgetrack.export.loops.crop import crop
from edgetrack.export.lora import merged
from edgetrack.export.models.clip_text import TextShape
from edgetrack.export.models.diffusion import Diffusion, load_diffusion
from edgetrack.export.models.diffusion_shape import STABLE_DIFFUSION_15, DiffusionShape
from edgetrack.export.models.glad_net import thinned
from edgetrack.export.standin import noise, synth_box, synth_frame, synth_param

# Section 7 of the spec, fp32 on a CPU: text 1e-4, moments and x_t 1e-3, features before guidance 2e-3, behind 2e-2
# (small widths: 2e-3).
TEXT, LATENT, FEATURES = 1e-4, 1e-3, 2e-3
GUIDED = {"sd": 2e-2, "sdtiny": 2e-3}
SHAPES = {
    "sd": STABLE_DIFFUSION_15,
    "sdtiny": DiffusionShape(
        "a small diffusion model",
        TextShape("a small CLIP", width=32, heads=4, layers=3, hidden=64),
        vae_widths=(32, 64, 64, 64),
        unet_widths=(32, 64, 128, 128),
    ),
}


def vector_shapes(kind: str, *, used: bool = True) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published files, with a prefix for each; `used`: only of what is used."""
    vectors = golden("glad_b256")
    keys, shapes = vectors[f"{kind}_keys"], vectors[f"{kind}_shapes"]
    every = {
        str(key): tuple(int(n) for n in str(shape).split(",") if n) for key, shape in zip(keys, shapes, strict=True)
    }
    if not used or kind == "sdtiny":
        return every
    return {key: every[key] for key, good in zip(every, vectors["sd_used"], strict=True) if good}


def values(kind: str, shapes) -> dict[str, torch.Tensor]:
    """Stand-in weights under the published names; those of the small model have names of their own."""
    prefix = "" if kind == "sd" else "sdtiny."
    return {key: torch.from_numpy(synth_param(prefix + key, shape)) for key, shape in shapes.items()}


def own_names(state, shape: DiffusionShape) -> dict[str, torch.Tensor]:
    """The published names of all parts to those of `Diffusion`."""
    text = {key.removeprefix("text_encoder."): v for key, v in state.items() if key.startswith("text_encoder.")}
    rest = {key: value for key, value in state.items() if not key.startswith("text_encoder.")}
    return rest | {f"text_encoder.{key}": value for key, value in text_state(text, shape.text).items()}


@functools.lru_cache(maxsize=1)
def loaded_diffusion(kind: str, *, lora: bool = False) -> Diffusion:
    """The model of the golden file with its weights."""
    shape = SHAPES[kind]
    state = own_names(values(kind, vector_shapes(kind)), shape)
    if lora:
        unet = {key.removeprefix("unet."): value for key, value in state.items() if key.startswith("unet.")}
        state |= {f"unet.{key}": value for key, value in merged(unet, made_up_lora(unet)).items()}
    return load_diffusion(state, shape)


def made_up_lora(unet) -> dict[str, torch.Tensor]:
    """The golden file's LoRA, for the layers of the used half: rank 4, alpha 2."""
    lora: dict[str, torch.Tensor] = {}
    for module in map(str, golden("glad_b256")["lora_modules"]):
        weight = unet.get(f"{module}.weight")
        if weight is None:
            continue
        name = f"lora_unet_{module.replace('.', '_')}"
        down, up = (4, *weight.shape[1:]), (weight.shape[0], 4, *(1 for _ in weight.shape[2:]))
        for part, shape in (("down", down), ("up", up)):
            lora[f"{name}.lora_{part}.weight"] = 0.1 * torch.from_numpy(noise(f"lora.{name}.{part}", shape))
        lora[f"{name}.alpha"] = torch.tensor(2.0)
    return lora


@functools.cache
def model_inputs(kind: str) -> SimpleNamespace:
    """ids of the sentence (1, 77), the picture, and both noises; the noise is what the runtime makes of its name."""
    vectors = golden("glad_b256")
    patch, _, _ = crop(synth_frame(0), synth_box(0), 2.0, 512)
    image = normalised(patch)
    prefix, side = ("noise.", 64) if kind == "sd" else ("noise.tiny.", 16)
    posterior, diffusion = (noise(f"{prefix}{name}", (1, 4, side, side)) for name in ("vae_posterior", "diffusion"))
    assert np.array_equal(posterior, vectors[f"{kind}_noise_vae"])
    assert np.array_equal(diffusion, vectors[f"{kind}_noise_diffusion"])
    return SimpleNamespace(
        ids=torch.from_numpy(vectors["sd_ids"][1:]).int(),
        image=image if kind == "sd" else thinned(image, 128),
        posterior=torch.from_numpy(posterior),
        diffusion=torch.from_numpy(diffusion),
    )
