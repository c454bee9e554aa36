"""`edgetrack sparsify`: stage 3 (inter-frame sparsification)."""

from __future__ import annotations

from edgetrack.cli.training import stage_command

__all__ = ["run"]

run = stage_command(
    "sparse",
    "Train stage 3 (inter-frame sparsification): the network learns to do without a quarter of each old template.",
)
