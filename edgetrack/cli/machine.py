"""Facts about this machine, read from the system without importing anything heavy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["PACKAGES", "accelerators", "cpu_name", "package", "ram_bytes", "simd_flags", "usable_cores"]

PACKAGES: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
    (
        "opencv",
        (
            "opencv-python-headless",
            "opencv-python",
            "opencv-contrib-python-headless",
            "opencv-contrib-python",
        ),
        "reading and writing video",
        "pip install 'edgetrack[video]'",
    ),
    ("rich", ("rich",), "progress bars and tables", "pip install 'edgetrack[cli]'"),
    ("starlette", ("starlette",), "the page in the browser", "pip install 'edgetrack[serve]'"),
    ("torch", ("torch",), "exporting checkpoints", "pip install 'edgetrack[export]'"),
    ("onnx", ("onnx",), "exporting checkpoints", "pip install 'edgetrack[export]'"),
)
"""Packages beside the engines: name, the distributions that provide it, what needs it, how to get it."""

_SIMD = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni"),
    *("avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
)
_ACCELERATORS = (
    ("dri/renderD*", "GPU"),
    ("accel/accel*", "NPU"),
    ("nvidia[0-9]*", "NVIDIA GPU"),
    ("davinci*", "NPU"),
)


def package(name: str, distributions: tuple[str, ...], used_for: str, remedy: str) -> dict[str, Any]:
    """Return a row about an installed or missing package, without importing it."""
    for distribution in distributions:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return {"name": name, "version": version, "devices": [], "used_for": used_for, "remedy": None}
    return {"name": name, "version": None, "devices": [], "used_for": used_for, "remedy": remedy}


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's fields of /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_name() -> str:
    """Return the processor's name as the system knows it."""
    fields = _cpuinfo()
    return fields.get("model name") or fields.get("Model") or platform.processor() or platform.machine()


def simd_flags() -> list[str]:
    """Return those vector instruction sets of the processor that engines make use of."""
    fields = _cpuinfo()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return [flag for flag in _SIMD if flag in flags]


def usable_cores() -> int:
    """Return the number of processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ram_bytes() -> int | None:
    """Return the machine's memory in bytes, or None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def accelerators() -> list[str]:
    """Return device files of GPUs and NPUs with what they are, as in "GPU /dev/dri/renderD128"."""
    found = ((path, kind) for pattern, kind in _ACCELERATORS for path in Path("/dev").glob(pattern))
    return [f"{kind} {path}" for path, kind in sorted(found)]
