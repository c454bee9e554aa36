"""The machine that numbers were measured on."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgetrack.cli import machine

__all__ = ["describe_machine", "machine_line", "now"]

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe_machine() -> dict[str, Any]:
    """Return what the machine is and how busy it was; None for what the system does not tell."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": machine.cpu_name(),
        "cores": machine.usable_cores(),
        "simd": machine.simd_flags(),
        "ram_bytes": machine.ram_bytes(),
        "governor": _governor(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def machine_line(described: dict[str, Any], *, load: bool = True) -> str:
    """Return `describe_machine`'s findings as one line, with or without how busy it was."""
    ram = described["ram_bytes"]
    parts = [
        described["cpu"],
        f"{described['cores']} cores",
        f"{ram / 2**30:.1f} GiB memory" if ram else "memory unknown",
        " ".join(described["simd"]) or "no vector instructions known",
        f"governor {described['governor'] or 'not readable'}",
        *([f"load {described['load_1min']:.2f}"] if load else []),
        described["system"],
        f"Python {described['python']}",
    ]
    return ", ".join(parts)


def now() -> str:
    """Return the time, ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _governor() -> str | None:
    try:
        return _GOVERNOR.read_text(encoding="ascii").strip()
    except OSError:
        return None
