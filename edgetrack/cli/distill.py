"""`edgetrack distill`: stage 2 (task-specific self-distillation)."""

from __future__ import annotations

from edgetrack.cli.training import stage_command

__all__ = ["run"]

run = stage_command(
    "distill",
    "Train stage 2 (task-specific self-distillation): the network becomes usable at every depth from 5 layers on, or "
    "at those that the recipe names.\n\nWith --teacher it also learns from another trained tracker.",
)
