"""The one tree of errors that edgetrack raises on purpose, each with the exit code the command line gives it.

Every message says what was wrong, the offending value, and the remedy, in one line.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ArtifactError",
    "CalibrationError",
    "CheckpointError",
    "EdgetrackError",
    "EngineUnavailable",
    "InputError",
    "ParityError",
    "WrongMachine",
]


class EdgetrackError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1


class InputError(EdgetrackError, ValueError):
    """A frame, box, video or option that cannot be used."""

    exit_code: ClassVar[int] = 5


class ArtifactError(EdgetrackError):
    """An artifact folder that is damaged, incomplete, foreign or of an unknown schema."""

    exit_code: ClassVar[int] = 5


class WrongMachine(ArtifactError):
    """A sound artifact whose files were built for another machine or version than this."""


class CheckpointError(EdgetrackError):
    """A checkpoint that is damaged, incomplete or of another model."""

    exit_code: ClassVar[int] = 5


class EngineUnavailable(EdgetrackError):
    """An engine, tool or device that was asked for is not here."""

    exit_code: ClassVar[int] = 4


class ParityError(EdgetrackError):
    """A built artifact does not give the reference's results."""

    exit_code: ClassVar[int] = 3


class CalibrationError(EdgetrackError):
    """Calibration data that is missing, empty or unusable."""

    exit_code: ClassVar[int] = 5
