"""`edgetrack models`: the networks that can be exported, and what they cost."""

from __future__ import annotations

from dataclasses import asdict

from edgetrack.cli import console
from edgetrack.cli.options import JsonOption

__all__ = ["run"]


def run(as_json: JsonOption = False) -> None:
    """List the networks that can be exported: parameters, arithmetic of one frame, licence."""
    from edgetrack.export.models import VARIANTS

    variants = list(VARIANTS.values())
    if as_json:
        console.emit_json([asdict(variant) for variant in variants])
        return
    columns = (
        "model",
        "family",
        "flavour",
        ">layers",
        ">parameters",
        ">GMACs",
        ">published",
        "licence",
        "note",
    )
    rows = [
        (
            variant.name,
            variant.family,
            variant.flavour,
            variant.depth,
            f"{variant.parameters / 1e6:.2f} M",
            f"{variant.gmacs:.2f}",
            f"{variant.published_gmacs:.2f}",
            variant.licence,
            variant.note,
        )
        for variant in variants
    ]
    console.table(columns, rows)
    console.line("GMACs: 10^9 multiply-accumulates a frame, attention included; published: the published loop's.")
