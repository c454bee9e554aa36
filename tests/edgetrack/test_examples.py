"""The examples run as they are written (the one with a window is only compiled)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgetrack import demo

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_video_file(artifact):
    pytest.importorskip("cv2")
    lines = run("video_file.py", artifact, demo.CLIP, "286,321,195,111").splitlines()
    assert len(lines) == 64
    assert lines[0].startswith("1 ")


def test_numpy_frames(artifact):
    assert len(run("numpy_frames.py", artifact).splitlines()) == 30


def test_all_examples_compile():
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert names == ["camera_loop.py", "numpy_frames.py", "video_file.py"]
    for name in names:
        compile((EXAMPLES / name).read_text(), name, "exec")
