"""Which engines are installed here, and the devices they find."""

from __future__ import annotations

from dataclasses import dataclass

from edgetrack.errors import EdgetrackError
from edgetrack.runtime.engines import ENGINES

__all__ = ["EngineHere", "engines_here"]


@dataclass(frozen=True)
class EngineHere:
    """One registered engine: version, None if it is missing; devices, as it calls them; remedy, if something is."""

    name: str
    version: str | None
    devices: tuple[str, ...]
    remedy: str | None


def engines_here() -> list[EngineHere]:
    """Return every registered engine; imports those that are installed, which takes a second or two."""
    return [_engine(name) for name in ENGINES]


def _engine(name: str) -> EngineHere:
    version: str | None = None
    try:
        engine = ENGINES.get(name)
        version = engine.installed()
        return EngineHere(name, version, tuple(engine.devices()), None)
    except EdgetrackError as error:
        return EngineHere(name, version, (), str(error))
