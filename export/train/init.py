"""Where a run's weights come from: a masked autoencoder's ViT-Tiny, another stage's checkpoint, or nothing."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.models import MODELS
from edgetrack.export.models.fartrack_net import BLOCKS, CHANNELS, EXTENSION, FarTrackNet
from edgetrack.export.models.strict import check_entries
from edgetrack.export.models.vit import PATCH
from edgetrack.export.train.scratch import start_from_scratch

__all__ = ["check_weights", "initialise", "load_mae", "load_stage", "patches_of"]

_MASKED_NORM = re.compile(r"\.masknorm([12])\.norm\.")
_NORM = re.compile(r"\.norm([12])\.")
_EXTENSION = re.compile(r"^extension\.([0-9])\.")
_EMBEDDING_STD = 0.02
_MAE_ENTRIES = ("model", "state_dict", "net")
_MAE_PREFIXES = ("module.", "model.", "encoder.")


def initialise(
    net: FarTrackNet, source: str, seed: int, weights: Path | None = None, patches: Tensor | None = None
) -> None:
    """Set the weights of `net` before training.

    Args:
        net: changed in place.
        source: "mae", "stage" or "scratch", as `config.InitConfig` says.
        seed: of what is random.
        weights: the file; none for "scratch".
        patches: float32 (N, 3, 16, 16) normalised RGB patches of training images, for "scratch".

    Raises:
        InputError: a file is needed and not given, or given and not needed.
        CheckpointError: the file cannot be used.
    """
    check_weights(source, weights)
    if weights is None:
        start_from_scratch(net, seed, patches)
    elif source == "mae":
        load_mae(net, weights, seed)
    else:
        load_stage(net, weights)


def check_weights(source: str, weights: Path | None) -> None:
    """Check that a file is named where one is needed, and only there.

    Raises:
        InputError: it is not so.
    """
    if source == "scratch" and weights is not None:
        raise InputError(f"init.source is scratch, which takes no weights ({weights}); set init.source=stage or mae")
    if source != "scratch" and weights is None:
        raise InputError(f"init.source is {source}; name the file with --weights, or set init.source=scratch")


@torch.no_grad()
def load_stage(net: FarTrackNet, path: Path) -> None:
    """Load a checkpoint of any stage, converting the flavour (spec section 5, row "init").

    To the sparse flavour each norm1/norm2 is copied into masknorm1/2, from it the other way round; what a flavour has
    beyond that has no influence on the output and keeps its present value.

    Raises:
        CheckpointError: the file is not a FARTrack checkpoint.
    """
    state = load_checkpoint(path).state
    from_sparse = any(".masknorm1." in name for name in state)
    check_entries(MODELS.get("fartrack"), "fartrack-tiny" if from_sparse else "fartrack-tiny-distill", state)
    if from_sparse == net.sparse:
        net.load_state_dict(state)
        return
    converted = dict(net.state_dict())
    for name, value in converted.items():
        source = _MASKED_NORM.sub(r".norm\1.", name) if net.sparse else _NORM.sub(r".masknorm\1.norm.", name)
        converted[name] = state.get(source, value)
    if net.sparse:
        converted["backbone.pos_embed_z"] = state["backbone.pos_embed_z1"]
    net.load_state_dict(converted)


@torch.no_grad()
def load_mae(net: FarTrackNet, path: Path, seed: int) -> None:
    """Start stage 1 as published: a masked autoencoder's ViT-Tiny (16-pixel patches, 224-pixel images).

    Extension layer j is a copy of the autoencoder's block 9 + j; the 14x14 position grid serves the search as it is and
    the templates resized to 7x7; word embeddings are Kaiming-normal, identity and command positions small (spec
    section 5; the published code says nothing about the latter two).

    Raises:
        CheckpointError: the file cannot be read, or is not such an autoencoder.
    """
    state = _read_mae(path)
    generator = torch.Generator().manual_seed(seed)
    nn.init.kaiming_normal_(net.backbone.word_embeddings.weight, generator=generator)
    for table in (net.identity, net.backbone.position_embeddings.weight):
        nn.init.trunc_normal_(table, std=_EMBEDDING_STD, generator=generator)
    net.backbone.output_bias.zero_()
    own = net.state_dict()
    for name in own:
        inner = _MASKED_NORM.sub(r".norm\1.", name.removeprefix("backbone."))
        found = _EXTENSION.sub(lambda match: f"blocks.{BLOCKS - EXTENSION + int(match[1])}.", inner)
        if found in state:
            _take(own[name], state, found, path)
        elif inner.startswith(("blocks.", "extension.", "patch_embed.", "norm.")):
            raise CheckpointError(f"checkpoint {path}: it has no {found}; give a masked autoencoder's ViT-Tiny")
    grid = own["backbone.pos_embed"][:, 1:]
    own["backbone.pos_embed_x"].copy_(grid)
    side = int(grid.shape[1] ** 0.5)
    square = grid.reshape(1, side, side, CHANNELS).permute(0, 3, 1, 2)
    small = functional.interpolate(square, size=(side // 2, side // 2), mode="bicubic", align_corners=False)
    for table_name in [name for name in own if "pos_embed_z" in name]:
        own[table_name].copy_(small.flatten(2).transpose(1, 2))


def _take(own: Tensor, state: Mapping[str, Tensor], name: str, path: Path) -> None:
    value = state[name]
    if value.shape != own.shape:
        raise CheckpointError(
            f"checkpoint {path}: {name} is {tuple(value.shape)} instead of {tuple(own.shape)}; give a masked "
            "autoencoder's ViT-Tiny with 16-pixel patches and 224-pixel images"
        )
    if not bool(value.isfinite().all()):
        raise CheckpointError(f"checkpoint {path}: {name} holds values that are not finite; get the file anew")
    own.copy_(value)


def _read_mae(path: Path) -> dict[str, Tensor]:
    """Return the encoder's weights by their plain ViT names; such files hold them under various keys and prefixes."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror or error}; check the path") from error
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"checkpoint {path}: {reason}; give a masked autoencoder's ViT-Tiny") from error
    entries: Any = content
    for key in _MAE_ENTRIES:
        if isinstance(entries, dict) and isinstance(entries.get(key), dict):
            entries = entries[key]
            break
    state = {}
    for name, value in entries.items() if isinstance(entries, dict) else ():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            continue
        while name.startswith(_MAE_PREFIXES):
            name = name.partition(".")[2]  # noqa: PLW2901 (stripped step by step)
        state[name] = value
    return state


def patches_of(images: Tensor) -> Tensor:
    """Return the patches (B * H/16 * W/16, 3, 16, 16) of images (B, 3, H, W), for `initialise`."""
    rows = functional.unfold(images.float(), PATCH, stride=PATCH).transpose(1, 2)
    return rows.reshape(-1, 3, PATCH, PATCH)
