"""Strict loading of published checkpoints, with a message that helps when the file is another model's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from edgetrack.errors import CheckpointError
from edgetrack.export.models.base import ModelFamily

__all__ = ["check_entries"]

NAMED = 3  # how many entries a message names


def check_entries(family: ModelFamily, variant: str, state: Mapping[str, Tensor]) -> None:
    """Compare the entries of a checkpoint with those that `variant` publishes.

    Raises:
        CheckpointError: entries missing, unexpected, of another shape, or not finite floating-point values; the message
            names some of them and the model whose layout the file has, if there is one.
    """
    expected = family.entries(variant)
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"the checkpoint is not one of {variant}: of {len(expected)} entries, {'; '.join(problems)}"
            f"{_advice(variant, state)}"
        )
    bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise CheckpointError(f"the checkpoint holds values that are not finite, first in {bad[0]}; get the file anew")


def _advice(variant: str, state: Mapping[str, Tensor]) -> str:
    """Name the models whose published layout `state` has."""
    from edgetrack.export.models import VARIANTS, family_of

    layout = {name: tuple(value.shape) for name, value in state.items()}
    fitting = [name for name in VARIANTS if name != variant and family_of(name).entries(name) == layout]
    if fitting:
        return f"; the file has the layout of {' or '.join(fitting)}: export that model, or give its checkpoint"
    return "; give the published checkpoint of this model"
