"""ONNX models written piece by piece are what onnx itself would write."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgetrack.export.onnx_file import save_model  # noqa: E402


@pytest.mark.parametrize("sizes", [(), (1,), (3, 200), (70_000, 5, 127, 128)])
def test_a_model_is_read_as_it_was(tmp_path, sizes):
    weights = [numpy_helper.from_array(np.arange(n, dtype=np.float32), f"w{i}") for i, n in enumerate(sizes)]
    nodes = [helper.make_node("Identity", ["x"], ["y"], name="n", axis=3)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["kept", 2]) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], producer_name="edgetrack")
    helper.set_model_props(model, {"role": "search", "variant": "ö"})
    path = tmp_path / "model.onnx"
    save_model(model, path)
    assert onnx.load(str(path)) == model
    assert path.stat().st_size == model.ByteSize()
