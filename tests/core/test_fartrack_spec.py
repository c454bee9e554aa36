"""Tracker specs and graphs that FarTracker must refuse, each with a message that names what is wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fartrack_fakes import (
    FLAVOURS,
    START,
    FakeNetworks,
    engine_graphs,
    spec_with,
    textured_frame,
    tracker_for,
)

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "ostrack"}, "family is 'ostrack' where 'fartrack' is expected"),
        ({"color": "bgr"}, "color is 'bgr' where 'rgb' is expected"),
        ({"mean": [0.5, 0.5]}, r"mean is \[0.5, 0.5\] where a list of three numbers"),
        ({"std": [0.2, "a", 0.2]}, "std is 'a' where a number is expected"),
        ({"std": [0.2, 0.0, 0.2]}, "std"),
        ({"mean": [0.5, math.nan, 0.5]}, "mean is nan where a finite number is expected"),
        ({"template": 3}, "template is 3 where an object is expected"),
        ({"template__size": 112.5}, "template.size is 112.5 where a whole number"),
        ({"template__size": True}, "template.size is True where a whole number"),
        ({"template__size": 10**30}, "template.size is 10+ where a whole number that fits 32 bits"),
        ({"template__size": 0}, "0"),
        ({"template__slots": 4}, "template.slots is 4 where 5 is expected"),
        ({"template__tokens": 0}, "template.tokens is 0"),
        ({"search__factor": -1}, "search.factor is -1"),
        ({"search__factor": 10**400}, "search.factor is 10+ where a finite number"),
        ({"search__mystery": 1}, "search.mystery is not known"),
        ({"decode__kind": "heatmap"}, "decode.kind is 'heatmap' where 'bins'"),
        ({"decode__classes": 30}, "30"),
        ({"decode__expectation": 1}, "decode.expectation is 1 where true or false"),
        ({"templates__sampling": "linear"}, "templates.sampling is 'linear' where 'exponential'"),
        ({"templates__early": "late"}, "templates.early is 'late' where 'shift' or 'distill'"),
        (
            {"templates__early": "distill"},
            "templates.prune is 2; it must be 0 where templates.early is 'distill'",
        ),
        (
            {"templates__prune": 6},
            "templates.prune is 6; it must be at least 0 and less than template.tokens",
        ),
        ({"memory__limit_mib": 0}, "memory.limit_mib is 0 where a number above 0"),
        ({"memory__limit_mib": 0.0001}, "template memory limit of 104 bytes holds 2 templates"),
        ({"memory__limit_mib": math.inf}, "memory.limit_mib is inf where a finite number"),
        ({"clip_margin_px": -1}, "clip_margin_px is -1"),
        ({"clip_margin_px": 0}, "clip_margin_px is 0; it must be above 0"),
        ({"score__kind": "max"}, "score.kind is 'max' where 'bin-mass'"),
        ({"score__radius": -1}, "score.radius is -1"),
        ({"score__lost_below": 0.5}, "score.lost_below is 0.5"),
        ({"score__uncertain_below": 1.5}, "score.uncertain_below is 1.5"),
        ({"score__calibration": {"slope": 1}}, "score.calibration.intercept is missing"),
        ({"score__calibration": 2}, "score.calibration is 2 where an object"),
    ],
)
def test_wrong_specs_are_refused(change: dict[str, Any], message: str) -> None:
    graphs = engine_graphs(spec_with(), FakeNetworks(spec_with()))
    with pytest.raises(ArtifactError, match=message):
        _core.FarTracker(spec_with(**change), **graphs)


@pytest.mark.parametrize("path", ["family", "mean", "template", "search.size", "decode.bins", "score.calibration"])
def test_missing_entries_are_named(path: str) -> None:
    spec = spec_with()
    *sections, key = path.split(".")
    place = spec
    for section in sections:
        place = place[section]
    del place[key]
    graphs = engine_graphs(spec_with(), FakeNetworks(spec_with()))
    with pytest.raises(ArtifactError, match=f"tracker spec: {path} is missing; export the artifact again"):
        _core.FarTracker(spec, **graphs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"template__size": 32},
            r"template graph's input 'image' has shape \[1, 3, 16, 16\].* \[1, 3, 32, 32\]",
        ),
        ({"template__channels": 4}, r"first graph's input 'old' has shape \[1, 4, 6, 3\]"),
        ({"search__size": 64}, r"first graph's input 'search' has shape \[1, 3, 32, 32\]"),
        ({"templates__prune": 3}, r"search graph's input 'old' has shape \[1, 4, 4, 3\].*\[1, 4, 3, 3\]"),
        ({"decode__classes": 44}, r"first graph's output 'logits' has shape \[1, 4, 45\]"),
    ],
)
def test_graphs_that_do_not_fit_the_spec_are_refused(change: dict[str, Any], message: str) -> None:
    graphs = engine_graphs(spec_with(), FakeNetworks(spec_with()))
    with pytest.raises(ArtifactError, match=message):
        _core.FarTracker(spec_with(**change), **graphs)


def test_missing_buffers_are_named() -> None:
    spec, plain = spec_with(), FLAVOURS["frame"]
    graphs = engine_graphs(spec, FakeNetworks(spec))
    with pytest.raises(ArtifactError, match=r"no input 'search' \(it has: image\); export the artifact again"):
        _core.FarTracker(spec, **{**graphs, "search": graphs["template"]})
    graphs["first"] = engine_graphs(plain, FakeNetworks(plain))["first"]
    with pytest.raises(ArtifactError, match=r"no output 'score' \(it has: logits\)"):
        _core.FarTracker(spec, **graphs)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2), ">f4"),
        np.zeros((4, 4), np.float32)[:, ::2],
        np.zeros((2, 2), np.float32).T.copy().T[:, :1].T[:, ::-1],
        np.frombuffer(bytes(16), np.float32),
        [[0.0]],
    ],
)
def test_graphs_refuse_arrays_that_an_engine_cannot_be_bound_to(array: Any) -> None:
    with pytest.raises(InputError, match=r"'x' is .*; pass a C-contiguous, writable numpy array of float32"):
        _core.Graph({"x": array}, {}, lambda: None)


def test_graphs_keep_their_arrays_and_callable_alive() -> None:
    spec = spec_with()
    tracker = tracker_for(spec)  # nothing else refers to its graphs, arrays or networks
    tracker.init(textured_frame(0), START)
    rubbish = [np.full(1000, np.nan, np.float32) for _ in range(200)]
    assert all(tracker.update(textured_frame(n))[0] for n in range(1, 5))
    assert len(rubbish) == 200
