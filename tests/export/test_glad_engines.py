"""GLAD's built graphs on each engine, behind the compiled loop: recorded maps, and recorded runs."""

from __future__ import annotations

import numpy as np
import pytest
from building import build_files
from glad_case import BOX_PX, CASES, assert_maps, latents, loaded_network, network_inputs
from golden_files import golden

from edgetrack.export.graphs.glad import told_names
from edgetrack.export.models.glad import GLAD
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.targets import TARGETS
from edgetrack.runtime.centre_head import build_centre_head
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.graph_file import GraphFile

pytestmark = pytest.mark.big  # a build takes half a minute and two gigabytes
BUILDS = [(target, name) for name in CASES for target in ("onnx", "openvino")]


@pytest.fixture
def engine_of():
    engines = []

    def open_engine(target):
        engines.append(ENGINES.get(TARGETS[target].engine)("cpu", threads=2))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def built(engine, target, name, folder, *, lively):
    """Files of the frame's graphs, and what the pool graph gives of the recorded feature maps, kept as a pack does."""
    pool, *frame = GLAD.deploy_graphs(CASES[name], loaded_network(name, lively=lively))
    session = engine.open(folder / build_files(target, pool, folder)[0], {})
    for name_of, latent in zip(pool.inputs, latents(), strict=True):
        session.inputs[name_of][...] = latent
    session.run()
    kept = np.float16 if GLAD.text_side(CASES[name]).half else np.float32
    told = {key: session.outputs[key].astype(kept) for key in told_names(3)}
    return {graph.role: GraphFile(folder / build_files(target, graph, folder)[0]) for graph in frame}, told


@pytest.mark.parametrize(("target", "name"), BUILDS)
def test_recorded_run(engine_of, tmp_path, target, name):
    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    engine, vectors = engine_of(target), golden(name)
    files, told = built(engine, target, name, tmp_path, lively=True)
    assert sum(value.nbytes for value in told.values()) < 4_000_000
    tracker = build_centre_head(GLAD.tracker_spec(CASES[name]), files, engine)
    for key, value in told.items():
        tracker.set_told(key, value)
    tracker.init(synth_frame(0), synth_box(0), "rgb")
    for index, expected in enumerate(vectors["lively_boxes"]):
        tracker.update(synth_frame(index + 1), "rgb")
        np.testing.assert_allclose(tracker.raw_box, expected, rtol=0, atol=BOX_PX, err_msg=f"frame {index + 1}")
        assert int(np.argmax(tracker.maps["score"] * vectors["net_window"][0, 0])) == int(
            vectors["lively_state"][index, 2]
        )


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_recorded_maps(engine_of, tmp_path, target):
    engine = engine_of(target)
    files, told = built(engine, target, "glad_b256", tmp_path, lively=False)
    template, search = network_inputs("glad_b256")
    embed, look = (engine.open(files[role].path, {}) for role in ("template", "search"))
    embed.inputs["image"][...] = template
    embed.run()
    for key, value in {"search": search, **told, **embed.outputs}.items():
        look.inputs[key][...] = value
    look.run()
    assert_maps([look.outputs[key] for key in ("score", "size", "offset")], golden("glad_b256"))
