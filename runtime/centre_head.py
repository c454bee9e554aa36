"""Builds a tracker with a centre head (OSTrack, GRM, GLAD): opens its graphs and hands them to the compiled core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgetrack.fields import Fields
from edgetrack.runtime.core import CentreHeadTracker
from edgetrack.runtime.engine import Engine
from edgetrack.runtime.graphs import check_margin, open_graph, require_roles

if TYPE_CHECKING:
    from edgetrack.runtime.tracker import GraphFile

__all__ = ["build_centre_head"]


def build_centre_head(spec: Mapping[str, Any], graphs: Mapping[str, GraphFile], engine: Engine) -> CentreHeadTracker:
    """Return the compiled tracker over sessions of the "template" and "search" graphs.

    Both have static shapes. What the template graph gives (once per target) is copied to the search graph's inputs of
    the same names; the search graph gives the maps "score", "size" and "offset". The core's set_told fills the inputs
    that the spec lists as "told". The core checks spec and shapes.

    Raises:
        ArtifactError: a value of `spec` is impossible, or something is missing or does not fit.
        EngineUnavailable: the device cannot run a graph.
    """
    check_margin(Fields(dict(spec), "the manifest", "tracker"))
    require_roles("centre-head", ("template", "search"), graphs)
    template, search = (open_graph(engine, graphs[role], {}) for role in ("template", "search"))
    return CentreHeadTracker(dict(spec), template, search)
