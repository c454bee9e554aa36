"""Pico on the emulated HTP: its outputs and boxes against the CPU's run of the same Q/DQ graphs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetrack.demo import WEIGHTS
from edgetrack.export.parity.clip import demo_clip
from edgetrack.export.parity.gate import Silent
from edgetrack.export.parity.report import iou
from edgetrack.export.precision import CalibrationPlan, quantize, write_typed
from edgetrack.export.precision.loops import open_loop, track
from edgetrack.export.source import load_source
from edgetrack.export.targets import target_of, writer_of
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.graph_file import GraphFile
from edgetrack.runtime.tracker import build_tracker

pytest.importorskip("onnxruntime_qnn", reason="no onnxruntime-qnn for this Python and system")
import qnn_case

NAME = "fartrack-pico"


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    """The source, and by role the Q/DQ file and the main file compiled from it for HTP v73."""
    folder = tmp_path_factory.mktemp("pico")
    source = load_source(NAME, WEIGHTS[NAME])
    quantization = quantize(source, CalibrationPlan("demo", frames=32), folder, threads=1, progress=Silent())
    writer = writer_of("qnn", target_of("qnn").check_options({"htp-arch": "73"}))
    (folder / "built").mkdir()
    typed, built = {}, {}
    for graph in source.graphs:
        made = write_typed(graph, folder, "w8a16", {}, asked="int8", quantization=quantization)
        typed[graph.role] = made.path
        built[graph.role] = folder / "built" / writer.write(made, folder / "built")[0]
    return source, typed, built


def output_scales(path):
    """Return output name -> scale of the Q/DQ pair that gives it."""
    graph = onnx.load(path).graph
    stored = {item.name: item for item in graph.initializer}
    names = {value.name for value in graph.output}
    return {
        node.output[0]: float(numpy_helper.to_array(stored[node.input[1]]))
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.output[0] in names
    }


@pytest.mark.big
def test_emulated_outputs_are_those_of_the_cpu(pico):
    """One 8-bit step of an output (256 of its 16-bit ones) per layer that it went through.

    The CPU rounds to every pair's grid and computes between in float32; the HTP computes in integers, with its own
    approximations of softmax, GELU and LayerNorm. Weights have 8 bits, so that is what a layer is held to, and the
    differences of the layers add up along the residual sums. Activations of 8 bits would be outside of this.
    """
    source, typed, built = pico
    engine = ENGINES.get("qnn")("htp-emulator")
    clip = demo_clip()
    seen = set()
    for role, inputs in source.family.parity_inputs(NAME, source.net, clip.head(4), clip.box):
        dims = {"kept": inputs["old"].shape[2]} if role == "search" else {}
        layers = source.variant.depth if role == "search" else 1
        expected, scales = qnn_case.run_on_cpu(typed[role], inputs), output_scales(typed[role])
        assert set(scales) == set(expected)
        session = engine.open(built[role], dims)
        for name, value in inputs.items():
            session.inputs[name][:] = value
        session.run()
        for name, value in expected.items():
            found, step = session.outputs[name], 256 * scales[name]
            print(role, dims, name, "furthest apart, in 8-bit steps:", np.abs(found - value).max() / step)
            assert np.ptp(value) > 4 * layers * step
            np.testing.assert_allclose(found, value, rtol=0, atol=layers * step)
            seen.add((role, *dims.values(), name))
    assert seen == {
        ("template", "tokens"),
        *(("search", kept, name) for kept in (37, 49) for name in ("logits", "score")),
    }


@pytest.mark.big
def test_emulated_boxes_are_those_of_the_cpu(pico):
    """In the closed loop over eight frames: mean overlap 0.95, as asked of int8 with trained weights."""
    source, typed, built = pico
    spec, clip = source.family.tracker_spec(NAME), demo_clip()
    frames = clip.head(9)
    with open_loop(spec, source.graphs, typed, threads=1) as tracker:
        expected = list(track(tracker, iter(frames), clip.box))
    files = {graph.role: GraphFile(built[graph.role], dict(graph.values)) for graph in source.graphs}
    with build_tracker(spec, files, ENGINES.get("qnn")("htp-emulator")) as tracker:
        found = list(track(tracker, iter(frames), clip.box))
    assert len(found) == len(expected) == 8
    overlaps = [iou(one.tolist(), other.tolist()) for one, other in zip(found, expected, strict=True)]
    print("overlaps:", overlaps, "px:", np.abs(np.subtract(found, expected)).max())
    assert np.mean(overlaps) >= 0.95
    assert np.abs(expected[-1] - np.array(clip.box)).max() > 1
