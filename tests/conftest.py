"""Fixtures that several folders of tests use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

# Before OpenCV or an engine is imported by any test: their own logs would hide ours.
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
