"""Products joined for 8-bit kernels: the same values from fewer, wider products."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetrack.export.onnx_graph import check_types
from edgetrack.export.precision import write_typed
from edgetrack.export.precision.joined import join_products
from edgetrack.export.source import load_source

ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(5)


def attention_like():
    """q = x w0 + b0, k = w1 t(x), v = x w2; y = (q k) v, z = x w3 + m: 4 products of x, one of them wide."""
    sizes = {"w0": (6, 4), "w1": (4, 6), "w2": (6, 3), "w3": (6, 200), "b0": (4,), "m": (5, 200)}
    stored = [numpy_helper.from_array(RNG.standard_normal(size, np.float32), name) for name, size in sizes.items()]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "flip", perm=[1, 0]),
        helper.make_node("MatMul", ["x", "w0"], ["q0"], "query"),
        helper.make_node("Add", ["q0", "b0"], ["q"], "query.add"),
        helper.make_node("MatMul", ["w1", "t"], ["k"], "key"),
        helper.make_node("MatMul", ["q", "k"], ["a"], "attend"),
        helper.make_node("MatMul", ["x", "w2"], ["v"], "value"),
        helper.make_node("MatMul", ["a", "v"], ["y"], "pool"),
        helper.make_node("MatMul", ["x", "w3"], ["z0"], "wide"),
        helper.make_node("Add", ["z0", "m"], ["z"], "wide.add"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, (5, 6))],
        [value("y", TensorProto.FLOAT, (5, 3)), value("z", TensorProto.FLOAT, (5, 200))],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model, feeds):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, feeds), strict=True))


def test_narrow_products_of_one_tensor_become_one():
    model = attention_like()
    feeds = {"x": RNG.standard_normal((5, 6), np.float32)}
    before = run(model, feeds)
    join_products(model)
    check_types(model)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds == {"Gemm": 2, "Split": 1, "Transpose": 1, "MatMul": 2, "Add": 1}
    for name, value in run(model, feeds).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-4, atol=1e-5)
    made = {name for node in model.graph.node for name in node.output}
    assert {"q", "k", "v", "a"} <= made  # what comparisons by name need


def test_product_read_by_others_keeps_its_bias_apart():
    model = attention_like()
    model.graph.output.append(helper.make_tensor_value_info("z0", TensorProto.FLOAT, (5, 200)))
    feeds = {"x": RNG.standard_normal((5, 6), np.float32)}
    before = run(model, feeds)
    join_products(model)
    for name, value in run(model, feeds).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-4, atol=1e-5)


def test_fartrack_search_graph_has_one_projection_a_block(tmp_path):
    search = next(item for item in load_source("fartrack-pico", "stand-in").graphs if item.role == "search")
    write_typed(search, tmp_path, "fp32", {})
    path = tmp_path / "search.onnx"
    model = onnx.load(str(path))
    feeds = {name: value.numpy() for name, value in search.inputs.items()}
    before = run(model, feeds)
    join_products(model)
    check_types(model)
    weights = {item.name for item in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights]
    assert all(node.op_type == "Gemm" for node in products)
    blocks = 5  # all but the last: queries, keys and values; the output; two of the perceptron
    last_and_ends = 2 + 2 + 1 + 1  # folded rows and output; perceptron; patches; vocabulary
    assert len(products) == 4 * blocks + last_and_ends
    for name, value in run(model, feeds).items():
        np.testing.assert_allclose(value, before[name], rtol=0, atol=2e-5)
