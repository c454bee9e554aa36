"""The built graphs of the centre-head trackers on each engine: recorded maps, and recorded boxes through the loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from building import build_files
from centre_case import BIG, CASES, ROBUST_PX, assert_maps, loaded_network, network_inputs
from golden_files import golden

from edgetrack.export.loops.centre_head import CentreReference
from edgetrack.export.models import family_of
from edgetrack.export.models.centre_head import CentreMaps, best_box
from edgetrack.export.models.centre_net import CentreOutput
from edgetrack.export.models.centre_variants import shape_of
from edgetrack.export.parity.report import iou
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.targets import TARGETS
from edgetrack.runtime.engines import ENGINES

# A build takes seconds and a gigabyte, so the quick part has one of each kind.
ALWAYS = [("onnx", "ostrack_b256_ce"), ("onnx", "grm_b256")]
BUILDS = [(target, name) for target in ("onnx", "openvino") for name in CASES]
FORCED_IOU = 0.95


class EngineNet:
    """Built graphs in place of the network of the eager loop."""

    def __init__(self, variant, net, folder, target, precision) -> None:
        self.shape = shape_of(variant)
        self.engine = ENGINES.get(TARGETS[target].engine)("cpu", threads=2)
        self.sessions, self.embedded = {}, None
        for graph in family_of(variant).deploy_graphs(variant, net):
            main, *_ = build_files(target, graph, folder, precision)
            self.sessions[graph.role] = self.engine.open(folder / main, {})

    def run(self, role, **inputs):
        session = self.sessions[role]
        for name, value in inputs.items():
            session.inputs[name][...] = value
        session.run()
        return {name: np.array(value) for name, value in session.outputs.items()}

    def __call__(self, template, search) -> CentreOutput:
        if self.embedded is not template:  # once per target
            self.embedded, self.cached = template, self.run("template", image=template.numpy())
        found = self.run("search", search=search.numpy(), **self.cached)
        maps = CentreMaps(*(torch.from_numpy(found[key]) for key in CentreMaps._fields))
        return CentreOutput(maps, best_box(*maps), [])


@pytest.fixture
def built(tmp_path):
    """Builds the graphs of a golden file; the engine is closed after the test."""
    made = []

    def build(name, target, precision="fp32"):
        made.append(EngineNet(CASES[name], loaded_network(name), tmp_path, target, precision))
        return made[-1]

    yield build
    for net in made:
        net.engine.close()


def forced_boxes(net, name, count):
    tracker = CentreReference(net)
    tracker.init(synth_frame(0), synth_box(0))
    for index in range(count):
        tracker.set_state(synth_box(index))
        yield index, tracker.update(synth_frame(index + 1)), tracker.step.gap


@pytest.mark.parametrize(
    ("target", "name"), [pytest.param(*b, marks=() if b in ALWAYS else pytest.mark.big) for b in BUILDS]
)
def test_recorded_maps_and_boxes(built, target, name):
    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    vectors, net = golden(name), built(name, target)
    assert_maps(net(*network_inputs(name)).maps, vectors)
    recorded, robust = vectors["forced_boxes"], vectors["forced_robust"]
    assert robust[0]
    for index, box, _ in forced_boxes(net, name, 1 if (target, name) in ALWAYS else len(recorded)):
        if robust[index]:
            np.testing.assert_allclose(box, recorded[index], rtol=0, atol=ROBUST_PX, err_msg=f"frame {index + 1}")


@pytest.mark.big
@pytest.mark.parametrize("name", [name for name in CASES if name not in BIG])
def test_half_precision_weights_keep_the_boxes(built, name):
    pytest.importorskip("openvino")
    vectors = golden(name)
    net, family = built(name, "openvino", "fp16"), family_of(CASES[name])
    limits = family.thresholds(CASES[name], "fp16")
    assert limits.forced_iou == FORCED_IOU
    judged = 0
    for index, box, _ in forced_boxes(net, name, len(vectors["forced_boxes"])):
        if vectors["forced_response_gap"][index] >= limits.margin:
            judged += 1
            assert iou(box, vectors["forced_boxes"][index]) >= FORCED_IOU
    assert judged >= 6
