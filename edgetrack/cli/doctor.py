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
    console.line(f"NVIDIA driver: {machine['nvidia_driver'] or 'none is loaded'}")
    console.line()
    parts = (*report["engines"], *report["targets"], *report["packages"])
    rows = [
        (part["name"], part["version"] or "missing", ", ".join(part["devices"]), part["used_for"], part["remedy"] or "")
        for part in parts
    ]
    console.table(("part", "version", "devices", "used for", "what is missing"), rows)


def _report() -> dict[str, Any]:
    import edgetrack
    from edgetrack.cli import machine
    from edgetrack.runtime.cuda.driver import driver_version

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
            "nvidia_driver": driver_version(),
        },
        "engines": [_core(), *_engines()],
        "targets": _targets(),
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
    """Return a row for each registered engine: its version, the devices it finds, and what stands in the way.

    Behind it come rows of what some of its abilities need besides.
    """
    from edgetrack.runtime.engines.inventory import engines_here

    items: list[dict[str, Any]] = []
    for engine in engines_here():
        items.append(
            {
                "name": engine.name,
                "version": engine.version,
                "devices": list(engine.devices),
                "used_for": "running artifacts",
                "remedy": engine.remedy,
            }
        )
        items += [{**part._asdict(), "name": f"{engine.name}: {part.name}", "devices": []} for part in engine.parts]
    return items


def _targets() -> list[dict[str, Any]]:
    """Return a row for each registered target: whether artifacts can be built for it here, and what is missing."""
    from edgetrack.errors import EdgetrackError
    from edgetrack.export.targets import TARGETS, writer_of

    items: list[dict[str, Any]] = []
    for name, info in TARGETS.items():
        used_for = f"building {info.suffix} artifacts"
        item: dict[str, Any] = {
            "name": f"target {name}",
            "version": None,
            "devices": [],
            "used_for": used_for,
            "remedy": None,
        }
        try:
            writer = writer_of(name)
            writer.check()
            item["version"], item["remedy"] = writer.version(), writer.lacking()
        except EdgetrackError as error:
            remedy = str(error)
            item["remedy"] = remedy if "pip install" in remedy else f"{remedy}; {info.install}"
        items.append(item)
    return items


def _gib(size: int | None) -> str:
    return "memory unknown" if size is None else f"{size / 2**30:.1f} GiB memory"
