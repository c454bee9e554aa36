"""Reads what is used of Stable Diffusion out of a folder in diffusers' layout (GLAD spec section 2.2).

`text_encoder/`, `vae/` and `unet/` hold one weight file each, `tokenizer/` the vocabulary. Of a whole file only what a
target's description needs is kept; nothing of a file is executed.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.clip_files import text_state
from edgetrack.export.lora import merged
from edgetrack.export.models.diffusion import ImageEncoder, UNetHalf
from edgetrack.export.models.diffusion_shape import DiffusionShape
from edgetrack.export.models.strict import check_values, entry_problems

__all__ = ["DiffusionWeights", "image_encoder_state", "read_diffusion", "unet_state", "vocabulary_of"]

_WEIGHTS = {
    "text_encoder": ("model.safetensors", "pytorch_model.bin"),
    "vae": ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
    "unet": ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
}
_VOCABULARIES = ("tokenizer.json", "vocab.json")
# What a whole file holds besides: the image decoder, and the UNet's way up.
_VAE_OTHERS = re.compile(r"(decoder|post_quant_conv)\..+")
_UNET_OTHERS = re.compile(r"(up_blocks|conv_norm_out|conv_out)\..+")
_OLD_ATTENTION = re.compile(r"(encoder\.mid_block\.attentions\.0\.)(query|key|value|proj_attn)\.(weight|bias)")
_NEW_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class DiffusionWeights:
    """Parameters under the names of `Diffusion`, float32, and one SHA-256 for all files they are from."""

    state: dict[str, Tensor]
    sha256: str


def read_diffusion(folder: Path, shape: DiffusionShape, lora: Path | None = None) -> DiffusionWeights:
    """Read the text encoder, the image encoder and the first half of the UNet.

    Args:
        folder: in diffusers' layout.
        shape: the model that is wanted.
        lora: the LCM-LoRA to merge into the UNet; None: none.

    Raises:
        InputError: the folder or a file in it is missing.
        CheckpointError: a file cannot be read, or is of another model.
    """
    digest = hashlib.sha256()
    state: dict[str, Tensor] = {}
    read = {"text_encoder": _text, "vae": image_encoder_state, "unet": unet_state}
    for part, of in read.items():
        path = _weight_file(folder, part)
        checkpoint = load_checkpoint(path)
        digest.update(bytes.fromhex(checkpoint.sha256))
        own = _named(path, functools.partial(of, shape=shape), checkpoint.state)
        if part == "unet" and lora is not None:
            own = _merged(own, lora, digest)
        state |= {f"{part}.{name}": value for name, value in own.items()}
    return DiffusionWeights(state, digest.hexdigest())


def vocabulary_of(folder: Path) -> Path:
    """Return the vocabulary in a folder in diffusers' layout.

    Raises:
        InputError: there is none.
    """
    for name in _VOCABULARIES:
        if (path := folder / "tokenizer" / name).is_file():
            return path
    raise InputError(
        f"{folder} holds no {' or '.join(f'tokenizer/{name}' for name in _VOCABULARIES)}; give the folder of Stable "
        "Diffusion v1.5, or the vocabulary with --vocabulary"
    )


def image_encoder_state(state: Mapping[str, Tensor], shape: DiffusionShape) -> dict[str, Tensor]:
    """Return the image encoder's parameters of a VAE's state dict, old names of its attention renamed, float32.

    Raises:
        CheckpointError: parameters are missing, unexpected, of another shape, or values are not finite.
    """
    named = {_OLD_ATTENTION.sub(_renamed, name): value for name, value in state.items()}
    return _picked(named, ImageEncoder, _VAE_OTHERS, "image encoder", shape)


def _renamed(match: re.Match[str]) -> str:
    return f"{match[1]}{_NEW_NAMES[match[2]]}.{match[3]}"


def unet_state(state: Mapping[str, Tensor], shape: DiffusionShape) -> dict[str, Tensor]:
    """Return the parameters of a UNet's state dict down to its middle, float32.

    Raises:
        CheckpointError: see `image_encoder_state`.
    """
    return _picked(state, UNetHalf, _UNET_OTHERS, "UNet", shape)


def _text(state: Mapping[str, Tensor], shape: DiffusionShape) -> dict[str, Tensor]:
    return text_state(state, shape.text)


def _picked(
    state: Mapping[str, Tensor], part: type[nn.Module], others: re.Pattern[str], what: str, shape: DiffusionShape
) -> dict[str, Tensor]:
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in part(shape).state_dict().items()}
    found = {name: value for name, value in state.items() if not others.fullmatch(name)}
    # Attentions that were saved as 1x1 convolutions are the same numbers.
    found = {
        name: value.flatten(1) if value.ndim == 4 and len(wanted.get(name, ())) == 2 else value
        for name, value in found.items()
    }
    if problems := entry_problems(wanted, found):
        raise CheckpointError(
            f"it does not hold the {what} of {shape.name}: of {len(wanted)} entries, {'; '.join(problems)}; give the "
            "published weights of that model"
        )
    check_values(found)
    return {name: found[name].float() for name in wanted}


def _weight_file(folder: Path, part: str) -> Path:
    for name in _WEIGHTS[part]:
        if (path := folder / part / name).is_file():
            return path
    raise InputError(
        f"{folder} holds no {part}/{_WEIGHTS[part][0]}; give a folder of Stable Diffusion v1.5 in diffusers' layout"
    )


def _merged(unet: Mapping[str, Tensor], lora: Path, digest: hashlib._Hash) -> dict[str, Tensor]:
    checkpoint = load_checkpoint(lora)
    digest.update(bytes.fromhex(checkpoint.sha256))
    return _named(lora, lambda content: merged(unet, content), checkpoint.state)


def _named(
    path: Path, of: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return what `of` makes of a file's entries; its errors say which file."""
    try:
        return of(state)
    except CheckpointError as error:
        raise CheckpointError(f"diffusion model {path}: {error}") from error
