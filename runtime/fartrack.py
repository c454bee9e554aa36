"""Builds a FARTrack tracker: opens its two graphs and hands them to the compiled core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgetrack.errors import ArtifactError, InputError
from edgetrack.fields import Fields
from edgetrack.runtime.core import FarTracker, Graph
from edgetrack.runtime.engine import Engine, Session

if TYPE_CHECKING:
    from edgetrack.runtime.tracker import GraphFile

__all__ = ["build_fartrack"]


def build_fartrack(spec: Mapping[str, Any], graphs: Mapping[str, GraphFile], engine: Engine) -> FarTracker:
    """Return the compiled tracker over sessions of the "template" and "search" graphs.

    The search graph is opened at two sizes: `kept` = all tokens of a template on the first tracked frame, and
    what is left after pruning from then on. The core checks the spec; read here is what the sizes need.

    Raises:
        ArtifactError: a value of `spec` is impossible, or something is missing or does not fit.
    """
    fields = Fields(dict(spec), "the manifest", "tracker")
    tokens = fields.section("template").integer("tokens", 1, 4096)
    kept = tokens - fields.section("templates").integer("prune", 0, tokens - 1)
    fields.section("memory").number("limit_mib", 0.0, 65_536.0)
    fields.number("clip_margin_px", 0.0, 1000.0)  # more would let the box grow out of the picture
    for role in ("template", "search"):
        if role not in graphs:
            raise ArtifactError(
                f"a fartrack tracker needs a graph {role!r}, this has {', '.join(sorted(graphs)) or 'none'}; "
                "export the artifact again"
            )
    template = _graph(engine.open(graphs["template"].path, {}))
    first = _graph(engine.open(graphs["search"].path, {"kept": tokens}))
    search = first if kept == tokens else _graph(engine.open(graphs["search"].path, {"kept": kept}))
    try:
        return FarTracker(dict(spec), template, first, search)
    except MemoryError as error:
        raise ArtifactError(
            f"the template history of {spec['memory']['limit_mib']} MiB does not fit this machine's memory; "
            "load with a smaller history_mib"
        ) from error


def _graph(session: Session) -> Graph:
    try:
        return Graph(dict(session.inputs), dict(session.outputs), session.run)
    except InputError as error:
        raise ArtifactError(f"a graph's tensors do not fit ({error}); export the artifact again") from error
