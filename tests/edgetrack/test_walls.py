"""What each folder may import (CONTRIBUTING.md): read from the sources, so that imports inside functions count too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FORBIDDEN = {
    "edgetrack": {"torch", "onnx"},  # export and benchmarks only inside a command: see COMMANDS
    "runtime": {"torch", "onnx", "cv2", "edgetrack.export", "edgetrack.benchmarks", "edgetrack.cli"},
    "export": {"edgetrack.benchmarks"},
}
COMMANDS = ROOT / "edgetrack" / "cli"


def imported(path: Path) -> set[str]:
    """Return the names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def crossings(names: set[str], forbidden: set[str]) -> set[str]:
    return {name for name in names for wall in forbidden if name == wall or name.startswith(f"{wall}.")}


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_no_file_imports_across_a_wall(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = {str(path.relative_to(ROOT)): crossings(imported(path), FORBIDDEN[folder]) for path in files}
    assert {name: sorted(names) for name, names in found.items() if names} == {}


def test_only_commands_of_the_face_import_what_builds_and_measures():
    files = [path for path in (ROOT / "edgetrack").rglob("*.py") if COMMANDS not in path.parents]
    walls = {"edgetrack.export", "edgetrack.benchmarks"}
    found = {str(path.relative_to(ROOT)): crossings(imported(path), walls) for path in files}
    assert {name: sorted(names) for name, names in found.items() if names} == {}


def test_a_crossing_is_seen(tmp_path):
    (file := tmp_path / "module.py").write_text("def f():\n    from torch.nn import functional\n    import onnx as o\n")
    assert crossings(imported(file), {"torch", "onnx", "onnxruntime"}) >= {"torch.nn", "onnx"}
