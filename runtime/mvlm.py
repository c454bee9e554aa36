"""Builds an MVLM tracker: opens its graphs and hands them to the compiled core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgetrack.fields import Fields
from edgetrack.runtime.core import MvlmTracker
from edgetrack.runtime.engine import Engine
from edgetrack.runtime.graphs import check_margin, open_graph, require_roles

if TYPE_CHECKING:
    from edgetrack.runtime.tracker import GraphFile

__all__ = ["build_mvlm"]


def build_mvlm(spec: Mapping[str, Any], graphs: Mapping[str, GraphFile], engine: Engine) -> MvlmTracker:
    """Return the compiled tracker over sessions of the "search" graph and, with templates, the "template" graph.

    Both have static shapes. The search graph is fed what the sentence and the templates gave; it gives a windowed
    score, a box and a similarity for every cell. The core checks spec and shapes.

    Raises:
        ArtifactError: a value of `spec` is impossible, or something is missing or does not fit.
        EngineUnavailable: the device cannot run a graph.
    """
    check_margin(Fields(dict(spec), "the manifest", "tracker"))
    roles = ("search",) if spec.get("template") is None else ("search", "template")
    require_roles("mvlm", roles, graphs)
    return MvlmTracker(dict(spec), *(open_graph(engine, graphs[role], {}) for role in roles))
