"""Builds a FARTrack tracker: opens its graphs and hands them to the compiled core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgetrack.errors import ArtifactError
from edgetrack.fields import Fields
from edgetrack.runtime.core import FarTracker, Graph
from edgetrack.runtime.engine import Engine
from edgetrack.runtime.graphs import check_margin, open_graph, require_roles

if TYPE_CHECKING:
    from edgetrack.runtime.tracker import GraphFile

__all__ = ["build_fartrack"]


def build_fartrack(spec: Mapping[str, Any], graphs: Mapping[str, GraphFile], engine: Engine) -> FarTracker:
    """Return the compiled tracker over sessions of the "template", "search" and, if there is one, "first" graphs.

    An old template has `kept` tokens: all of them on the first tracked frame, what is left after pruning from then
    on. Engines that need static shapes ship a "first" graph for the one; else "search" is opened at both sizes.
    The core checks the spec; read here is what the sizes need.

    Raises:
        ArtifactError: a value of `spec` is impossible, or something is missing or does not fit.
    """
    fields = Fields(dict(spec), "the manifest", "tracker")
    tokens = fields.section("template").integer("tokens", 1, 4096)
    kept = tokens - fields.section("templates").integer("prune", 0, tokens - 1)
    fields.section("memory").number("limit_mib", 0.0, 65_536.0)
    check_margin(fields)
    require_roles("fartrack", ("template", "search"), graphs)
    template = open_graph(engine, graphs["template"], {})
    first = _search(engine, "first" if "first" in graphs else "search", graphs, tokens)
    search = first if kept == tokens and "first" not in graphs else _search(engine, "search", graphs, kept)
    try:
        return FarTracker(dict(spec), template, first, search)
    except MemoryError as error:
        raise ArtifactError(
            f"the template history of {spec['memory']['limit_mib']} MiB does not fit this machine's memory; "
            "load with a smaller history_mib"
        ) from error


def _search(engine: Engine, role: str, graphs: Mapping[str, GraphFile], kept: int) -> Graph:
    """Open a search graph for old templates of `kept` tokens, a size that its file has to be made for."""
    file = graphs[role]
    made_for = file.dims.get("kept", (kept,))  # a file of static shape names no dimension; the core checks it
    if kept not in made_for:
        raise ArtifactError(
            f"the {role} graph is made for {', '.join(map(str, made_for))} tokens of an old template (dimension "
            f"'kept'), the tracker needs {kept}; export the artifact again"
        )
    return open_graph(engine, file, {"kept": kept})
