"""From graphs in engine files to a tracker: which families there are, and what builds their compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgetrack.errors import ArtifactError
from edgetrack.fields import Fields
from edgetrack.registry import Registry
from edgetrack.runtime.arguments import Box
from edgetrack.runtime.core import CropLoop
from edgetrack.runtime.core_parts import TextCore, ToldCore
from edgetrack.runtime.engine import Engine
from edgetrack.runtime.following import Tracker
from edgetrack.runtime.graph_file import CheckedEngine, GraphFile
from edgetrack.runtime.language import Language, LanguageHome
from edgetrack.runtime.language_spec import read_language_spec
from edgetrack.runtime.template_crop import template_crop

__all__ = ["FAMILIES", "Box", "FamilyBuilder", "GraphFile", "TextCore", "ToldCore", "Tracker", "build_tracker"]

FamilyBuilder = Callable[[Mapping[str, Any], Mapping[str, GraphFile], Engine], CropLoop]

FAMILIES: Registry[FamilyBuilder] = Registry("tracker family", ArtifactError)
FAMILIES.register("centre-head", "edgetrack.runtime.centre_head:build_centre_head")
FAMILIES.register("fartrack", "edgetrack.runtime.fartrack:build_fartrack")
FAMILIES.register("mvlm", "edgetrack.runtime.mvlm:build_mvlm")


def build_tracker(
    spec: Mapping[str, Any],
    graphs: Mapping[str, GraphFile],
    engine: Engine,
    home: LanguageHome | None = None,
) -> Tracker:
    """Open the graphs in `engine` and wire them to the tracker core.

    Args:
        spec: the manifest's "tracker" section.
        graphs: engine files by role ("template", "search", and "text" of a tracker with language).
        engine: an open engine; the tracker closes it.
        home: where a tracker with language has its vocabulary.

    Raises:
        ArtifactError: the family is unknown, spec and graphs do not fit it, or a file has other tensors than its
            `GraphFile` says.
        EngineUnavailable: the device cannot run a graph.
    """
    family = spec.get("family")
    if not isinstance(family, str):
        raise ArtifactError(f"the tracker section names no family (it says {family!r}); export the artifact again")
    described = read_language_spec(Fields(dict(spec), "the manifest", "tracker"))
    checked = CheckedEngine(engine, graphs.values())
    core = FAMILIES.get(family)({key: spec[key] for key in spec if key != "language"}, graphs, checked)
    if described is None:
        return Tracker(core, engine)
    if home is None:
        raise ArtifactError(
            "the tracker section has a part `language`, but its folder is not given; use edgetrack.load"
        )
    opener = CheckedEngine(engine, graphs.values(), keep=False)
    return Tracker(core, engine, Language(described, home, opener, graphs, checked.sessions), template_crop(spec))
