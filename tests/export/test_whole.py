"""Graphs of integers throughout: what is quantized how, that sizes stay open, and that the values stay near."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetrack.errors import ArtifactError, CalibrationError
from edgetrack.export.precision.whole import quantize_whole

ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(3)
WEIGHT = RNG.standard_normal((8, 16)).astype(np.float32) * np.logspace(-2, 0, 16, dtype=np.float32)


def write_plain(path):
    """y = softmax(gelu(layer_norm(x) @ W)) with rows that vary."""
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["n"], "norm", epsilon=1e-6),
        helper.make_node("MatMul", ["n", "w"], ["h"], "product"),
        helper.make_node("Gelu", ["h"], ["g"], "gelu"),
        helper.make_node("Softmax", ["g"], ["y"], "softmax"),
    ]
    constants = {"scale": np.linspace(0.5, 1.5, 8), "bias": np.linspace(-0.1, 0.1, 8), "w": WEIGHT}
    graph = helper.make_graph(
        nodes,
        "search",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "rows", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "rows", 16])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def samples():
    return [{"x": RNG.standard_normal((1, rows, 8)).astype(np.float32)} for rows in (3, 5, 3)]


@pytest.fixture
def plain(tmp_path):
    write_plain(tmp_path / "search.onnx")
    return tmp_path / "search.onnx"


def test_everything_is_quantized(plain):
    model = quantize_whole(plain, samples())
    stored = {item.name: item for item in model.graph.initializer}
    producer = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        assert all(producer[name].op_type == "DequantizeLinear" for name in node.input), node.name
        (reader,) = (other for other in model.graph.node if node.output[0] in other.input)
        assert reader.op_type == "QuantizeLinear"
        assert stored[reader.input[2]].data_type == TensorProto.UINT16
    weight = producer[next(node for node in model.graph.node if node.name == "product").input[1]]
    assert stored[weight.input[0]].data_type == TensorProto.INT8
    assert list(stored[weight.input[1]].dims) == [16]
    gain = producer[next(node for node in model.graph.node if node.name == "norm").input[1]]
    assert stored[gain.input[0]].data_type == TensorProto.UINT8


def test_sizes_stay_open_and_values_near(plain):
    given = samples()
    model = quantize_whole(plain, given)
    assert [value.name for value in model.graph.input] == ["x"]
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    whole, exact = (ort.InferenceSession(data) for data in (model.SerializeToString(), plain.read_bytes()))
    for sample in given:
        found, expected = (session.run(None, sample)[0] for session in (whole, exact))
        # A product of 8 factors with weights within half a step of 127: its error in steps moves a softmax by less.
        step = np.abs(WEIGHT).max() / 127
        np.testing.assert_allclose(found, expected, rtol=0, atol=8 * 0.5 * step)
        assert np.abs(found - expected).max() > 0


def test_products_that_boxes_need_finer_get_weights_of_16_bits(plain):
    model = quantize_whole(plain, samples(), {"product"})
    stored = {item.name: item for item in model.graph.initializer}
    producer = {name: node for node in model.graph.node for name in node.output}
    weight = producer[next(node for node in model.graph.node if node.name == "product").input[1]]
    assert stored[weight.input[0]].data_type == TensorProto.INT16
    values, steps = (numpy_helper.to_array(stored[name]) for name in weight.input[:2])
    assert steps.shape == (16,)
    # Half a step, of 32767 to the largest of the column, and a float32 rounding.
    assert (np.abs(values * steps - WEIGHT) <= 0.51 * np.abs(WEIGHT).max(0) / 32767).all()


def test_bad_calibration(plain, tmp_path):
    with pytest.raises(CalibrationError, match="no sample to calibrate with"):
        quantize_whole(plain, [])
    twice = tmp_path / "twice.onnx"
    onnx.save(quantize_whole(plain, samples()), twice)
    with pytest.raises(ArtifactError, match="is quantized already"):
        quantize_whole(twice, samples())
