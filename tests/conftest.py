"""Fixtures that several folders of tests use."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

# pytest puts this folder first on the path, where tests/edgetrack would hide an editable installation's package.
_HERE = str(Path(__file__).parent)
sys.path[:] = [entry for entry in sys.path if entry != _HERE]
import edgetrack  # noqa: E402, F401 (imported for good, before the folder is back on the path)

sys.path.append(_HERE)

# Before OpenCV is imported by any test: FFmpeg's own messages would hide ours.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@pytest.fixture(scope="session")
def _artifact_template(tmp_path_factory) -> Path:
    pytest.importorskip("onnx")
    from tiny_artifact import write_artifact

    return write_artifact(tmp_path_factory.mktemp("artifact") / "tiny-onnx-fp32")


@pytest.fixture
def artifact(_artifact_template, tmp_path) -> Path:
    """A valid artifact of the test's own, a few kilobytes, that ONNX Runtime and OpenVINO can run."""
    return Path(shutil.copytree(_artifact_template, tmp_path / "tiny-onnx-fp32"))


@pytest.fixture
def frames() -> list[np.ndarray]:
    """Eight BGR frames of 96x128 with texture and a bright square that moves."""
    generator = np.random.default_rng(5)
    background = generator.integers(0, 90, (96, 128, 3), np.uint8)
    video = []
    for index in range(8):
        frame = background.copy()
        frame[30 : 30 + 24, 40 + index : 40 + index + 24] = 220
        video.append(frame)
    return video
