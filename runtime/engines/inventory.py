"""Which engines are installed here, and the devices they find."""

from __future__ import annotations

from dataclasses import dataclass

from edgetrack.errors import EdgetrackError
from edgetrack.runtime.engine import Part
from edgetrack.runtime.engines import ENGINES

__all__ = ["EngineHere", "engines_here"]


@dataclass(frozen=True)
class EngineHere:
    """One registered engine: version, None if it is missing; devices, as it calls them; remedy, if something is.

    `parts` is what some of what it offers needs besides; empty where the engine itself is missing.
    """

    name: str
    version: str | None
    devices: tuple[str, ...]
    remedy: str | None
    parts: tuple[Part, ...] = ()


def engines_here() -> list[EngineHere]:
    """Return every registered engine; imports those that are installed, which takes a second or two."""
    return [_engine(name) for name in ENGINES]


def _engine(name: str) -> EngineHere:
    version: str | None = None
    parts: tuple[Part, ...] = ()
    try:
        engine = ENGINES.get(name)
        version, parts = engine.installed(), engine.parts()
        return EngineHere(name, version, tuple(engine.devices()), None, parts)
    except EdgetrackError as error:
        return EngineHere(name, version, (), str(error), parts)
