"""`edgetrack targets`: what an export can be built for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgetrack.cli import console
from edgetrack.cli.options import JsonOption

if TYPE_CHECKING:
    from edgetrack.export.targets import TargetInfo

__all__ = ["run"]


def _as_dict(info: TargetInfo) -> dict[str, Any]:
    options = [
        {**asdict(option), "kind": option.kind.__name__.lower(), "default": _plain(option.default)}
        for option in info.options
    ]
    return {**asdict(info), "options": options, "install": info.install}


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def run(as_json: JsonOption = False) -> None:
    """List what artifacts can be built for: files, precisions, devices, and what must be installed."""
    from edgetrack.export.targets import TARGETS

    targets = list(TARGETS.values())
    if as_json:
        console.emit_json([_as_dict(info) for info in targets])
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
