"""What every family's builder does: check the manifest and bind graph files to the compiled core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgetrack.errors import ArtifactError, InputError
from edgetrack.fields import Fields
from edgetrack.runtime.core import Graph
from edgetrack.runtime.engine import Engine, FillingSession
from edgetrack.runtime.graph_file import GraphFile

__all__ = ["check_margin", "open_graph", "require_roles"]


def check_margin(fields: Fields) -> None:
    """Raise ArtifactError unless a tracker section's clip margin is one that a picture has room for."""
    margin = fields.number("clip_margin_px", 0.0, 1000.0)  # more would make every box as large as the picture
    if margin == 0:
        raise fields.error("clip_margin_px", margin, "a number above 0, so that every box has a size")


def require_roles(family: str, roles: Sequence[str], graphs: Mapping[str, GraphFile]) -> None:
    """Raise ArtifactError, naming what there is, unless every role has a graph."""
    for role in roles:
        if role not in graphs:
            raise ArtifactError(
                f"a {family} tracker needs a graph {role!r}, this has {', '.join(sorted(graphs)) or 'none'}; "
                "export the artifact again"
            )


def open_graph(engine: Engine, file: GraphFile, dims: Mapping[str, int]) -> Graph:
    """Open a graph file with its symbolic dimensions fixed and bind its tensors.

    Raises:
        ArtifactError: the file is not one the engine reads, or a tensor is not float32.
        EngineUnavailable: the device cannot run it.
    """
    session = engine.open(file.path, dims)
    try:
        inputs, outputs = dict(session.inputs), dict(session.outputs)
        if isinstance(session, FillingSession):
            return Graph(inputs, outputs, session.run, session.fill, session.run_filled)
        return Graph(inputs, outputs, session.run)
    except InputError as error:
        raise ArtifactError(f"a graph's tensors do not fit ({error}); export the artifact again") from error
