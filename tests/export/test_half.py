"""Half precision: what a typed graph of float16 holds, on a graph small enough to look at, and on Pico's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetrack.errors import ArtifactError, InputError
from edgetrack.export.onnx_graph import check_types, infer_types
from edgetrack.export.precision import write_typed
from edgetrack.export.precision.half import to_half

ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(3)


def model_of(nodes, inputs, outputs, constants):
    """A model with float32 inputs and outputs (name -> shape), and constants (name -> array)."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", *values, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=f"n_{output}", **attributes)


def small(weight=None, epsilon=1e-3):
    """x @ w0 -> relu -> @ w1 -> + epsilon -> relu -> @ w2 -> + bias = y; softmax of the middle, its top 2 = best."""
    nodes = [
        node("MatMul", "x w0", "p"),
        node("Relu", "p", "q"),
        node("MatMul", "q w1", "a"),
        node("Add", "a epsilon", "b"),
        node("Relu", "b", "c"),
        node("MatMul", "c w2", "d"),
        node("Add", "d bias", "y"),
        node("Softmax", "c", "s"),
        node("Slice", "s zero two zero", "t"),
        node("ReduceSum", "t one", "best", keepdims=0),
    ]
    constants = {
        "w0": (0.1 * RNG.standard_normal((8, 8))).astype(np.float32),
        "w1": RNG.standard_normal((8, 40)).astype(np.float32) if weight is None else weight,
        "w2": RNG.standard_normal((40, 30)).astype(np.float32),
        "bias": RNG.standard_normal(30).astype(np.float32),
        "epsilon": np.float32(epsilon),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
    }
    return model_of(nodes, {"x": (4, 8)}, {"y": (4, 30), "best": (2,)}, constants)


def run(model, x):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})


def test_islands_reach_from_the_last_product_to_the_outputs_without_a_cast_inside():
    model, islands = to_half(small())
    check_types(model)
    assert islands == ("n_p", "n_d", "n_y", "n_s", "n_t", "n_best"), "the first product reads the picture"
    types = infer_types(model)
    assert {types[name] for name in ("x", "p", "d", "y", "s", "t", "best")} == {TensorProto.FLOAT}
    assert {types[name] for name in ("q", "a", "b", "c")} == {TensorProto.FLOAT16}
    casts = Counter(item.input[0] for item in model.graph.node if item.op_type == "Cast")
    assert casts == {"p": 1, "c": 1, "w2": 1}, "one cast where a value crosses, and one of the large weight"
    stored = {item.name: item.data_type for item in model.graph.initializer}
    assert stored["w1"] == stored["w2"] == stored["epsilon"] == TensorProto.FLOAT16
    assert stored["bias_fp32"] == TensorProto.FLOAT
    x = RNG.standard_normal((4, 8)).astype(np.float32)
    assert [out.dtype for out in run(model, x)] == [np.float32] * 2


def test_every_node_has_inputs_of_one_type():
    """What strongly typed engines ask for; ONNX's own check must see it too."""
    model, _ = to_half(small())
    types = infer_types(model)
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16}
    for item in model.graph.node:
        assert len({types[name] for name in item.input} & floats) <= 1, item.name
    next(item for item in model.graph.node if item.name == "n_y").input[0] = "c"
    with pytest.raises(ArtifactError, match="breaks a rule of ONNX"):
        check_types(model)


def test_outputs_that_are_features_end_in_half_precision():
    model, islands = to_half(small(), features=("y",))
    check_types(model)
    assert islands == ("n_p", "n_s", "n_t", "n_best")
    assert [value.type.tensor_type.elem_type for value in model.graph.output] == [TensorProto.FLOAT] * 2
    assert run(model, np.zeros((4, 8), np.float32))[0].dtype == np.float32


def test_values_are_those_of_the_float32_graph():
    weight = RNG.standard_normal((8, 40)).astype(np.float32)
    generator = np.random.default_rng(9)
    x = generator.standard_normal((4, 8)).astype(np.float32)
    plain = small(weight)
    expected = run(plain, x)
    model, _ = to_half(plain)
    found = run(model, x)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-3 * np.abs(b).max())
    assert (found[0] != expected[0]).any(), "nothing was rounded"


def test_constants_that_half_precision_cannot_hold():
    _, islands = to_half(small(epsilon=1e-6))
    assert "n_b" in islands, "an epsilon that would round away keeps its addition in float32"
    model, islands = to_half(small(epsilon=-1e9))
    assert "n_b" not in islands
    (epsilon,) = (numpy_helper.to_array(item) for item in model.graph.initializer if item.name == "epsilon")
    assert epsilon == np.float16(-65504), "a mask's constant stays finite"
    with pytest.raises(ArtifactError, match="w1 has values up to 70000, float16 ends at 65504"):
        to_half(small(weight=np.full((8, 40), 7e4, np.float32)))


def test_decisions_inside_a_graph_are_made_in_float32():
    nodes = [
        node("MatMul", "x w", "a"),
        node("Abs", "a", "b"),
        helper.make_node("TopK", ["b", "k"], ["v", "i"], name="n_v"),
        node("Gather", "x i0", "y"),
        node("Slice", "i zero one", "i1"),
        node("Squeeze", "i1 zero", "i0"),
    ]
    nodes = [*nodes[:3], nodes[4], nodes[5], nodes[3]]
    constants = {name: np.array([value], np.int64) for name, value in (("k", 1), ("zero", 0), ("one", 1))}
    constants["w"] = RNG.standard_normal((8, 8)).astype(np.float32)
    model, islands = to_half(model_of(nodes, {"x": (4, 8)}, {"y": (1, 8)}, constants), features=("y",))
    check_types(model)
    assert islands == ("n_a", "n_b", "n_v")


def test_there_are_no_other_precisions(tmp_path):
    with pytest.raises(InputError, match="no typed graph of precision 'fp8'"):
        write_typed(None, tmp_path, "fp8", {})


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    from fartrack_case import loaded_network

    from edgetrack.export.models import MODELS

    folder = tmp_path_factory.mktemp("half")
    graphs = MODELS.get("fartrack").deploy_graphs("fartrack-pico", loaded_network("fartrack_pico"))
    return [write_typed(graph, folder, "fp16", {}) for graph in graphs]


def test_pico(pico):
    template, search = pico
    assert template.islands[-1] == "embed.matmul", "what reads the pixels, and nothing after it"
    norms = [name for name in search.islands if name.endswith("layer_norm")]
    assert len(norms) == 2 * 6 + 1
    assert "blocks.0.norm1.layer_norm" in norms
    assert sum("softmax" in name for name in search.islands) == 3 * 5 + 1
    assert search.path.stat().st_size < 6.3e6
    model = onnx.load(search.path)
    assert {item.data_type for item in model.graph.initializer if np.prod(item.dims) > 1024} == {TensorProto.FLOAT16}
    types = infer_types(model)
    logits = next(item for item in model.graph.node if "logits" in item.output)
    assert {types[name] for name in logits.input if types[name] != TensorProto.INT64} == {TensorProto.FLOAT}
