"""setup.py and CMake build the same core, from every source file there is, with the same arithmetic."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {path.name for path in (ROOT / "cpp/src").glob("*.cpp")}
BINDINGS = {path.name for path in (ROOT / "cpp/python").glob("*.cpp")}


def names(file: str, folder: str) -> list[str]:
    """Return the C++ files of `folder` that a build file lists."""
    return re.findall(rf"{folder}/(\w+\.cpp)\b", (ROOT / file).read_text())


def test_both_builds_list_every_source() -> None:
    assert len(SOURCES) > 5
    assert sorted(names("setup.py", "cpp/src")) == sorted(names("cpp/CMakeLists.txt", "src")) == sorted(SOURCES)
    assert sorted(names("setup.py", "cpp/python")) == sorted(BINDINGS)


def test_cmake_runs_every_test() -> None:
    listed = re.search(r"foreach\(test ([\w ]+)\)", (ROOT / "cpp/CMakeLists.txt").read_text())
    assert listed is not None
    assert sorted(listed[1].split()) == sorted(path.stem[5:] for path in (ROOT / "cpp/tests").glob("test_*.cpp"))


@pytest.mark.parametrize("file", ["setup.py", "cpp/CMakeLists.txt"])
def test_multiplications_and_additions_are_not_fused(file: str) -> None:
    """A fused one can shift a resize weight on processors that have the instruction."""
    assert "-ffp-contract=off" in (ROOT / file).read_text()
