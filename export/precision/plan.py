"""What is asked of a calibration; imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgetrack.errors import InputError

__all__ = ["CALIBRATED", "FRAMES", "CalibrationPlan", "check_calibration"]

FRAMES = 128
"""How many tracked frames are sampled unless something else is said."""

CALIBRATED = frozenset({"int8", "mixed"})
"""The precisions that need a calibration."""


@dataclass(frozen=True)
class CalibrationPlan:
    """What 8-bit graphs are calibrated with and how much they may lose.

    Attributes:
        spec: the clips, see `edgetrack.export.precision.clips.read_clips`.
        frames: tracked frames to sample.
        seed: of the choice of frames and of the held-out part.
        max_auc_drop: success AUC that may be lost on the held-out part, in points of 100.
        max_box_error: mean distance of the boxes from float32's there, in pixels; None: any.
    """

    spec: str
    frames: int = FRAMES
    seed: int = 0
    max_auc_drop: float = 1.0
    max_box_error: float | None = None

    def __post_init__(self) -> None:
        """Raise InputError for a number that makes no sense."""
        if not 1 <= self.frames <= 100_000:
            raise InputError(f"--calib-frames is {self.frames}; give a number from 1 to 100000")
        if not 0 <= self.seed < 2**53:
            raise InputError(f"--calib-seed is {self.seed}; give a number from 0 to {2**53 - 1}")
        for name, value in (("--max-auc-drop", self.max_auc_drop), ("--max-box-error", self.max_box_error)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} is {value}; give a number from 0 on")

    def words(self) -> list[str]:
        """Return the options of the command line that say this."""
        words = ["--calib", self.spec, "--calib-frames", str(self.frames), "--calib-seed", str(self.seed)]
        words += ["--max-auc-drop", f"{self.max_auc_drop:g}"]
        return words + ([] if self.max_box_error is None else ["--max-box-error", f"{self.max_box_error:g}"])


def check_calibration(precision: str, calibration: CalibrationPlan | None) -> None:
    """Raise InputError for a precision without the calibration that it needs, or with one that it does not."""
    if precision in CALIBRATED and calibration is None:
        raise InputError(
            f"precision {precision} needs --calib: clips of what the tracker will see, with the target's boxes, to "
            "measure the range of every activation; ranges of other pictures would cost accuracy unseen, so there is "
            "no default"
        )
    if precision not in CALIBRATED and calibration is not None:
        raise InputError(f"precision {precision} needs no calibration; leave --calib out, or ask for int8 or mixed")
