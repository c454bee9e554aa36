"""Centre-head artifacts from the folder to boxes and candidates, on both engines; the manifests that are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_artifact
import tiny_centre_artifact
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutations import built_or_refused, paths, values

import edgetrack
from edgetrack.artifact import MANIFEST_NAME
from edgetrack.errors import ArtifactError, InputError
from edgetrack.export.parity.loop import ArtifactLoop
from edgetrack.runtime.centre_head import build_centre_head
from edgetrack.runtime.core import CentreHeadTracker, CropLoop, FarTracker
from edgetrack.runtime.engine import new_buffer
from edgetrack.runtime.tracker import FAMILIES, GraphFile, Tracker, build_tracker

pytest.importorskip("onnx")

BOX = (40.0, 30.0, 24.0, 24.0)
SPEC = tiny_centre_artifact.tracker_spec()


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return tiny_centre_artifact.write_artifact(tmp_path / "tiny-centre-onnx-fp32")


def edit(folder: Path, section: str, key: str, value: object) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest[section][key] = value
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


def follow(tracker: Tracker, frames: list[np.ndarray]) -> list[tuple[float, ...]]:
    tracker.init(frames[0], BOX)
    return [tracker.update(frame)[1] for frame in frames[1:]]


def test_both_engines_give_the_same_boxes_and_candidates(artifact, frames):
    boxes, candidates = {}, {}
    for engine in ("onnxruntime", "openvino"):
        pytest.importorskip(engine)
        with edgetrack.load(artifact, engine=engine, threads=1) as tracker:
            assert isinstance(tracker.core, CentreHeadTracker)
            boxes[engine] = follow(tracker, frames)
            candidates[engine] = tracker.candidates(3)
            assert tracker.state is edgetrack.State.TRACKING
            assert tracker.raw_box == tracker.box == candidates[engine][0][0]
            assert tracker.score == candidates[engine][0][1]
    assert len(set(boxes["openvino"])) > 3  # the box moves
    assert np.allclose(boxes["onnxruntime"], boxes["openvino"], rtol=0, atol=1e-3)
    for (first, a), (second, b) in zip(candidates["onnxruntime"], candidates["openvino"], strict=True):
        assert first == pytest.approx(second, abs=1e-3)
        assert a == pytest.approx(b, abs=1e-5)


def test_a_second_target_gets_a_template_of_its_own(artifact, frames):
    with edgetrack.load(artifact) as tracker:
        first = follow(tracker, frames)
        tracker.init(frames[3], (10.0, 60.0, 30.0, 20.0))
        tracker.update(frames[4])
        assert follow(tracker, frames) == first


class StubSession:
    def __init__(self, engine, name, inputs, outputs, dtype=np.float32):
        self.engine, self.name = engine, name
        self.inputs = {key: new_buffer(shape, np.dtype(dtype)) for key, shape in inputs.items()}
        self.outputs = {key: new_buffer(shape, np.dtype(np.float32)) for key, shape in outputs.items()}

    def run(self):
        self.engine.runs.append(self.name)
        if "score" in self.outputs:
            self.outputs["score"][...] = np.linspace(0.4, 0.6, 64, dtype=np.float32).reshape(1, 1, 8, 8)
            self.outputs["size"][...] = 0.25


class StubEngine:
    """Opens the two graphs by name; `given` are the shapes of what the template graph gives."""

    def __init__(self, dtype=np.float32, given=(1, 4, 8)):
        self.dtype, self.given = dtype, given
        self.opened, self.runs, self.closed = [], [], 0

    def open(self, path, dims):
        self.opened.append((path.name, dict(dims)))
        if path.name == "template":
            return StubSession(self, "template", {"image": (1, 3, 32, 32)}, {"tokens": self.given}, self.dtype)
        maps = {name: (1, channels, 8, 8) for name, channels in tiny_centre_artifact.MAPS.items()}
        return StubSession(self, "search", {"search": (1, 3, 48, 48), "tokens": (1, 4, 8)}, maps)

    def close(self):
        self.closed += 1


GRAPHS = {role: GraphFile(Path(role)) for role in ("template", "search")}


def test_each_graph_is_opened_once_and_the_template_runs_once(frames):
    engine = StubEngine()
    tracker = build_tracker(SPEC, GRAPHS, engine)
    follow(tracker, frames)
    assert engine.opened == [("template", {}), ("search", {})]
    assert engine.runs == ["template", *["search"] * 7]
    assert "centre-head" in FAMILIES


def test_candidates_of_the_public_tracker(frames):
    tracker = build_tracker(SPEC, GRAPHS, StubEngine())
    tracker.init(frames[0], BOX)
    assert tracker.candidates(2) == []
    tracker.update(frames[1])
    found = tracker.candidates(10**30)
    assert found == tracker.candidates(np.int64(64)) != []
    box, score = found[0]
    assert box == tracker.raw_box
    assert (type(box), type(score)) == (tuple, float)
    for k in (0, -2, 2.0, "3", None, True):
        with pytest.raises(InputError, match="give a whole number, 1 or more"):
            tracker.candidates(k)
    tracker.close()
    with pytest.raises(InputError, match="closed"):
        tracker.candidates(1)


def test_families_without_candidates_say_so(tmp_path, frames):
    with edgetrack.load(tiny_artifact.write_artifact(tmp_path / "far")) as tracker:
        assert isinstance(tracker.core, FarTracker)
        assert isinstance(tracker.core, CropLoop)
        tracker.init(frames[0], BOX)
        with pytest.raises(InputError, match=r"\(FarTracker\) gives no candidates, only those with a centre head"):
            tracker.candidates(3)


def test_no_history_to_bound(artifact):
    with pytest.raises(InputError, match=r"history_mib is 10, but the tracker of .* keeps no past templates; leave it"):
        edgetrack.load(artifact, history_mib=10)


@pytest.mark.parametrize("missing", ["template", "search"])
def test_missing_graphs(missing):
    graphs = {role: file for role, file in GRAPHS.items() if role != missing}
    with pytest.raises(ArtifactError, match=f"a centre-head tracker needs a graph '{missing}', this has"):
        build_centre_head(SPEC, graphs, StubEngine())


def test_tensors_that_do_not_fit():
    with pytest.raises(ArtifactError, match=r"a graph's tensors do not fit .*float64.*; export the artifact again"):
        build_centre_head(SPEC, GRAPHS, StubEngine(np.float64))
    with pytest.raises(ArtifactError, match=r"input 'tokens' has shape \[1, 4, 8\].* asks for \[1, 5, 8\]"):
        build_centre_head(SPEC, GRAPHS, StubEngine(given=(1, 5, 8)))


@pytest.mark.parametrize("margin", [0, -1, 1001, "10"])
def test_a_clip_margin_without_sense_is_refused(margin):
    with pytest.raises(ArtifactError, match=r"clip_margin_px is .*, must be a number"):
        build_centre_head(SPEC | {"clip_margin_px": margin}, GRAPHS, StubEngine())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(paths(SPEC)), value=values)
@example(path=("search", "factor"), value=2**31)
@example(path=("template", "factor"), value=1000)
def test_a_mutated_tracker_section_works_or_is_an_artifact_error(frames, path, value):
    tracker = built_or_refused(lambda spec: build_tracker(spec, GRAPHS, StubEngine()), SPEC, path, value)
    if tracker is not None:
        assert len(follow(tracker, frames[:3])) == 2


def test_the_parity_gate_can_force_it(artifact, frames):
    with edgetrack.load(artifact) as tracker:
        loop = ArtifactLoop(tracker, SPEC)
        assert loop.forcible
        loop.init(frames[0], BOX)
        assert np.isnan(loop.corners_px()).all()
        loop.set_state((30.0, 20.0, 40.0, 30.0))
        box = loop.update(frames[1])
        x1, y1, x2, y2 = loop.corners_px()
        side = np.ceil(4 * np.sqrt(1200.0))
        assert box[2] == pytest.approx((x2 - x1) * side / 48, abs=1e-4)
        assert box[3] == pytest.approx((y2 - y1) * side / 48, abs=1e-4)
        response = np.sort(tracker.core.maps["score"] * _window(), axis=None)
        assert loop.leads() == pytest.approx([response[-1] - response[-2]] * 4, abs=2**-23)
        assert loop.kept() is None


def _window() -> np.ndarray:
    h = np.hanning(10)[1:-1]
    return np.outer(h, h)
