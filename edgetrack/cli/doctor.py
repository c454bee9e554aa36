"""`edgetrack doctor`: what this machine has, and what each missing thing needs."""

from __future__ import annotations

import platform
import sys
from typing import Any

from edgetrack.cli import console
from edgetrack.cli.options import JsonOption

__all__ = ["run"]


def run(as_json: JsonOption = False) -> None:
    """Say what this machine has: processor, memory, engines and their devices; and what is missing."""
    report = _report()
    if as_json:
        console.emit_json(report)
        return
    machine = report["machine"]
    console.line(f"edgetrack {report['edgetrack']}, Python {report['python']} ({sys.executable})")
    console.line(f"{machine['system']}, {machine['cpu']}, {machine['cores']} cores, {_gib(machine['ram_bytes'])}")
    console.line(f"vector instructions: {', '.join(machine['simd']) or 'none that matter'}")
    console.line(f"accelerators seen by the system: {', '.join(machine['accelerators']) or 'none'}")
    console.line()
    rows = [
        (
            item["name"],
            item["version"] or "missing",
            ", ".join(item["devices"]),
            item["used_for"],
            item["remedy"] or "",
        )
        for item in (*report["engines"], *report["packages"])
    ]
    console.table(("part", "version", "devices", "used for", "to get it"), rows)


def _report() -> dict[str, Any]:
    import edgetrack
    from edgetrack.cli import machine

    return {
        "schema": 1,
        "edgetrack": edgetrack.__version__,
        "python": platform.python_version(),
        "machine": {
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cpu": machine.cpu_name(),
            "cores": machine.usable_cores(),
            "simd": machine.simd_flags(),
            "ram_bytes": machine.ram_bytes(),
            "accelerators": machine.accelerators(),
        },
        "engines": [_core(), *_engines()],
        "packages": [machine.package(*row) for row in machine.PACKAGES],
    }


def _core() -> dict[str, Any]:
    import edgetrack
    from edgetrack.errors import EngineUnavailable

    item: dict[str, Any] = {"name": "edgetrack core", "version": edgetrack.__version__, "devices": ["cpu"]}
    item |= {"used_for": "crop, decode, tracking loop", "remedy": None}
    try:
        edgetrack.State  # noqa: B018 (its first use imports the compiled core)
    except EngineUnavailable as error:
        item |= {"version": None, "devices": [], "remedy": str(error)}
    return item


def _engines() -> list[dict[str, Any]]:
    from edgetrack.errors import EdgetrackError
    from edgetrack.runtime.engines import ENGINES

    items: list[dict[str, Any]] = []
    for name in ENGINES:
        item: dict[str, Any] = {"name": name, "used_for": "running artifacts", "remedy": None}
        try:
            engine = ENGINES.get(name)("cpu")
            item |= {"version": engine.describe()["version"], "devices": engine.devices()}
            engine.close()
        except EdgetrackError as error:
            item |= {"version": None, "devices": [], "remedy": str(error)}
        items.append(item)
    return items


def _gib(size: int | None) -> str:
    return "memory unknown" if size is None else f"{size / 2**30:.1f} GiB memory"
