"""MVLM's built graphs on each engine, behind the compiled loop: recorded outputs, and recorded runs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from building import build_files
from golden_files import golden
from mvlm_case import BOX_PX, CASES, MAPS, alt_rules, golden_text, loaded_network, network_inputs

from edgetrack.export.loops.centre_head import hann_window
from edgetrack.export.models.mvlm import MVLM
from edgetrack.export.models.mvlm_net import candidate_boxes
from edgetrack.export.models.mvlm_variants import gate_of
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.targets import TARGETS
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.graph_file import GraphFile
from edgetrack.runtime.mvlm import build_mvlm

pytestmark = pytest.mark.big  # a build takes half a minute and two gigabytes
BUILDS = [(target, name) for target in ("onnx", "openvino") for name in CASES]
BOXES = 5e-6


@pytest.fixture
def built(tmp_path):
    """Builds the graphs of a golden file's network with the second weights; gives engine and files by role."""
    engines = []

    def build(target, name):
        engines.append(ENGINES.get(TARGETS[target].engine)("cpu", threads=2))
        files = {}
        for graph in MVLM.deploy_graphs(CASES[name], loaded_network(name, w2=True)):
            main, *_ = build_files(target, graph, tmp_path)
            files[graph.role] = GraphFile(tmp_path / main)
        return engines[-1], files

    yield build
    for engine in engines:
        engine.close()


@pytest.mark.parametrize(("target", "name"), BUILDS)
def test_recorded_maps_and_run(built, target, name):
    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    engine, files = built(target, name)
    check_maps(engine, files, name)
    check_run(engine, files, name)


def check_maps(engine, files, name) -> None:
    vectors, (search, templates) = golden(name), network_inputs(name)
    session = engine.open(files["search"].path, {})
    session.inputs["search"][...], session.inputs["text"][...] = search, golden_text()
    if templates:
        embed = engine.open(files["template"].path, {})
        for index, template in enumerate(templates):
            embed.inputs["image"][...] = template
            embed.run()
            session.inputs["templates"][0, 49 * index : 49 * (index + 1)] = embed.outputs["tokens"][0]
    session.run()
    maps = {key: torch.from_numpy(vectors[f"net2_{key}_map"])[None] for key in MAPS}
    response = (hann_window(14) * maps["score"]).flatten()
    np.testing.assert_allclose(session.outputs["cls"][0], response, rtol=0, atol=MAPS["score"])
    boxes = candidate_boxes(maps["size"], maps["offset"])
    np.testing.assert_allclose(session.outputs["boxes"][0], boxes, rtol=0, atol=BOXES)


def check_run(engine, files, name) -> None:
    """The loop that changes views and templates, with exact pooling: the reference for what a device runs."""
    vectors, (gate, rule) = golden(name), alt_rules(name)
    spec = copy.deepcopy(MVLM.tracker_spec(CASES[name]))
    spec["gate"] = dict(vars(gate))
    assert gate != gate_of(CASES[name])
    if spec["template"] is not None:
        spec["template"]["update"] = dict(vars(rule))
    tracker = build_mvlm(spec, files, engine)
    tracker.init(synth_frame(0), synth_box(0), "rgb")
    tracker.set_text(golden_text().numpy())
    for index, expected in enumerate(vectors["altx_boxes"]):
        tracker.update(synth_frame(index + 1), "rgb")
        np.testing.assert_allclose(tracker.raw_box, expected, rtol=0, atol=BOX_PX, err_msg=f"frame {index + 1}")
        found = {
            "global": tracker.last_mode == "global",
            "next_global": tracker.mode == "global",
            "top1": tracker.gate["chosen"],
            "nsel": tracker.selected,
            "updated": tracker.updated,
        }
        assert found == {key: vectors[f"altx_{key}"][index] for key in found}
