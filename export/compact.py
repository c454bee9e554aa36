"""Compact weights: what inference reads of one variant, as float16 safetensors; Pico takes 6 MB.

Published checkpoints hold entries that inference ignores, and every depth holds all layers; they are read strictly. A
.safetensors file is always of our own making, so there the ignored entries may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgetrack.errors import CheckpointError
from edgetrack.export.models import family_of

if TYPE_CHECKING:
    from edgetrack.export.models.base import ModelFamily

__all__ = ["completed", "write_compact"]


def completed(family: ModelFamily, variant: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a compact file's entries with zeros for those that inference at `variant` ignores."""
    missing = {
        name: torch.zeros(shape)
        for name, shape in family.entries(variant).items()
        if name not in state and not _is_read(family, variant, name)
    }
    return {**state, **missing}


def write_compact(state: Mapping[str, Tensor], variant: str, path: Path) -> None:
    """Write what inference at `variant` reads of a state dict, as float16.

    Raises:
        CheckpointError: an entry is missing, or a value does not fit into float16.
        OSError: the file cannot be written.
    """
    from safetensors.torch import save_file

    family = family_of(variant)
    kept = {}
    for name in family.entries(variant):
        if not _is_read(family, variant, name):
            continue
        if name not in state:
            raise CheckpointError(f"the weights lack {name}; they are not of {variant}")
        kept[name] = state[name].to(torch.float16).contiguous()
        if not bool(kept[name].isfinite().all()):
            raise CheckpointError(f"{name} does not fit into float16; train with more weight decay")
    save_file(kept, path, metadata={"variant": variant})


def _is_read(family: ModelFamily, variant: str, name: str) -> bool:
    return not any(
        name == unused or (unused.endswith(".") and name.startswith(unused)) for unused in family.unused(variant)
    )
