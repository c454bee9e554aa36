"""Compact weights: what inference reads of one variant, as float16 safetensors; Pico takes 6 MB.

Published checkpoints hold entries that inference ignores, and every depth holds all layers; they are read strictly. A
.safetensors file is always of our own making, so there the ignored entries may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgetrack.errors import CheckpointError
from edgetrack.export.models import family_of

if TYPE_CHECKING:
    from edgetrack.export.models.base import ModelFamily

__all__ = ["completed", "score_rule", "write_compact"]

_SCORE_KEYS = {"calibration", "uncertain_below", "lost_below"}


def completed(family: ModelFamily, variant: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a compact file's entries with zeros for those that inference at `variant` ignores."""
    missing = {
        name: torch.zeros(shape)
        for name, shape in family.entries(variant).items()
        if name not in state and not _is_read(family, variant, name)
    }
    return {**state, **missing}


def score_rule(metadata: Mapping[str, str], variant: str) -> dict[str, Any] | None:
    """Return what a compact file says about the score of `variant`: keys of the manifest's `tracker.score`, or None.

    Raises:
        CheckpointError: it is damaged.
    """
    if metadata.get("variant") != variant or "score" not in metadata:
        return None
    try:
        rule = json.loads(metadata["score"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the weights' score rule is no JSON ({error}); get the file anew") from error
    if not isinstance(rule, dict) or set(rule) != _SCORE_KEYS:
        raise CheckpointError(
            f"the weights' score rule does not have just {', '.join(sorted(_SCORE_KEYS))}; get the file anew"
        )
    return rule


def write_compact(
    state: Mapping[str, Tensor], variant: str, path: Path, score: Mapping[str, Any] | None = None
) -> None:
    """Write what inference at `variant` reads of a state dict, as float16.

    Args:
        state: published names, at least what is read.
        variant: what the weights are for.
        path: a .safetensors file.
        score: `calibration`, `uncertain_below` and `lost_below` of the manifest's `tracker.score`, as
            `edgetrack calibrate` found them with these weights; artifacts of `variant` then start with them.

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
    metadata = {"variant": variant}
    if score is not None:
        metadata["score"] = json.dumps({key: score[key] for key in sorted(_SCORE_KEYS)})
    save_file(kept, path, metadata=metadata)


def _is_read(family: ModelFamily, variant: str, name: str) -> bool:
    return not any(
        name == unused or (unused.endswith(".") and name.startswith(unused)) for unused in family.unused(variant)
    )
