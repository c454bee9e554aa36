"""Tracker specs and graphs that MvlmTracker must refuse, each with a message that names what is wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from mvlm_fakes import TEMPLATE, MvlmNetworks, mvlm_graphs, mvlm_spec

from edgetrack import _core
from edgetrack.errors import ArtifactError


def built(spec: dict[str, Any], *, box: bool = True, **changes: Any) -> _core.MvlmTracker:
    good = mvlm_spec(box=box)
    return _core.MvlmTracker(spec, **{**mvlm_graphs(good, MvlmNetworks(good)), **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "centre-head"}, "family is 'centre-head' where 'mvlm' is expected"),
        ({"template": 3}, "template is 3 where an object is expected"),
        ({"template__count": 0}, "template.count is 0 where 1 or more is expected"),
        ({"template__count": 65}, "template.count is 65; it must be 0 to 64"),
        ({"template__tokens": 0}, "template.tokens is 0; it must be 1 to 65536"),
        ({"template__slots": 5}, "template.slots is not known"),
        ({"template__update__interval": 0}, "template.update.interval is 0; it must be 1 or more"),
        ({"template__update__above": 1.5}, "template.update.above is 1.5; it must be 0 to 1"),
        ({"template__update__often": 1}, "template.update.often is not known"),
        ({"search__factor": -1}, "search.factor is -1"),
        ({"text__tokens": 0}, "text.tokens is 0; it must be 1 to 65536"),
        ({"text__channels": 1 << 17}, "text.channels is 131072; it must be 1 to 65536"),
        ({"decode__kind": "centre"}, "decode.kind is 'centre' where 'candidates'"),
        ({"decode__grid": 0}, "decode.grid is 0; it must be 1 to 1024"),
        ({"gate__alpha": 1.1}, "gate.alpha is 1.1; it must be 0 to 1"),
        ({"gate__tau": -2}, "gate.tau is -2; it must be -1 to 1"),
        ({"gate__omega": math.nan}, "gate.omega is nan where a finite number"),
        ({"gate__lam": -0.1}, "gate.lambda is -0.1; it must be 0 to 1"),
        ({"gate__psi": 2}, "gate.psi is 2; it must be 0 to 1"),
        ({"gate__kappa": 2}, "gate.kappa is not known"),
        ({"clip_margin_px": 0}, "clip_margin_px is 0; it must be above 0"),
        ({"score__kind": "peak"}, "score.kind is 'peak' where 'margin'"),
        ({"memory": {"limit_mib": 1}}, "memory is not known"),
    ],
)
def test_wrong_specs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        built(mvlm_spec(box=True, **change))


@pytest.mark.parametrize("path", ["template", "template.count", "template.update.above", "text.tokens", "gate.tau"])
def test_missing_entries_are_named(path: str) -> None:
    spec = mvlm_spec(box=True)
    *sections, key = path.split(".")
    place = spec
    for section in sections:
        place = place[section]
    del place[key]
    with pytest.raises(ArtifactError, match=f"tracker spec: {path} is missing; export the artifact again"):
        built(spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template__size": 32}, r"template graph's input 'image' has shape \[1, 3, 16, 16\].* \[1, 3, 32, 32\]"),
        ({"template__tokens": 3}, r"search graph's input 'templates' has shape \[1, 4, 4\].* \[1, 6, 4\]"),
        ({"template__count": 3}, r"search graph's input 'templates' has shape \[1, 4, 4\].* \[1, 6, 4\]"),
        ({"search__size": 64}, r"search graph's input 'search' has shape \[1, 3, 32, 32\]"),
        ({"text__tokens": 7}, r"search graph's input 'text' has shape \[1, 3, 4\].* \[1, 7, 4\]"),
        ({"decode__grid": 8}, r"search graph's output 'cls' has shape \[1, 16\].* \[1, 64\]"),
    ],
)
def test_graphs_that_do_not_fit_the_spec_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        built(mvlm_spec(box=True, **change))


def test_graphs_that_are_missing_or_lack_something() -> None:
    spec = mvlm_spec(box=True)
    with pytest.raises(ArtifactError, match="the template graph is missing"):
        built(spec, template=None)
    with pytest.raises(ArtifactError, match="no input 'templates'"):
        built(
            mvlm_spec() | {"template": TEMPLATE}, search=mvlm_graphs(mvlm_spec(), MvlmNetworks(mvlm_spec()))["search"]
        )
    wrong = _core.Graph({"image": np.zeros((1, 3, 16, 16), np.float32)}, {}, lambda: None)
    with pytest.raises(ArtifactError, match="no output 'tokens'"):
        built(spec, template=wrong)


def test_a_template_graph_that_is_not_needed_is_left_alone() -> None:
    spec = mvlm_spec()
    networks = MvlmNetworks(spec)
    boxed = mvlm_spec(box=True)
    tracker = _core.MvlmTracker(
        spec, template=mvlm_graphs(boxed, MvlmNetworks(boxed))["template"], **mvlm_graphs(spec, networks)
    )
    assert tracker.mode == "global"
