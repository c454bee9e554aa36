"""Graph files of an artifact, and the check that they have the tensors that the manifest says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgetrack.errors import ArtifactError
from edgetrack.runtime.engine import Engine, Session, concrete_shape

__all__ = ["CheckedEngine", "GraphFile"]

Shapes = Mapping[str, Sequence[int | str]]


@dataclass(frozen=True, slots=True)
class GraphFile:
    """One graph of an artifact: its engine file, and every value each symbolic dimension takes.

    `inputs` and `outputs` are the shapes by tensor name as the manifest gives them, numbers and names of symbolic
    dimensions; where they are empty the file's tensors are not checked.
    """

    path: Path
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: Shapes = field(default_factory=dict)
    outputs: Shapes = field(default_factory=dict)


class CheckedEngine(Engine):
    """An engine that compares what it opens with the artifact's `GraphFile`s; all else is the engine inside."""

    name = "checked"

    def __init__(self, engine: Engine, graphs: Iterable[GraphFile], *, keep: bool = True) -> None:
        """`engine` opens the files; those not in `graphs` are not checked. Without `keep`, `sessions` stays empty."""
        self._engine = engine
        self._keep = keep
        self._graphs = {graph.path: graph for graph in graphs}
        self.sessions: list[Session] = []
        """What was opened so far, in that order."""

    def open(self, path: Path, dims: Mapping[str, int]) -> Session:
        """See `Engine.open`.

        Raises:
            ArtifactError: also if the file has other tensors, or other shapes, than the manifest says.
        """
        session = self._engine.open(path, dims)
        graph = self._graphs.get(path)
        if graph is not None:
            _check(path, "input", session.inputs, graph.inputs, dims)
            _check(path, "output", session.outputs, graph.outputs, dims)
        if self._keep:
            self.sessions.append(session)
        return session

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        return self._engine.describe()

    @classmethod
    def devices(cls) -> list[str]:
        """Return nothing: the devices are those of the engine inside."""
        return []

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()


def _check(path: Path, kind: str, found: Mapping[str, NDArray[Any]], told: Shapes, dims: Mapping[str, int]) -> None:
    """Raise ArtifactError unless the arrays of a session are those that the manifest tells."""
    if not told:
        return
    if set(found) != set(told):
        raise ArtifactError(
            f"{path}: its {kind}s are {', '.join(sorted(found))}, the manifest says {', '.join(sorted(told))}; "
            "export the artifact again"
        )
    for name, shape in told.items():
        wanted = concrete_shape(f"{path}: {kind} {name!r} of the manifest", shape, dims)
        if found[name].shape != wanted:
            raise ArtifactError(
                f"{path}: {kind} {name!r} has shape {list(found[name].shape)}, the manifest says {list(wanted)}; "
                "export the artifact again"
            )
