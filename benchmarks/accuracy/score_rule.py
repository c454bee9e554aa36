"""The rule that turns a tracker's raw score into a score and a state, as the compiled core applies it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgetrack.errors import ArtifactError

__all__ = ["RULE_KEYS", "Calibration", "ScoreRule"]

RULE_KEYS = ("calibration", "uncertain_below", "lost_below")
"""Entries of a manifest's `tracker.score` that hold the rule; the others say how the raw score is computed."""


@dataclass(frozen=True)
class Calibration:
    """score = 1 / (1 + exp(-(slope * raw + intercept)))."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class ScoreRule:
    """What `tracker.score` of a manifest says; without a calibration the score is the raw score.

    Below `lost_below` the state is LOST, else below `uncertain_below` UNCERTAIN, else TRACKING.
    """

    calibration: Calibration | None
    uncertain_below: float
    lost_below: float

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> ScoreRule:
        """Return the rule of a manifest's `tracker.score`.

        Raises:
            ArtifactError: an entry is missing or no number.
        """
        try:
            found = section["calibration"]
            calibration = None if found is None else Calibration(float(found["slope"]), float(found["intercept"]))
            return cls(calibration, float(section["uncertain_below"]), float(section["lost_below"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"tracker.score is {dict(section)!r}, which is no rule; export again") from error

    def as_section(self) -> dict[str, Any]:
        """Return the entries `RULE_KEYS` of a manifest's `tracker.score`."""
        return asdict(self)

    def score_of(self, raw: float) -> float:
        """Return the score, 0 to 1, of a raw score."""
        if self.calibration is None:
            return raw
        exponent = -(self.calibration.slope * raw + self.calibration.intercept)
        return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0

    def state_of(self, score: float) -> str:
        """Return TRACKING, UNCERTAIN or LOST."""
        if score < self.lost_below:
            return "LOST"
        return "UNCERTAIN" if score < self.uncertain_below else "TRACKING"
