"""What people tell a session, and the states it can be in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from edgetrack.errors import InputError

if TYPE_CHECKING:
    from edgetrack.runtime.target_pack import TargetPack

__all__ = ["ACTIVE", "PACES", "Phase", "Settings", "SourceChoice", "Target"]

PACES = ("max", "source")
_MOST_EVERY = 100


class Phase(str, Enum):
    """What a session does."""

    EMPTY = "empty"  # no source
    READY = "ready"  # a source is open, nothing is followed
    STARTING = "starting"  # the description of a target is being encoded
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"  # at the end of a video that was followed
    FAILED = "failed"  # a run broke off


ACTIVE = (Phase.STARTING, Phase.RUNNING, Phase.PAUSED)
"""States in which a target is followed, or about to be."""


@dataclass(frozen=True)
class SourceChoice:
    """What to open, as `edgetrack.video.open_source` takes it, and what to call it before people."""

    name: str
    label: str

    def shown(self, text: str) -> str:
        """Return a text with the label in place of the name: an address may hold a password, a path is private."""
        text = text.replace(f"camera {self.name}", self.label)
        return text if self.name.isdecimal() else text.replace(self.name, self.label)


@dataclass(frozen=True)
class Target:
    """What to follow: a box (x, y, w, h) in pixels, a text, or a target pack; a box and one of these.

    frame: number of the frame that the box was drawn on; None: the one that is shown.
    """

    box: tuple[float, float, float, float] | None = None
    text: str | None = None
    pack: TargetPack | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Settings:
    """What may be changed at any time, for files.

    pace: "max", or "source" for the speed at which the file was filmed. every: follow one frame of so many.
    """

    pace: str = "max"
    every: int = 1

    def __post_init__(self) -> None:
        """Refuse impossible values; InputError."""
        if self.pace not in PACES:
            raise InputError(f"pace is {self.pace!r}, must be one of {', '.join(PACES)}")
        if type(self.every) is not int or not 1 <= self.every <= _MOST_EVERY:
            raise InputError(f"every is {self.every!r}, must be a whole number from 1 to {_MOST_EVERY}")
