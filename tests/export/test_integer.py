"""8-bit products in ONNX Runtime's own forms: fewer and wider, with the typed graph's values."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetrack.errors import ArtifactError
from edgetrack.export.precision.integer import FORMS, to_dynamic, to_static
from edgetrack.export.precision.products import plain_products
from edgetrack.export.precision.quantize import insert_pairs, measure_ranges

ort = pytest.importorskip("onnxruntime")

OUTPUTS = {"q": (5, 4), "k": (4, 5), "v": (5, 3), "z": (5, 200), "y": (5, 5)}


def feeds(seed=7):
    return {"x": np.random.default_rng(seed).standard_normal((5, 6)).astype(np.float32)}


@pytest.fixture
def typed(tmp_path):
    """Typed int8: q = x w0 + b0, k = w1 t(x), v = x w2, z = x w3 + m (no vector), y = q k (no weight)."""
    rng = np.random.default_rng(5)
    sizes = {"w0": (6, 4), "w1": (4, 6), "w2": (6, 3), "w3": (6, 200), "b0": (4,), "m": (5, 200)}
    stored = [
        numpy_helper.from_array(rng.standard_normal(size).astype(np.float32), name) for name, size in sizes.items()
    ]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "flip", perm=[1, 0]),
        helper.make_node("MatMul", ["x", "w0"], ["q0"], "query"),
        helper.make_node("Add", ["q0", "b0"], ["q"], "query.add"),
        helper.make_node("MatMul", ["w1", "t"], ["k"], "key"),
        helper.make_node("MatMul", ["x", "w2"], ["v"], "value"),
        helper.make_node("MatMul", ["x", "w3"], ["z0"], "wide"),
        helper.make_node("Add", ["z0", "m"], ["z"], "wide.add"),
        helper.make_node("MatMul", ["q", "k"], ["y"], "attend"),
    ]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in OUTPUTS.items()}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (5, 6))], list(values.values()), stored
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    plain_products(model)
    path = tmp_path / "g.onnx"
    onnx.save(model, str(path))
    return insert_pairs(model, measure_ranges(path, [feeds()]), {"query", "key", "value", "wide"})


def run(model, arrays, optimised=None):
    options = ort.SessionOptions()
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, arrays), strict=True))


def kinds(path):
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


def steps(model):
    """The activation's step, and the weights' per output of each product, as the typed graph has them."""
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    made = {node.output[0]: node for node in model.graph.node}
    found = {}
    for node in model.graph.node:
        pair, weight = (made.get(name) for name in node.input[:2]) if len(node.input) > 1 else (None, None)
        if node.op_type == "MatMul" and weight is not None and weight.op_type == "DequantizeLinear":
            number, scale = (stored[name] for name in weight.input[:2])
            found[node.name] = float(stored[pair.input[1]]), number.astype(np.float64) * scale, scale
    return found


def test_static_has_the_values_of_the_typed_graph(typed, tmp_path):
    expected, known = run(typed, feeds()), steps(typed)
    to_static(typed)
    found = run(typed, feeds(), tmp_path / "o.onnx")
    assert kinds(tmp_path / "o.onnx")["QGemm"] == 2  # query, key and value in one; the wide one
    for name in ("k", "v", "z"):  # products of integers, without a bias: the same but for the order of float sums
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
    step, _, scale = known["query"]
    assert np.abs(found["q"] - expected["q"]).max() <= 0.5 * step * scale.max() + 1e-5  # its bias is rounded


def test_dynamic_rounds_no_more_than_its_own_range_says(typed, tmp_path):
    known, bias = steps(typed), numpy_helper.to_array(next(i for i in typed.graph.initializer if i.name == "b0"))
    to_dynamic(typed)
    arrays = {"x": 100 * feeds(8)["x"]}  # far beyond the calibrated range: nothing may saturate
    found = run(typed, arrays, tmp_path / "o.onnx")
    made = kinds(tmp_path / "o.onnx")  # two products of one tensor: its rounding may be shared
    assert made["DynamicQuantizeMatMul"] + made["MatMulIntegerToFloat"] == 2
    assert made["MatMul"] == 1  # of two activations
    x = arrays["x"].astype(np.float64)
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    for name, node, offset in (("q", "query", bias), ("v", "value", 0)):
        weight = known[node][1]
        bound = step * np.abs(weight).sum(0) * 0.51 + 1e-3
        assert (np.abs(found[name] - (x @ weight + offset)) <= bound).all()


@pytest.mark.parametrize("form", FORMS)
def test_names_of_tensors_stay_and_nothing_is_left_behind(typed, form):
    FORMS[form](typed)
    made = {name for node in typed.graph.node for name in node.output}
    assert set(OUTPUTS) <= made
    read = {name for node in typed.graph.node for name in node.input} | set(OUTPUTS)
    assert {item.name for item in typed.graph.initializer} <= read
    assert made <= read
    types = {node.op_type for node in typed.graph.node}
    assert ("QuantizeLinear" in types) == (form == "static")


@pytest.mark.parametrize("form", FORMS)
def test_product_that_is_read_before_its_bias_keeps_it_apart(typed, form):
    typed.graph.output.append(helper.make_tensor_value_info("q0", TensorProto.FLOAT, (5, 4)))
    bias = numpy_helper.to_array(next(item for item in typed.graph.initializer if item.name == "b0"))
    FORMS[form](typed)
    found = run(typed, feeds())
    np.testing.assert_allclose(found["q"], found["q0"] + bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_float_graph_stays_as_it_is(form):
    make = helper.make_node("MatMul", ["x", "w"], ["y"], "n")
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    graph = helper.make_graph(
        [make], "g", [value("x", TensorProto.FLOAT, (2, 3))], [value("y", TensorProto.FLOAT, (2, 3))], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    before = model.SerializeToString()
    FORMS[form](model)
    assert model.SerializeToString() == before


def test_broken_graph(typed):
    typed.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ArtifactError, match="breaks a rule of ONNX"):
        to_static(typed)
