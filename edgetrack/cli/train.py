"""`edgetrack train`: stage 1 (frame-level pretraining)."""

from __future__ import annotations

from edgetrack.cli.training import stage_command

__all__ = ["run"]

run = stage_command(
    "frame",
    "Train stage 1 (frame-level pretraining): a tracker from a pretrained ViT, from a checkpoint, or from nothing.",
)
