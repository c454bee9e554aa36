"""A short real clip with ground truth and small trained weights, for demo, parity gate and tests; see README.md."""

from __future__ import annotations

import re
from pathlib import Path

from edgetrack.errors import InputError

__all__ = ["CLIP", "DEMO", "GROUND_TRUTH", "TEXT", "WEIGHTS", "demo_weights", "resolve_weights"]

_HERE = Path(__file__).parent
_CUT = re.compile(r"(-d\d+)?(-k\d+)?$")  # fewer layers, fewer kept tokens

CLIP = _HERE / "car.mp4"
"""65 frames of 768x432 at 12.5 frames a second."""

GROUND_TRUTH = _HERE / "groundtruth.txt"
"""One box x,y,w,h a line, in pixels; nan where the car has left the picture (frames 47 to 65, from 1)."""

TEXT = "the car"
"""What the clip's target is, for trackers that read text."""

DEMO = "demo"
"""What to give instead of a checkpoint's path for the weights that come with edgetrack."""

WEIGHTS = {"fartrack-pico": _HERE / "fartrack-pico.safetensors"}
"""Model -> weights in the source tree; wheels leave them out. MODEL_CARD.md says how they were trained."""


def demo_weights(model: str) -> Path | None:
    """Return the file with edgetrack's own weights for `model` or what it is a cut of; None where there is none."""
    path = WEIGHTS.get(_CUT.sub("", model))
    return path if path is not None and path.is_file() else None


def resolve_weights(model: str, weights: str | None) -> str:
    """Return what `--weights` means: "demo", or nothing, is edgetrack's own file; all else stays as it is.

    Raises:
        InputError: edgetrack has no weights of its own for `model`.
    """
    if weights not in (None, DEMO):
        return str(weights)
    path = demo_weights(model)
    if path is None:
        known = ", ".join(WEIGHTS)
        raise InputError(
            f"edgetrack comes with no weights for {model} here (its source tree has some for {known}); "
            "give a checkpoint, or stand-in"
        )
    return str(path)
