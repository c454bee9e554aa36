"""Merges low-rank changes (LoRA) into a UNet's weights, as their files name them (GLAD spec section 2.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from edgetrack.errors import CheckpointError
from edgetrack.export.models.strict import check_values

__all__ = ["merged"]

_PREFIX = "lora_unet_"
_PARTS = (".lora_down.weight", ".lora_up.weight", ".alpha")


def merged(state: Mapping[str, Tensor], lora: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a UNet's parameters with a LoRA added at scale 1, computed in float32.

    W + (alpha / rank) up down, the rank and alpha as the file has them. Layers of the file that `state` lacks are left
    out: they belong to the half of the UNet that is not used.

    Args:
        state: diffusers' names, without a prefix.
        lora: `lora_unet_<path with underscores>` with `.lora_down.weight`, `.lora_up.weight` and `.alpha`.

    Raises:
        CheckpointError: an entry is no part of a LoRA, one lacks another or does not fit its weight, a value is not
            finite, or nothing of the file fits the UNet.
    """
    check_values(lora)
    layers = {name.removesuffix(".weight").replace(".", "_"): name for name in state if name.endswith(".weight")}
    done = dict(state)
    used = 0
    for layer in _layers(lora):
        name = layers.get(layer.removeprefix(_PREFIX))
        if name is None:
            continue
        done[name] = state[name].float() + _change(layer, lora, state[name])
        used += 1
    if not used:
        raise CheckpointError("it changes no layer of this UNet; give the LCM-LoRA of Stable Diffusion v1.5")
    return done


def _layers(lora: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the layers in a file, without what ends an entry's name."""
    found: dict[str, None] = {}
    for name in lora:
        part = next((part for part in _PARTS if name.endswith(part)), None)
        if part is None or not name.startswith(_PREFIX):
            raise CheckpointError(f"its entry {name[:80]!r} is no part of a UNet's LoRA; give the LCM-LoRA's file")
        found[name.removesuffix(part)] = None
    for layer in found:
        if missing := [part for part in _PARTS if layer + part not in lora]:
            raise CheckpointError(f"its layer {layer[:80]!r} lacks {missing[0]!r}; get the file anew")
    return list(found)


def _change(layer: str, lora: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    down, up, alpha = (lora[layer + part].float() for part in _PARTS)
    fits = down.ndim >= 2 and up.ndim >= 2 and alpha.numel() == 1 and down.shape[0] == math.prod(up.shape[1:]) > 0
    if not fits or (up.shape[0], math.prod(down.shape[1:])) != (weight.shape[0], math.prod(weight.shape[1:])):
        raise CheckpointError(
            f"its layer {layer[:80]!r} ({list(down.shape)}, {list(up.shape)}) does not fit a weight of "
            f"{list(weight.shape)}; give the LCM-LoRA of Stable Diffusion v1.5"
        )
    change: Tensor = (alpha.reshape(()) / down.shape[0]) * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return change
