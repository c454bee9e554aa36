"""What `import edgetrack` costs and pulls in, and what a broken installation says."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgetrack

HEAVY = ("torch", "onnx", "cv2", "onnxruntime", "openvino", "typer", "rich", "pydantic")


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def loaded_after(code: str) -> set[str]:
    done = python(f"{code}\nimport sys; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_is_light():
    assert not loaded_after("import edgetrack") & set(HEAVY)


def test_import_takes_less_than_150_ms():
    code = "import time; t = time.perf_counter(); import edgetrack; print(time.perf_counter() - t)"
    assert min(float(python(code).stdout) for _ in range(3)) < 0.15


def test_tracker_and_state_are_light():
    assert not loaded_after("import edgetrack; edgetrack.Tracker; edgetrack.State") & set(HEAVY)


def test_command_line_imports_commands_without_their_engines():
    loaded = loaded_after("from edgetrack.cli.app import build_app; build_app()")
    assert not loaded & {"torch", "onnx", "cv2", "onnxruntime", "openvino"}


def test_public_names():
    assert set(edgetrack.__all__) == {"State", "Tracker", "__version__", "encode_text", "errors", "load"}
    for name in edgetrack.__all__:
        assert getattr(edgetrack, name) is not None
    assert dir(edgetrack) == sorted(edgetrack.__all__)
    assert [state.name for state in edgetrack.State] == ["TRACKING", "UNCERTAIN", "LOST"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgetrack.nothing


def test_a_core_that_does_not_load_says_how_to_repair_it():
    done = python("import sys; sys.modules['edgetrack._core'] = None\nimport edgetrack\nedgetrack.Tracker")
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    for part in ("EngineUnavailable", "edgetrack._core", sys.executable, "pip install --force-reinstall edgetrack"):
        assert part in message
