"""The C++ loop over built graphs, on each engine, against recorded closed loops of the published code."""

from __future__ import annotations

import numpy as np
import pytest
from building import build_files
from fartrack_case import CASES, SPARSE, loaded_network
from golden_files import golden

from edgetrack.export.models import MODELS
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.targets import TARGETS
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.tracker import GraphFile, build_tracker

BOXES_PX = 1e-3
LOGITS = 2e-5
FAMILY = MODELS.get("fartrack")


# Every case on one engine; on the other one sparse and one dense case always, the rest in the slow part.
ALWAYS = [("onnx", name) for name in CASES] + [("openvino", "fartrack_pico"), ("openvino", "fartrack_distill_tiny")]
BUILDS = [
    pytest.param((target, name), marks=() if (target, name) in ALWAYS else pytest.mark.slow)
    for target in ("onnx", "openvino")
    for name in CASES
]


@pytest.fixture(scope="module", params=BUILDS, ids="-".join)
def built(request, tmp_path_factory):
    """A golden case's name and its tracker on one engine."""
    target, name = request.param
    variant, folder = CASES[name], tmp_path_factory.mktemp(f"{name}-{target}")
    files = {}
    for graph in FAMILY.deploy_graphs(variant, loaded_network(name)):
        main, *_ = build_files(target, graph, folder)
        files[graph.role] = GraphFile(folder / main, dict(graph.values))
    engine = ENGINES.get(TARGETS[target].engine)("cpu", threads=2)
    with build_tracker(FAMILY.tracker_spec(variant), files, engine) as tracker:
        yield name, tracker


@pytest.mark.parametrize("kind", ["track", "forced"])
def test_closed_loop(built, kind):
    name, tracker = built
    vectors = golden(name)
    tracker.init(synth_frame(0), synth_box(0), color="rgb")
    for index, expected in enumerate(vectors[f"{kind}_boxes"]):
        if kind == "forced":
            tracker.core.set_state(synth_box(index))
        tracker.update(synth_frame(index + 1), color="rgb")
        np.testing.assert_allclose(tracker.core.raw_box, expected, rtol=0, atol=BOXES_PX, err_msg=f"frame {index + 1}")
        logits = tracker.core.logits
        assert (logits.argmax(-1) == vectors[f"{kind}_argmax"][index]).all()
        recorded = vectors[f"{kind}_logits"][index]
        np.testing.assert_allclose(logits[:, ::5] if kind == "track" else logits, recorded, rtol=0, atol=LOGITS)
        assert tracker.core.slots == list(vectors[f"{kind}_template_index"][index])
        if name in SPARSE:
            assert (tracker.core.mask == vectors[f"{kind}_mask25"][index]).all()


def test_a_second_target_starts_afresh(built):
    name, tracker = built
    boxes = []
    for _ in range(2):
        tracker.init(synth_frame(0), synth_box(0), color="rgb")
        boxes.append([tracker.update(synth_frame(index), color="rgb") for index in (1, 2, 3)])
    assert boxes[0] == boxes[1]
    assert np.abs(np.subtract(tracker.core.raw_box, golden(name)["track_boxes"][2])).max() < BOXES_PX
