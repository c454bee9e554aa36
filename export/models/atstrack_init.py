"""Starting ATSTrack from another tracker's weights (spec section 2.4): there is no published checkpoint of its own.

OSTrack-384, OSTrack-256 and ODTrack-B fit entry by entry, MAE's ViT-B gives the backbone. What is new is drawn from a
seed. The result follows a target as well as its source, with what the new parts disturb until they are trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.errors import CheckpointError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.models.atstrack_net import AtsNet
from edgetrack.export.models.atstrack_variants import AtsShape, shape_of
from edgetrack.export.models.strict import check_values, entry_problems

__all__ = ["FORMAT", "SHARPNESS", "initial_state", "start_checkpoint"]

FORMAT = "atstrack-edge/1"
SHARPNESS = 4.0
"""What softplus(kappa) begins with."""

_STD = 0.02
_NEW = ("backbone.lang_pos_embed", "fgm.", "lang_proj.", "lang_norm.", "vl_gain")
_CLASS_POSITION = "backbone.cls_pos_embed"
_MAE_IGNORED = ("decoder_", "mask_token")
# The gain of nothing, of the class token, of the language token, by where the weights are from.
_ODTRACK, _OSTRACK, _MAE = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def initial_state(variant: str, source: Mapping[str, Tensor], *, seed: int = 0) -> dict[str, Tensor]:
    """Return a whole checkpoint of `variant` made of another tracker's.

    Args:
        variant: what is to be started.
        source: entries of an OSTrack (242), an ODTrack-B (243), or MAE's `mae_pretrain_vit_base.pth`.
        seed: of what is new.

    Returns:
        All entries of a checkpoint, float32.

    Raises:
        CheckpointError: the entries are of none of the three, of another size, or not finite.
    """
    shape = shape_of(variant)
    net = _drawn(shape, seed)
    state = dict(net.state_dict())
    check_values(source)
    taken, gain = _from_mae(shape, source) if "patch_embed.proj.weight" in source else _from_tracker(variant, source)
    state |= {name: value.to(state[name].dtype) for name, value in taken.items()}
    state["vl_gain"] = torch.tensor(gain)
    return state


def start_checkpoint(variant: str, source: str | Path, path: str | Path, *, seed: int = 0) -> Path:
    """Write a checkpoint of `variant` made of another tracker's file, for `edgetrack export` and for training.

    Args:
        variant: what is to be started, as "atstrack-384".
        source: a checkpoint of OSTrack or ODTrack of the same sizes, or MAE's ViT-B.
        path: the .pth.tar to write.
        seed: of what is new.

    Raises:
        CheckpointError: the source cannot be read, or see `initial_state`.
    """
    read = load_checkpoint(source, entries=("net", "model"))
    config: dict[str, Any] = {"variant": variant, "source_sha256": read.sha256, "seed": seed}
    content = {"net": initial_state(variant, read.state, seed=seed), "epoch": 0, "config": config, "format": FORMAT}
    target = Path(path)
    torch.save(content, target)
    return target


def _drawn(shape: AtsShape, seed: int) -> AtsNet:
    """Return a network whose values are drawn as the spec says."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        net = AtsNet(shape)
    net = net.to_empty(device="cpu")

    def normal(value: Tensor) -> None:
        nn.init.trunc_normal_(value, std=_STD, a=-2 * _STD, b=2 * _STD, generator=generator)

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear):
                normal(module.weight)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        for name, value in net.named_parameters():
            if name.endswith(("_embed", "_token")) or name.startswith("backbone.pos_embed"):
                normal(value)
        net.fgm.lfa.lam.fill_(1.0)
        net.fgm.lfa.kappa.fill_(math.log(math.expm1(SHARPNESS)))
        net.vl_gain.zero_()
    return net


def _from_tracker(variant: str, source: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[float, ...]]:
    """Return the entries of an OSTrack or ODTrack and the gain that belongs to it."""
    with torch.device("meta"):
        net = AtsNet(shape_of(variant))
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items() if not name.startswith(_NEW)}
    is_odtrack = _CLASS_POSITION in source
    if not is_odtrack:
        del wanted[_CLASS_POSITION]
    problems = entry_problems(wanted, source)
    if problems:
        kind = "ODTrack-B" if is_odtrack else "OSTrack"
        raise CheckpointError(
            f"{variant} cannot start from this: of {len(wanted)} entries of an {kind} of its sizes, "
            f"{'; '.join(problems)}; give a checkpoint of OSTrack or ODTrack-B with a search crop of "
            f"{shape_of(variant).search_size} pixels, or MAE's ViT-B"
        )
    taken = dict(source)
    if not is_odtrack:
        taken[_CLASS_POSITION] = source["backbone.pos_embed"][:, :1]
    return taken, _ODTRACK if is_odtrack else _OSTRACK


def _from_mae(shape: AtsShape, source: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[float, ...]]:
    """Return the backbone of an MAE, its positions resized."""
    with torch.device("meta"):
        own = AtsNet(shape).backbone.state_dict()
    names = [name for name in own if name.split(".")[0] in {"cls_token", "pos_embed", "patch_embed", "blocks", "norm"}]
    found = {name: value for name, value in source.items() if not name.startswith(_MAE_IGNORED)}
    problems = entry_problems({name: tuple(own[name].shape) for name in names}, found)
    if problems:
        raise CheckpointError(f"it does not hold MAE's ViT-B: of {len(names)} entries, {'; '.join(problems)}")
    taken = {f"backbone.{name}": value for name, value in found.items()}
    table = found["pos_embed"][:, 1:].float()
    taken["backbone.pos_embed_z"] = _resized(table, shape.template_grid)
    taken["backbone.pos_embed_x"] = _resized(table, shape.search_grid)
    taken[_CLASS_POSITION] = found["pos_embed"][:, :1]
    return taken, _MAE


def _resized(table: Tensor, side: int) -> Tensor:
    """Return a table of positions (1, n * n, C) for another grid (1, side * side, C), bicubic."""
    grid = round(table.shape[1] ** 0.5)
    picture = table.transpose(1, 2).reshape(1, -1, grid, grid)
    resize: Callable[..., Tensor] = functional.interpolate
    return resize(picture, size=(side, side), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
