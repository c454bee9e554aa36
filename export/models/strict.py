"""Strict loading of published checkpoints, with a message that helps when the file is another model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from edgetrack.errors import CheckpointError

__all__ = ["check_entries", "check_values", "entry_problems"]

NAMED = 3  # how many entries a message names
_NAME_LENGTH = 80
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_COUNTERS = "num_batches_tracked"  # BatchNorm counts its steps in int64; inference does not read it


class _HasEntries(Protocol):
    """As much of a `ModelFamily` as is needed here."""

    def entries(self, variant: str) -> dict[str, tuple[int, ...]]:
        """See `ModelFamily.entries`."""


def check_entries(family: _HasEntries, variant: str, state: Mapping[str, Tensor]) -> None:
    """Compare the entries of a checkpoint with those that `variant` publishes.

    Raises:
        CheckpointError: entries missing, unexpected, of another shape, not of a floating-point type (16, 32 or 64 bit,
            or bfloat16; BatchNorm's counters may be int64), or with values that are not finite; the message names some
            of them and the model whose layout the file has, if there is one.
    """
    expected = family.entries(variant)
    problems = entry_problems(expected, state)
    if problems:
        raise CheckpointError(
            f"the checkpoint is not one of {variant}: of {len(expected)} entries, {'; '.join(problems)}"
            f"{_advice(variant, state)}"
        )
    check_values(state)


def entry_problems(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> list[str]:
    """Return in words how the names and shapes of a state dict differ from those expected; empty where they do not."""
    missing = [name for name in expected if name not in state]
    unexpected = [_short(name) for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    return [
        f"{len(names)} {what} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]


def check_values(state: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless all values are finite and of an element type that `check_entries` admits."""
    for name, value in state.items():
        if value.dtype not in _DTYPES and not (name.endswith(_COUNTERS) and value.dtype == torch.int64):
            raise CheckpointError(
                f"the checkpoint's entry {_short(name)} has element type {str(value.dtype).removeprefix('torch.')}, "
                "not a floating-point type; give the published checkpoint of this model"
            )
        if not value.isfinite().all():
            raise CheckpointError(
                f"the checkpoint holds values that are not finite, first in {_short(name)}; get the file anew"
            )


def _short(name: str) -> str:
    """Return the name of an entry in one line of bounded length."""
    return repr(name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 3]}...")[1:-1]


def _advice(variant: str, state: Mapping[str, Tensor]) -> str:
    """Name the models whose published layout `state` has."""
    from edgetrack.export.models import VARIANTS, family_of

    layout = {name: tuple(value.shape) for name, value in state.items()}
    fitting = [name for name in VARIANTS if name != variant and family_of(name).entries(name) == layout]
    if fitting:
        alike = " (the same entries, so the file cannot tell which)" if len(fitting) > 1 else ""
        return (
            f"; the file has the layout of {' or '.join(fitting)}{alike}: export that model, or give a checkpoint "
            f"of {variant}"
        )
    return "; give the published checkpoint of this model"
