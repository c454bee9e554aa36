"""The type stub of the extension against the built extension."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# What pybind11 adds to every class: its metaclass, and a capsule in enumerations; and a constructor that only raises,
# to a class without one. Members are still compared.
ADDED_BY_PYBIND11 = """
edgetrack\\._core\\.(CentreHeadTracker|CropLoop|DeviceArray|FarTracker|Graph|MvlmTracker|TemplateMemory)
edgetrack\\._core\\.CropLoop\\.__init__
edgetrack\\._core\\.State\\.__pybind11_native_enum__
"""
STUB = Path(__file__).parents[2] / "edgetrack" / "_core.pyi"


def test_stub_matches_the_binary(tmp_path: Path) -> None:
    """The stub is copied into a package of its own, so that errors elsewhere in edgetrack do not matter."""
    package = tmp_path / "stubs" / "edgetrack"
    package.mkdir(parents=True)
    (package / "__init__.pyi").touch()
    shutil.copy(STUB, package)
    allowed = tmp_path / "allowed.txt"
    allowed.write_text(ADDED_BY_PYBIND11)
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "edgetrack._core", "--allowlist", str(allowed)],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
