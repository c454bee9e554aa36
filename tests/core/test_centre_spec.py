"""Tracker specs and graphs that CentreHeadTracker must refuse, each with a message that names what is wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from centre_fakes import GIVEN, CentreNetworks, centre_graphs, centre_spec

from edgetrack import _core
from edgetrack.errors import ArtifactError


def graphs() -> dict[str, _core.Graph]:
    return centre_graphs(centre_spec(), CentreNetworks(centre_spec()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "fartrack"}, "family is 'fartrack' where 'centre-head' is expected"),
        ({"color": "bgr"}, "color is 'bgr' where 'rgb' is expected"),
        ({"std": [0.2, 0.0, 0.2]}, "std"),
        ({"template": 3}, "template is 3 where an object is expected"),
        ({"template__factor": 0}, "template.factor is 0; it must be positive"),
        ({"search__factor": 1001}, "search.factor is 1001; it must be positive and at most 1000"),
        ({"template__tokens": 64}, "template.tokens is not known"),
        ({"search__factor": -1}, "search.factor is -1"),
        ({"search__size": 0}, "0"),
        ({"decode__kind": "bins"}, "decode.kind is 'bins' where 'centre'"),
        ({"decode__window": "hamming"}, "decode.window is 'hamming' where 'hann' is expected"),
        ({"decode__grid": 0}, "decode.grid is 0; it must be 1 to 1024"),
        ({"decode__grid": 1025}, "decode.grid is 1025; it must be 1 to 1024"),
        ({"decode__grid": 8.0}, "decode.grid is 8.0 where a whole number is expected"),
        ({"clip_margin_px": 0}, "clip_margin_px is 0; it must be above 0"),
        ({"clip_margin_px": math.nan}, "clip_margin_px is nan where a finite number"),
        ({"score__kind": "bin-mass"}, "score.kind is 'bin-mass' where 'peak'"),
        ({"score__radius": 8}, "score.radius is not known"),
        ({"score__lost_below": 0.5}, "score.lost_below is 0.5"),
        ({"score__calibration": {"slope": 1}}, "score.calibration.intercept is missing"),
        ({"memory": {"limit_mib": 1}}, "memory is not known"),
    ],
)
def test_wrong_specs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        _core.CentreHeadTracker(centre_spec(**change), **graphs())


@pytest.mark.parametrize(
    "path",
    ["family", "std", "search", "template.size", "decode.grid", "decode.window", "clip_margin_px", "score.lost_below"],
)
def test_missing_entries_are_named(path: str) -> None:
    spec = centre_spec()
    *sections, key = path.split(".")
    place = spec
    for section in sections:
        place = place[section]
    del place[key]
    with pytest.raises(ArtifactError, match=f"tracker spec: {path} is missing; export the artifact again"):
        _core.CentreHeadTracker(spec, **graphs())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template__size": 32}, r"template graph's input 'image' has shape \[1, 3, 16, 16\].* \[1, 3, 32, 32\]"),
        ({"search__size": 64}, r"search graph's input 'search' has shape \[1, 3, 32, 32\]"),
        ({"decode__grid": 16}, r"search graph's output 'score' has shape \[1, 1, 8, 8\].* \[1, 1, 16, 16\]"),
    ],
)
def test_graphs_that_do_not_fit_the_spec_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        _core.CentreHeadTracker(centre_spec(**change), **graphs())


def template(outputs: dict[str, tuple[int, ...]]) -> _core.Graph:
    gives = {name: np.zeros(shape, np.float32) for name, shape in outputs.items()}
    return _core.Graph({"image": np.zeros((1, 3, 16, 16), np.float32)}, gives, lambda: None)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            {},
            "outputs are none, the search graph's inputs beside 'search' are 'tokens', 'words'; they must be",
        ),
        (
            {"tokens": (1, 4, 3)},
            "outputs are 'tokens', the search graph's inputs beside 'search' are 'tokens', 'w",
        ),
        (GIVEN | {"more": (1,)}, "outputs are 'more', 'tokens', 'words', the search graph's inputs"),
        (
            GIVEN | {"words": (1, 6)},
            r"search graph's input 'words' has shape \[1, 5\] where the template",
        ),
        (GIVEN | {"tokens": (1, 3, 4)}, r"input 'tokens' has shape \[1, 4, 3\].* asks for \[1, 3, 4\]"),
    ],
)
def test_graphs_that_do_not_fit_each_other_are_refused(outputs: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        _core.CentreHeadTracker(centre_spec(), template(outputs), graphs()["search"])


@pytest.mark.parametrize("missing", ["score", "size", "offset"])
def test_missing_maps_are_named(missing: str) -> None:
    maps = {"score": 1, "size": 2, "offset": 2}
    del maps[missing]
    inputs = {name: np.zeros(shape, np.float32) for name, shape in ({"search": (1, 3, 32, 32)} | GIVEN).items()}
    outputs = {name: np.zeros((1, n, 8, 8), np.float32) for name, n in maps.items()}
    search = _core.Graph(inputs, outputs, lambda: None)
    with pytest.raises(ArtifactError, match=f"no output '{missing}' \\(it has: {', '.join(sorted(maps))}\\)"):
        _core.CentreHeadTracker(centre_spec(), template(GIVEN), search)
