"""`edgetrack targets`: what an export can be built for."""

from __future__ import annotations

from dataclasses import asdict

from edgetrack.cli import console
from edgetrack.cli.options import JsonOption

__all__ = ["run"]


def run(as_json: JsonOption = False) -> None:
    """List what artifacts can be built for: files, precisions, devices, and what must be installed."""
    from edgetrack.export.targets import TARGETS

    targets = list(TARGETS.values())
    if as_json:
        console.emit_json([asdict(info) | {"install": info.install} for info in targets])
        return
    columns = ("target", "also called", "engine", "file", "precisions", "devices", "to build", "note")
    rows = [
        (
            info.name,
            ", ".join(info.aliases),
            info.engine,
            info.suffix,
            ", ".join(info.precisions),
            ", ".join(info.devices),
            info.install,
            info.note,
        )
        for info in targets
    ]
    console.table(columns, rows)
