"""The object users hold: what it passes on, what it refuses, and what it does when its engine fails."""

from __future__ import annotations

import numpy as np
import pytest

import edgetrack
from edgetrack.errors import ArtifactError, EngineUnavailable, InputError
from edgetrack.runtime.engine import new_buffer
from edgetrack.runtime.tracker import FAMILIES, GraphFile, Tracker, build_tracker

tiny_artifact = pytest.importorskip("tiny_artifact")

BOX = (40.0, 30.0, 24.0, 24.0)


class StubSession:
    """Graphs of the test artifact without an engine; `fail` is raised by the next runs."""

    def __init__(self, engine, inputs, outputs):
        self.engine = engine
        self.inputs = {name: new_buffer(shape, np.dtype(np.float32)) for name, shape in inputs.items()}
        self.outputs = {name: new_buffer(shape, np.dtype(np.float32)) for name, shape in outputs.items()}

    def run(self):
        self.engine.runs += 1
        if self.engine.fail is not None:
            raise self.engine.fail
        if "logits" in self.outputs:
            self.outputs["logits"][0, range(4), [17, 17, 23, 23]] = 40.0


class StubEngine:
    name = "stub"

    def __init__(self):
        self.fail = None
        self.runs = 0
        self.opened = []
        self.closed = 0

    def open(self, path, dims):
        self.opened.append((path.name, dict(dims)))
        tokens, channels = tiny_artifact.TOKENS, tiny_artifact.CHANNELS
        if path.name == "template":
            size = tiny_artifact.TEMPLATE_PX
            return StubSession(self, {"image": (1, 3, size, size)}, {"tokens": (1, tokens, channels)})
        size = tiny_artifact.SEARCH_PX
        inputs = {"search": (1, 3, size, size), "old": (1, 4, dims["kept"], channels), "newest": (1, tokens, channels)}
        return StubSession(self, inputs, {"logits": (1, 4, tiny_artifact.CLASSES), "score": (1, tokens)})

    def close(self):
        self.closed += 1


@pytest.fixture
def engine():
    return StubEngine()


@pytest.fixture
def graphs(tmp_path):
    return {role: GraphFile(tmp_path / role) for role in ("template", "search")}


@pytest.fixture
def tracker(engine, graphs):
    return build_tracker(tiny_artifact.tracker_spec(), graphs, engine)


def test_follows(tracker, engine, frames):
    tracker.init(frames[0], BOX)
    assert tracker.box == BOX
    for frame in frames[1:]:
        ok, box = tracker.update(frame)
        assert ok is True
        assert box == tracker.box
        assert all(type(value) is float for value in box)
    assert tracker.state is edgetrack.State.TRACKING
    assert 0.0 <= tracker.score <= 1.0
    assert tracker.getTrackingScore() == tracker.score
    assert set(tracker.timings_ms) == {"crop", "run", "decode", "memory", "total"}
    assert tracker.engine is engine


def test_search_graph_is_opened_at_both_sizes(tracker, engine):
    assert engine.opened == [("template", {}), ("search", {"kept": 4}), ("search", {"kept": 3})]


def test_search_graph_is_opened_once_when_nothing_is_pruned(engine, graphs):
    spec = tiny_artifact.tracker_spec()
    spec["templates"]["prune"] = 0
    build_tracker(spec, graphs, engine)
    assert engine.opened == [("template", {}), ("search", {"kept": 4})]


@pytest.mark.parametrize(
    "box",
    [
        [40, 30, 24, 24],
        (np.int32(40), np.float32(30), 24, 24.0),
        np.array([40, 30, 24, 24], np.int64),
        np.array([40, 30, 24, 24], np.float32),
    ],
)
def test_any_four_numbers_are_a_box(tracker, frames, box):
    tracker.init(frames[0], box)
    assert tracker.box == BOX


@pytest.mark.parametrize(
    "box",
    [None, 5, "1,2,3,4", "1234", (1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, None), np.zeros((2, 2)), ("a", "b", "c", "d")],
)
def test_what_is_no_box(tracker, frames, box):
    with pytest.raises(InputError, match="must be four numbers"):
        tracker.init(frames[0], box)


@pytest.mark.parametrize(
    "box",
    [
        (float("nan"), 0, 10, 10),
        (0, 0, float("inf"), 10),
        (0, 0, 0, 10),
        (0, 0, 10, -1),
        (500, 0, 10, 10),
        (0, -50, 10, 10),
        (1e300, 0, 1e300, 1),
    ],
)
def test_boxes_that_cannot_be_followed(tracker, frames, box):
    with pytest.raises(InputError):
        tracker.init(frames[0], box)


def bad_frames() -> dict[str, object]:
    return {
        "none": None,
        "list": [[0]],
        "float": np.zeros((96, 128, 3), np.float32),
        "int16": np.zeros((96, 128, 3), np.int16),
        "empty": np.zeros((0, 128, 3), np.uint8),
        "flat": np.zeros(96 * 128 * 3, np.uint8),
        "two channels": np.zeros((96, 128, 2), np.uint8),
        "gray": np.zeros((96, 128), np.uint8),
        "four dimensions": np.zeros((1, 96, 128, 3), np.uint8),
    }


@pytest.mark.parametrize("name", bad_frames())
def test_frames_that_cannot_be_used(tracker, frames, name):
    with pytest.raises(InputError) as caught:
        tracker.init(bad_frames()[name], BOX)
    assert "\n" not in str(caught.value)
    tracker.init(frames[0], BOX)
    with pytest.raises(InputError):
        tracker.update(bad_frames()[name])
    assert tracker.update(frames[1])[0]


def test_none_says_that_the_video_may_have_ended(tracker):
    with pytest.raises(InputError, match="None: the video has ended"):
        tracker.init(None, BOX)


def test_unknown_colour(tracker, frames):
    with pytest.raises(InputError, match="cmyk"):
        tracker.init(frames[0], BOX, color="cmyk")


def test_frame_of_another_size(tracker, frames):
    tracker.init(frames[0], BOX)
    with pytest.raises(InputError, match="96"):
        tracker.update(frames[1][:-1])


def test_update_before_init_and_after_reset(tracker, frames):
    with pytest.raises(InputError, match="before init"):
        tracker.update(frames[0])
    tracker.init(frames[0], BOX)
    tracker.reset()
    with pytest.raises(InputError, match="before init"):
        tracker.update(frames[1])


def test_every_use_after_close_is_refused(tracker, engine, frames):
    with tracker as opened:
        assert opened is tracker
        tracker.init(frames[0], BOX)
    tracker.close()
    assert engine.closed == 1
    uses = [
        lambda: tracker.init(frames[0], BOX),
        lambda: tracker.update(frames[0]),
        tracker.reset,
        tracker.getTrackingScore,
        *(
            lambda name=name: getattr(tracker, name)
            for name in ("score", "state", "box", "raw_box", "timings_ms", "core")
        ),
    ]
    for use in uses:
        with pytest.raises(InputError, match="closed"):
            use()


@pytest.mark.parametrize("error", [EngineUnavailable("the device is gone"), KeyboardInterrupt()])
def test_an_engine_that_fails_reaches_the_caller(tracker, engine, frames, error):
    tracker.init(frames[0], BOX)
    engine.fail = error
    with pytest.raises(type(error)):
        tracker.update(frames[1])
    engine.fail = None
    assert tracker.update(frames[2])[0]


def test_unknown_family(graphs, engine):
    with pytest.raises(ArtifactError, match="unknown tracker family 'kalman'; known: centre-head, fartrack"):
        build_tracker({"family": "kalman"}, graphs, engine)
    with pytest.raises(ArtifactError, match="names no family"):
        build_tracker({}, graphs, engine)
    assert "fartrack" in FAMILIES


def test_missing_graph(graphs, engine):
    del graphs["search"]
    with pytest.raises(ArtifactError, match="needs a graph 'search', this has template"):
        build_tracker(tiny_artifact.tracker_spec(), graphs, engine)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("template", "tokens", 0),
        ("template", "tokens", 5),
        ("template", "size", 33),
        ("templates", "prune", 4),
        ("templates", "prune", -1),
        ("templates", "early", "late"),
        ("decode", "bins", 10**9),
        ("decode", "kind", "heatmap"),
        ("score", "radius", -1),
        ("memory", "limit_mib", 0),
    ],
)
def test_a_spec_that_does_not_fit(graphs, engine, section, key, value):
    spec = tiny_artifact.tracker_spec()
    spec[section][key] = value
    with pytest.raises(ArtifactError) as caught:
        build_tracker(spec, graphs, engine)
    assert key in str(caught.value) or "shape" in str(caught.value)


def test_the_public_tracker_is_this_one():
    assert edgetrack.Tracker is Tracker


class ColourCore:
    """Stands in for the compiled core and notes the colours it is given; `bad` ones are refused."""

    raw_box = (1.5, 2.0, 3.0, 4.0)

    def __init__(self):
        self.seen = []

    def init(self, _frame, _box, color):
        if color == "bad":
            raise InputError(color)
        self.seen.append(color)

    def update(self, _frame, color):
        self.seen.append(color)
        return True, (0, 0, 1, 1)


def test_updates_take_the_colour_of_the_last_init(engine, frames):
    core = ColourCore()
    tracker = Tracker(core, engine)
    tracker.init(frames[0], BOX, color="rgb")
    tracker.update(frames[1])
    tracker.update(frames[1], color="bgr")
    with pytest.raises(InputError):
        tracker.init(frames[0], BOX, color="bad")
    tracker.update(frames[1])
    tracker.init(frames[0], BOX)
    tracker.update(frames[1])
    assert core.seen == ["rgb", "rgb", "bgr", "rgb", "bgr", "bgr"]
    assert tracker.raw_box == core.raw_box


def test_gray_frames_need_their_colour_only_once(tracker, frames):
    tracker.init(frames[0][..., 0], BOX, color="gray")
    assert tracker.update(frames[1][..., 0])[0]


def test_raw_box_goes_on_while_the_target_is_lost(engine, graphs, frames):
    spec = tiny_artifact.tracker_spec()
    spec["score"]["calibration"] = {"slope": 1.0, "intercept": -50.0}
    tracker = build_tracker(spec, graphs, engine)
    tracker.init(frames[0], BOX)
    assert tracker.raw_box == BOX
    tracker.update(frames[1])
    assert tracker.state is edgetrack.State.LOST
    assert tracker.box == BOX
    assert tracker.raw_box != BOX
    assert tracker.raw_box == tuple(tracker.core.raw_box)


@pytest.mark.parametrize("box", [(10**400, 0, 5, 5), (0, 0, 5, 10**5000)])
def test_numbers_beyond_a_float_are_no_box(tracker, frames, box):
    with pytest.raises(InputError, match="too large for a float"):
        tracker.init(frames[0], box)


TOKENS_SHAPE = (1, tiny_artifact.TOKENS, tiny_artifact.CHANNELS)
NEWEST = {
    "search": (1, 3, tiny_artifact.SEARCH_PX, tiny_artifact.SEARCH_PX),
    "old": (1, 4, "kept", tiny_artifact.CHANNELS),
    "newest": TOKENS_SHAPE,
}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (NEWEST, {}, None),
        (NEWEST | {"old": (1, 4, "other", 8)}, {}, r"input 'old' of the manifest: dimension 2 is 'other'"),
        (NEWEST | {"newest": (1, 9, 8)}, {}, r"input 'newest' has shape \[1, 4, 8\], the manifest says \[1, 9, 8\]"),
        (NEWEST | {"mask": (1,)}, {}, "inputs are newest, old, search, the manifest says mask, newest"),
        (NEWEST, {"score": (1, 4)}, "outputs are logits, score, the manifest says score;"),
    ],
)
def test_tensors_are_those_of_the_manifest(graphs, engine, inputs, outputs, message):
    graphs["search"] = GraphFile(graphs["search"].path, {"kept": (3, 4)}, inputs, outputs)
    if message is None:
        assert build_tracker(tiny_artifact.tracker_spec(), graphs, engine).engine is engine
        return
    with pytest.raises(ArtifactError, match=message) as caught:
        build_tracker(tiny_artifact.tracker_spec(), graphs, engine)
    assert str(graphs["search"].path) in str(caught.value)
