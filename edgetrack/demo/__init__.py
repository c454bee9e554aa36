"""A short real clip with ground truth, for demo, parity gate and tests; README.md names its source."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CLIP", "GROUND_TRUTH"]

CLIP = Path(__file__).parent / "car.mp4"
"""65 frames of 768x432 at 12.5 frames a second."""

GROUND_TRUTH = Path(__file__).parent / "groundtruth.txt"
"""One box x,y,w,h a line, in pixels; nan where the car has left the picture (frames 47 to 65, from 1)."""
