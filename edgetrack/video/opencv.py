"""OpenCV, imported late and kept quiet: what goes wrong arrives as one of our own errors."""

from __future__ import annotations

import importlib
import os
from typing import Any

from edgetrack.errors import EngineUnavailable

__all__ = ["import_cv2"]


def import_cv2() -> Any:  # noqa: ANN401 (the package has no types)
    """Return the module cv2 with its own and FFmpeg's messages switched off.

    Raises:
        EngineUnavailable: OpenCV is not installed or does not load.
    """
    # Read by OpenCV when it first opens a video; -8 is FFmpeg's "quiet".
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise EngineUnavailable(
            f"reading and writing video needs OpenCV ({error}): pip install 'edgetrack[video]'"
        ) from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
