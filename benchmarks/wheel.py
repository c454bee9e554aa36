"""Builds the wheel whose size is reported."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edgetrack.errors import EngineUnavailable

__all__ = ["build_wheel", "source_tree"]

_TIMEOUT_S = 600
_FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
_PARTS = (*_FILES, "cpp", "edgetrack", "export", "runtime", "benchmarks")
# What earlier builds and editable installs left in the tree does not belong into a wheel.
_LEFT_BEHIND = shutil.ignore_patterns("*.so", "*.pyc", "__pycache__", "*.egg-info")


def source_tree() -> Path | None:
    """Return the source tree that this package runs from; None if it was installed from a wheel."""
    tree = Path(__file__).resolve().parent.parent
    return tree if all((tree / part).exists() for part in _PARTS) else None


def build_wheel(tree: Path, folder: Path) -> Path:
    """Build the wheel of a copy of `tree` into `folder` with what is installed here; nothing is downloaded.

    Raises:
        EngineUnavailable: it cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="edgetrack-wheel-") as name:
        copy = Path(name) / "tree"
        copy.mkdir()
        for part in _PARTS:
            if (tree / part).is_dir():
                shutil.copytree(tree / part, copy / part, ignore=_LEFT_BEHIND)
            else:
                shutil.copy2(tree / part, copy / part)
        words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), "."]
        try:
            command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
            subprocess.run(command, cwd=copy, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise EngineUnavailable(
                f"the wheel was not built in {_TIMEOUT_S} s; build it apart and give it with --wheel"
            ) from error
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no message"])[-1]
            raise EngineUnavailable(
                f"the wheel cannot be built ({last}); pip install 'edgetrack[dev]' setuptools wheel pybind11, or give "
                "a built one with --wheel"
            ) from error
    return next(folder.glob("*.whl"))
