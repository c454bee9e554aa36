"""What the system says about NVIDIA's driver, without importing or running anything of NVIDIA's."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["driver_version"]

_VERSION_FILE = Path("/proc/driver/nvidia/version")
_JETSON_FILE = Path("/etc/nv_tegra_release")


def driver_version() -> str | None:
    """Return the version of the loaded NVIDIA driver as "550.54.14", on a Jetson "L4T 36.3.0"; None: there is none."""
    text = _read(_VERSION_FILE)
    # NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024
    found = re.search(r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+(?:\.\d+)+)", text)
    if found is not None:
        return found.group(1)
    # R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic, EABI: aarch64
    found = re.search(r"# R(\d+) .*REVISION: ([\d.]+)", _read(_JETSON_FILE))
    return f"L4T {found.group(1)}.{found.group(2)}" if found is not None else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:4096]
    except OSError:
        return ""
