"""What a target declares, and what it does: turn deployment graphs into files of one engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgetrack.errors import InputError

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph

__all__ = ["TargetInfo", "TargetWriter"]


@dataclass(frozen=True)
class TargetInfo:
    """What there is to know about a target without importing anything heavy.

    Attributes:
        name: on the command line and in artifact names.
        aliases: other names the command line takes.
        engine: what runs the files (a name in `edgetrack.runtime.engines`).
        suffix: of a graph's main file.
        precisions: what can be asked for.
        devices: device strings to load the artifact with, as examples.
        extras: pip extras of edgetrack that building and verifying needs.
        note: one line for tables.
    """

    name: str
    aliases: tuple[str, ...]
    engine: str
    suffix: str
    precisions: tuple[str, ...]
    devices: tuple[str, ...]
    extras: tuple[str, ...]
    note: str

    @property
    def install(self) -> str:
        """The pip line that makes this target available."""
        return f"pip install 'edgetrack[{','.join(self.extras)}]'"

    def check_precision(self, precision: str) -> None:
        """Raise InputError, naming what there is, unless this target carries `precision`."""
        if precision not in self.precisions:
            raise InputError(f"target {self.name} has no precision {precision!r}; give {' or '.join(self.precisions)}")


class TargetWriter(Protocol):
    """Writes the files of one target; made without arguments."""

    def check(self) -> None:
        """Raise EngineUnavailable, with the pip line, if a package that writing needs is missing."""

    def version(self) -> str:
        """Return the version of the engine that the files are written for."""

    def write(self, graph: DeployGraph, folder: Path, precision: str, metadata: Mapping[str, str]) -> tuple[str, ...]:
        """Write one graph into `folder` and return the names of its files, the main one first.

        Args:
            graph: module, example inputs and names.
            folder: an existing folder; files are named after the role.
            precision: one of the target's precisions.
            metadata: written into the file where its format has a place for it.
        """
