"""What a run keeps on disk: `last.pt` and `previous.pt` to resume from, `weights*.pt` as the result.

Every file is written under a temporary name, flushed to the disk and renamed, so that no name ever holds half a file.
States are read with torch's weights-only reader: nothing in them is executed.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgetrack.errors import CheckpointError

__all__ = ["LAST", "PREVIOUS", "WEIGHTS", "load_state", "save_state", "save_weights"]

LAST = "last.pt"
PREVIOUS = "previous.pt"
WEIGHTS = "weights.pt"
_FORMAT = "edgetrack training state"
_VERSION = 1


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `last.pt`; what was there becomes `previous.pt`.

    Args:
        folder: of the run.
        state: tensors and plain values.
    """
    temporary = _write(folder / LAST, {"format": _FORMAT, "version": _VERSION, **state})
    if (folder / LAST).exists():
        os.replace(folder / LAST, folder / PREVIOUS)
    os.replace(temporary, folder / LAST)


def load_state(folder: Path) -> dict[str, Any]:
    """Read the state to resume from: `last.pt`, or `previous.pt` where a stop fell between the two renamings.

    Raises:
        CheckpointError: there is none, or it is not a state of this program.
    """
    path = next((folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()), None)
    if path is None:
        raise CheckpointError(f"there is no {LAST} in {folder} to resume from; start without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120]
        hint = f"; {PREVIOUS} beside it is the state before, rename it to {LAST}" if path.name == LAST else ""
        raise CheckpointError(f"cannot read {path}: {reason}{hint}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT or state.get("version") != _VERSION:
        raise CheckpointError(f"{path} is not a training state of this version of edgetrack; start without --resume")
    return state


def save_weights(path: Path, net: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write weights as published checkpoints hold them, `{"net": ..., **facts}`.

    Args:
        path: the file.
        net: published name -> tensor.
        facts: plain values beside the weights, such as the epoch.
    """
    os.replace(_write(path, {"net": dict(net), **facts}), path)


def _write(path: Path, content: Mapping[str, Any]) -> Path:
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as stream:
        torch.save(dict(content), stream)
        stream.flush()
        os.fsync(stream.fileno())
    return temporary
