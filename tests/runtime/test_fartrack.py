"""Which files the FARTrack builder opens, at which sizes, and the manifests it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_artifact

from edgetrack.errors import ArtifactError
from edgetrack.runtime.engine import new_buffer
from edgetrack.runtime.fartrack import build_fartrack
from edgetrack.runtime.tracker import GraphFile

BOX = (40.0, 30.0, 24.0, 24.0)
TOKENS, KEPT = tiny_artifact.TOKENS, tiny_artifact.TOKENS - tiny_artifact.PRUNE
STATIC = {"template": {}, "first": {}, "search": {}}
DYNAMIC = {"template": {}, "search": {"kept": (KEPT, TOKENS)}}


class RecordingSession:
    """Tensors of one graph; `run` notes the graph's name."""

    def __init__(self, engine, name, inputs, outputs):
        self.engine, self.name = engine, name
        self.inputs = {key: new_buffer(shape, np.dtype(np.float32)) for key, shape in inputs.items()}
        self.outputs = {key: new_buffer(shape, np.dtype(np.float32)) for key, shape in outputs.items()}

    def run(self):
        self.engine.runs.append(self.name)
        if "logits" in self.outputs:
            self.outputs["logits"][0, range(4), [17, 17, 23, 23]] = 40.0


class RecordingEngine:
    """Opens graphs by name: static ones have the size they were made for, whatever is asked."""

    def __init__(self, static):
        self.static = static
        self.opened, self.runs = [], []

    def open(self, path, dims):
        self.opened.append((path.name, dict(dims)))
        tokens, channels = tiny_artifact.TOKENS, tiny_artifact.CHANNELS
        if path.name == "template":
            side = tiny_artifact.TEMPLATE_PX
            return RecordingSession(self, path.name, {"image": (1, 3, side, side)}, {"tokens": (1, tokens, channels)})
        kept = {"first": TOKENS, "search": KEPT}[path.name] if self.static else dims["kept"]
        side = tiny_artifact.SEARCH_PX
        inputs = {"search": (1, 3, side, side), "old": (1, 4, kept, channels), "newest": (1, tokens, channels)}
        outputs = {"logits": (1, 4, tiny_artifact.CLASSES), "score": (1, tokens)}
        return RecordingSession(self, path.name, inputs, outputs)


def build(dims, spec=None):
    """Return a tracker over graphs with these symbolic dimensions, and its engine."""
    engine = RecordingEngine(static="first" in dims)
    graphs = {role: GraphFile(Path(role), sizes) for role, sizes in dims.items()}
    return build_fartrack(spec or tiny_artifact.tracker_spec(), graphs, engine), engine


def spec_with_margin(margin):
    return tiny_artifact.tracker_spec() | {"clip_margin_px": margin}


def test_a_first_graph_serves_the_first_frame_alone(frames):
    tracker, engine = build(STATIC)
    tracker.init(frames[0], BOX)
    for frame in frames[1:4]:
        assert tracker.update(frame)[0]
    assert [name for name, _ in engine.opened] == ["template", "first", "search"]
    assert [name for name in engine.runs if name != "template"] == ["first", "search", "search"]


def test_without_one_the_search_graph_is_opened_at_both_sizes(frames):
    tracker, engine = build(DYNAMIC)
    tracker.init(frames[0], BOX)
    assert tracker.update(frames[1])[0]
    assert engine.opened[1:] == [("search", {"kept": TOKENS}), ("search", {"kept": KEPT})]


@pytest.mark.parametrize("sizes", [(KEPT,), (TOKENS,)])
def test_a_size_that_the_manifest_does_not_list_is_refused(sizes):
    with pytest.raises(ArtifactError, match=f"the search graph is made for {sizes[0]} tokens .* export the artifact"):
        build({"template": {}, "search": {"kept": sizes}})


@pytest.mark.parametrize("margin", [0, 0.0, -1, 1001])
def test_a_clip_margin_without_sense_is_refused(margin):
    with pytest.raises(ArtifactError, match=r"clip_margin_px is .*, must be a number"):
        build(DYNAMIC, spec_with_margin(margin))


def test_a_small_clip_margin_is_fine():
    build(DYNAMIC, spec_with_margin(0.5))
