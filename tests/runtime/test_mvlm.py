"""MVLM's graphs opened and wired to the compiled core; the manifests that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutations import built_or_refused, paths, values

from edgetrack.errors import ArtifactError, InputError
from edgetrack.export.parity.loop import ArtifactLoop
from edgetrack.runtime.core import MvlmTracker
from edgetrack.runtime.engine import new_buffer
from edgetrack.runtime.mvlm import build_mvlm
from edgetrack.runtime.tracker import FAMILIES, GraphFile, build_tracker

BOX = (40.0, 30.0, 24.0, 24.0)
SPEC: dict[str, Any] = {
    "family": "mvlm",
    "color": "rgb",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "template": {"size": 32, "factor": 2.0, "tokens": 4, "count": 2, "update": {"interval": 2, "above": 0.1}},
    "search": {"size": 48, "factor": 4.0},
    "text": {"tokens": 3, "channels": 8},
    "decode": {"kind": "candidates", "grid": 3},
    "gate": {"alpha": 1.0, "tau": 0.1, "omega": 0.4, "lam": 0.4, "psi": 0.0},
    "clip_margin_px": 10,
    "score": {"kind": "margin", "calibration": None, "uncertain_below": 0.6, "lost_below": 0.55},
}
ALONE = SPEC | {"template": None}
GRAPHS = {role: GraphFile(Path(role)) for role in ("template", "search", "text")}
WORDS = np.full((1, 3, 8), 0.5, np.float32)


class StubSession:
    def __init__(self, engine, name, inputs, outputs):
        self.engine, self.name = engine, name
        self.inputs = {key: new_buffer(shape, np.dtype(np.float32)) for key, shape in inputs.items()}
        self.outputs = {key: new_buffer(shape, np.dtype(np.float32)) for key, shape in outputs.items()}

    def run(self):
        self.engine.runs.append(self.name)
        if "cls" in self.outputs:
            cells = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(9, 2)
            self.outputs["cls"][0] = np.linspace(0.2, 0.6, 9)
            self.outputs["boxes"][0] = np.concatenate([(cells + 0.5) / 3, np.full((9, 2), 0.3)], axis=1)
            self.outputs["sims"][0] = [0, 0, 0, 0, 0.5, 0, 0, 0, 0]


class StubEngine:
    """Opens the graphs by name."""

    def __init__(self, templates=2):
        self.templates, self.opened, self.runs, self.closed = templates, [], [], 0

    def open(self, path, dims):
        self.opened.append((path.name, dict(dims)))
        if path.name == "template":
            return StubSession(self, "template", {"image": (1, 3, 32, 32)}, {"tokens": (1, 4, 8)})
        inputs = {"search": (1, 3, 48, 48), "text": (1, 3, 8)}
        if self.templates:
            inputs["templates"] = (1, 4 * self.templates, 8)
        return StubSession(self, "search", inputs, {"cls": (1, 9), "boxes": (1, 9, 4), "sims": (1, 9)})

    def close(self):
        self.closed += 1


def test_only_what_is_needed_is_opened(frames):
    boxed, alone = StubEngine(), StubEngine(templates=0)
    assert isinstance(build_mvlm(SPEC, GRAPHS, boxed), MvlmTracker)
    assert boxed.opened == [("search", {}), ("template", {})]
    core = build_mvlm(ALONE, {"search": GRAPHS["search"]}, alone)
    assert alone.opened == [("search", {})]
    core.init(frames[0])
    core.set_text(WORDS)
    core.update(frames[1])
    assert (core.gate["chosen"], core.selected, core.last_mode, core.mode) == (4, 1, "global", "local")
    assert alone.runs == ["search"]
    assert "mvlm" in FAMILIES


def test_templates_are_taken_at_init_and_by_the_rule(frames):
    engine = StubEngine()
    core = build_mvlm(SPEC, GRAPHS, engine)
    core.init(frames[0], BOX)
    core.set_text(WORDS)
    for frame in frames[1:5]:
        core.update(frame)
    assert engine.runs == ["template", "search", "search", "template", "search", "search", "template"]


@pytest.mark.parametrize("missing", ["template", "search"])
def test_missing_graphs(missing):
    graphs = {role: file for role, file in GRAPHS.items() if role != missing}
    with pytest.raises(ArtifactError, match=f"a mvlm tracker needs a graph '{missing}', this has"):
        build_mvlm(SPEC, graphs, StubEngine())


def test_a_graph_that_does_not_fit():
    with pytest.raises(ArtifactError, match=r"input 'templates' has shape \[1, 12, 8\].* asks for \[1, 8, 8\]"):
        build_mvlm(SPEC, GRAPHS, StubEngine(templates=3))
    with pytest.raises(ArtifactError, match=r"clip_margin_px is .*, must be a number"):
        build_mvlm(SPEC | {"clip_margin_px": 0}, GRAPHS, StubEngine())


def test_without_the_manifests_part_on_language_there_is_no_sentence(frames):
    tracker = build_tracker(SPEC, GRAPHS, StubEngine())
    tracker.init(frames[0], BOX)
    with pytest.raises(InputError, match="no sentence to follow"):
        tracker.update(frames[1])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(paths(SPEC)), value=values)
@example(path=("search", "factor"), value=2**31)
@example(path=("template",), value=None)
@example(path=("gate", "tau"), value=1)
def test_a_mutated_tracker_section_works_or_is_an_artifact_error(frames, path, value):
    core = built_or_refused(lambda spec: build_mvlm(spec, GRAPHS, StubEngine()), SPEC, path, value)
    if core is None:
        return
    core.init(frames[0], BOX)
    core.set_text(WORDS)
    for frame in frames[1:3]:  # a close crop may be of one colour, and so not count as seen
        x, y, w, h = core.update(frame)[1]
        assert np.isfinite([x, y]).all()
        assert w > 0
        assert h > 0


def test_the_parity_gate_can_force_it(frames):
    tracker = build_tracker(ALONE, GRAPHS, StubEngine(templates=0))
    loop = ArtifactLoop(tracker, ALONE)
    assert loop.forcible
    loop.init(frames[0], BOX)
    tracker.core.set_text(WORDS)
    assert np.isnan(loop.corners_px()).all()
    loop.set_state((30.0, 20.0, 40.0, 30.0))
    loop.update(frames[1])
    assert tracker.core.last_mode == "local"
    assert loop.corners_px() == pytest.approx([48 * 0.35, 48 * 0.35, 48 * 0.65, 48 * 0.65], abs=1e-4)
    # The best other box has margin 0 - 0.5: it would need more than the trusted one has over the threshold.
    assert loop.leads() == pytest.approx([np.tanh(0.5) - 0.1] * 4, abs=1e-6)
    assert loop.kept() is None


def test_thresholds_of_a_tracker(frames):
    tracker = build_tracker(ALONE, GRAPHS, StubEngine(templates=0))
    assert tracker.thresholds == {"tau": 0.1, "omega": 0.4, "lambda": 0.4, "psi": 0.0}
    assert tracker.threshold_ranges["tau"] == (-1.0, 1.0)
    tracker.core.set_text(WORDS)
    tracker.init(frames[0], BOX)
    assert tracker.update(frames[1])[0]
    tracker.set_thresholds({"tau": 0.6})
    assert not tracker.update(frames[2])[0]
    tracker.init(frames[0], BOX)
    assert tracker.thresholds["tau"] == 0.6
    tracker.set_thresholds({"tau": np.float32(0.25), "omega": np.int64(1)})
    assert (tracker.thresholds["tau"], tracker.thresholds["omega"]) == (0.25, 1.0)
    for bad in ("0.5", "xé" * 40, True, None, 10**5000, float("nan"), 1.5):
        with pytest.raises(InputError, match=r"tau is .*, must be a number from -1 to 1"):
            tracker.set_thresholds({"tau": bad})
    with pytest.raises(InputError, match=r"no threshold 'é+"):
        tracker.set_thresholds({"é" * 50: 0.1})
    with pytest.raises(InputError, match="no threshold 'lam'"):
        tracker.set_thresholds({"lam": 0.5})
