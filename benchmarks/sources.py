"""Checksum of everything that a measurement depends on inside edgetrack itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

import edgetrack
from edgetrack import benchmarks, export, runtime
from edgetrack.demo import CLIP

__all__ = ["sources_sha256"]

_PACKAGES = {
    "edgetrack": edgetrack,
    "edgetrack/runtime": runtime,
    "edgetrack/export": export,
    "edgetrack/benchmarks": benchmarks,
}
_PRESENTATION = {
    f"edgetrack/benchmarks/{name}.py"
    for name in ("footprint_page", "goals", "markdown", "plot", "results", "results_page")
}


def sources_sha256() -> str:
    """Return one digest over all Python files of edgetrack and the clip, but for what only shows stored results.

    It is the same for a source tree and for an installed wheel of it.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_files().items()):
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _files() -> dict[str, Path]:
    """Return the files by their place under the import name."""
    found = {f"edgetrack/demo/{CLIP.name}": CLIP}
    for prefix, package in _PACKAGES.items():
        folder = Path(package.__path__[0])
        found |= {f"{prefix}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
    return {name: path for name, path in found.items() if name not in _PRESENTATION}
