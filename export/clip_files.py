"""Reads the text transformer out of published weight files of CLIP and Stable Diffusion, whole or in part.

OpenAI's names are the tree's own (MVLM spec section 2.3, ATSTrack 2.2); those of transformers and diffusers (GLAD 2.2,
ATSTrack 2.2) are turned into them. What belongs to CLIP's image side or its projections is left out, by name: anything
else that is not expected is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edgetrack.errors import CheckpointError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.models.clip_text import ClipText, TextShape
from edgetrack.export.models.strict import check_values, entry_problems

__all__ = ["TextWeights", "load_clip_text", "read_clip_text", "text_state", "text_transformer"]

# The rest of a whole CLIP file, in either naming; `attn_mask` is a constant that TorchScript keeps beside parameters.
_OTHERS = re.compile(
    r"visual\..+|vision_model\..+|(visual|text)_projection(\.weight)?|logit_scale|input_resolution|context_length"
    r"|vocab_size|text_model\.embeddings\.position_ids|transformer\.resblocks\.\d+\.attn_mask"
)
_FINAL = "ln_final."
_LAYER = re.compile(r"text_model\.encoder\.layers\.(0|[1-9]\d?)\.(.+)\.(weight|bias)")
_IN_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_OUTSIDE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": f"{_FINAL}weight",
    "text_model.final_layer_norm.bias": f"{_FINAL}bias",
}
_ROWS = ("q", "k", "v")


@dataclass(frozen=True)
class TextWeights:
    """Parameters of a text transformer under OpenAI's names, float32, and the SHA-256 of the file they are from."""

    state: dict[str, Tensor]
    sha256: str


def load_clip_text(path: str | Path, shape: TextShape, *, final_norm: bool = True) -> tuple[ClipText, str]:
    """Return the text transformer with the weights of a published file, evaluation mode, and the file's SHA-256.

    Args:
        path: see `read_clip_text`.
        shape: the transformer that is wanted.
        final_norm: whether the final normalisation is part of it.

    Raises:
        CheckpointError: see `read_clip_text`.
    """
    weights = read_clip_text(path, shape, final_norm=final_norm)
    return text_transformer(weights.state, shape, final_norm=final_norm), weights.sha256


def text_transformer(state: Mapping[str, Tensor], shape: TextShape, *, final_norm: bool = True) -> ClipText:
    """Return the text transformer with the parameters of a state dict, evaluation mode; see `text_state`.

    Raises:
        CheckpointError: see `text_state`.
    """
    with torch.device("meta"):
        net = ClipText(shape, final_norm=final_norm)
    net.load_state_dict(text_state(state, shape, final_norm=final_norm), strict=True, assign=True)
    return net.requires_grad_(False).eval()


def read_clip_text(path: str | Path, shape: TextShape, *, final_norm: bool = True) -> TextWeights:
    """Read the text transformer's parameters from a weight file; nothing of the file is executed.

    Args:
        path: a .safetensors file, a file of torch.save, or a TorchScript archive as OpenAI publishes it, with the
            parameters of CLIP, of its text model or of Stable Diffusion v1.5's text encoder, under OpenAI's names or
            those of transformers.
        shape: the transformer that is wanted.
        final_norm: whether the final normalisation is read too.

    Raises:
        CheckpointError: the file cannot be read, or is not of this transformer.
    """
    checkpoint = load_checkpoint(path, scripted=True)
    try:
        return TextWeights(text_state(checkpoint.state, shape, final_norm=final_norm), checkpoint.sha256)
    except CheckpointError as error:
        raise CheckpointError(f"text encoder {path}: {error}") from error


def text_state(state: Mapping[str, Tensor], shape: TextShape, *, final_norm: bool = True) -> dict[str, Tensor]:
    """Return the text transformer's parameters of a state dict under OpenAI's names, float32.

    Args:
        state: entries under OpenAI's names or those of transformers, without a prefix.
        shape: the transformer that is wanted.
        final_norm: whether the final normalisation is wanted; else it may be there or not.

    Raises:
        CheckpointError: parameters are missing, of another shape or of no floating-point type, values are not finite,
            or there are entries that belong to no part of CLIP.
    """
    found = {name: value for name, value in state.items() if not _OTHERS.fullmatch(name)}
    if any(name.startswith("text_model.") for name in found):
        found = _openai_names(found)
    wanted = shape.entries(final_norm=final_norm)
    if not final_norm:
        found = {name: value for name, value in found.items() if not name.startswith(_FINAL)}
    problems = entry_problems(wanted, found)
    if problems:
        raise CheckpointError(
            f"it does not hold the text transformer of {shape.name}: of {len(wanted)} entries, {'; '.join(problems)}; "
            "give the published weights of that model"
        )
    check_values(found)
    return {name: found[name].float() for name in wanted}


def _openai_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of transformers' text model; those that are not its own keep their name."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            renamed[_OUTSIDE.get(name, name)] = value
            continue
        block, inner, kind = match.groups()
        prefix = f"transformer.resblocks.{block}"
        if inner in _IN_LAYER:
            renamed[f"{prefix}.{_IN_LAYER[inner]}.{kind}"] = value
        elif inner == "self_attn.q_proj":
            parts = [state.get(f"text_model.encoder.layers.{block}.self_attn.{row}_proj.{kind}") for row in _ROWS]
            rows = [part for part in parts if part is not None and part.shape == value.shape]
            renamed[f"{prefix}.attn.in_proj_{kind}"] = torch.cat(rows) if value.ndim else value
        elif inner not in ("self_attn.k_proj", "self_attn.v_proj"):
            renamed[name] = value
    return renamed
