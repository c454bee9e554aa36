"""How well a tracker's states tell that the target is lost: rates over absent and over present frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.metrics import present

__all__ = ["LossCounts", "count_states"]


@dataclass(frozen=True)
class LossCounts:
    """Frames by whether the target was there and what the tracker said; first frames are not counted.

    `absent_lost` of `absent` frames without the target were reported LOST, `absent_uncertain` UNCERTAIN; the same for
    `present` frames.
    """

    absent: int = 0
    absent_lost: int = 0
    absent_uncertain: int = 0
    present: int = 0
    present_lost: int = 0
    present_uncertain: int = 0

    def __add__(self, other: LossCounts) -> LossCounts:
        return LossCounts(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def as_dict(self) -> dict[str, float | int | None]:
        """Return counts and rates; a rate over no frame is None."""
        rates = {
            "true_lost_rate": _rate(self.absent_lost, self.absent),
            "true_uncertain_rate": _rate(self.absent_uncertain, self.absent),
            "false_lost_rate": _rate(self.present_lost, self.present),
            "false_uncertain_rate": _rate(self.present_uncertain, self.present),
        }
        return {"absent_frames": self.absent, "present_frames": self.present, **rates}


def count_states(states: Sequence[str], truth: NDArray[np.float64]) -> LossCounts:
    """Count the states ("TRACKING", "UNCERTAIN", "LOST") of one sequence; truth as in `metrics`."""
    named = np.asarray(states)[1:]
    there = present(truth)[1:]
    lost, uncertain = named == "LOST", named == "UNCERTAIN"
    groups = [int(group.sum()) for mask in (~there, there) for group in (mask, mask & lost, mask & uncertain)]
    return LossCounts(*groups)


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
