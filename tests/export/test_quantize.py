"""8-bit graphs: how products are written for the quantizer, what Q/DQ pairs stand around, and what calibrates them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetrack.errors import ArtifactError, CalibrationError, InputError
from edgetrack.export.onnx_graph import check_types, infer_types
from edgetrack.export.parity.gate import Silent
from edgetrack.export.precision import CalibrationPlan, quantize, write_typed
from edgetrack.export.precision.products import layers_of, plain_products, total_macs
from edgetrack.export.precision.quantize import insert_pairs, measure_ranges
from edgetrack.export.source import load_source

ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(7)
WEIGHT = RNG.standard_normal((16, 8)).astype(np.float32) * np.logspace(-2, 0, 16, dtype=np.float32)[:, None]


def model_of():
    """h = x @ W^T + b (Gemm); k = K @ h^T (constant on the left); y = h @ k; z = y @ W2; rows of x vary."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="first", transB=1),
        helper.make_node("Transpose", ["h"], ["ht"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["k_weight", "ht"], ["k"], name="keys"),
        helper.make_node("MatMul", ["h", "k"], ["y"], name="attention"),
        helper.make_node("Softmax", ["y"], ["s"], name="softmax"),
        helper.make_node("MatMul", ["s", "h"], ["mixed"], name="mix"),
        helper.make_node("MatMul", ["mixed", "w2"], ["z"], name="last"),
    ]
    constants = {
        "w": WEIGHT,
        "b": RNG.standard_normal(16).astype(np.float32),
        "k_weight": RNG.standard_normal((16, 16)).astype(np.float32),
        "w2": RNG.standard_normal((16, 5)).astype(np.float32),
    }
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", ["rows", 8]), ("z", ["rows", 5]))
    ]
    graph = helper.make_graph(nodes, "g", *ends, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model, x):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def samples(count=6):
    return [{"x": RNG.standard_normal((3 + number % 2, 8)).astype(np.float32)} for number in range(count)]


@pytest.fixture
def plain():
    model = model_of()
    plain_products(model)
    return model


def test_products_are_written_alike_and_give_the_same(plain):
    check_types(plain)
    x = RNG.standard_normal((4, 8)).astype(np.float32)
    layers = layers_of(plain, "search", {"rows": 4})
    assert [(layer.name, layer.macs) for layer in layers] == [
        ("search/first", 4 * 8 * 16),
        ("search/keys", 4 * 16 * 16),
        ("search/last", 4 * 16 * 5),
    ]
    assert total_macs(plain, {"rows": 4}) == 4 * (8 * 16 + 16 * 16 + 4 * 16 + 4 * 16 + 16 * 5)
    assert Counter(node.op_type for node in plain.graph.node) == {"MatMul": 5, "Add": 1, "Transpose": 1, "Softmax": 1}
    assert run(plain, x).shape == (4, 5)


def test_rewriting_changes_no_value():
    model = model_of()
    x = RNG.standard_normal((4, 8)).astype(np.float32)
    expected = run(model, x)
    plain_products(model)
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-5, atol=1e-6)


def quantized(plain, tmp_path, layers):
    path = tmp_path / "plain.onnx"
    onnx.save_model(plain, path)
    return insert_pairs(onnx.load(path), measure_ranges(path, samples()), layers)


def test_pairs_stand_around_the_named_products_alone(plain, tmp_path):
    model = quantized(plain, tmp_path, {"first", "keys"})
    check_types(model)
    producer = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "MatMul":
            kinds = {producer[name].op_type if name in producer else "constant" for name in node.input}
            expected = {"DequantizeLinear"} if node.name in {"first", "keys"} else None
            assert (kinds == expected) if expected else ("DequantizeLinear" not in kinds), node.name
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    weights = [value for value in stored.values() if value.dtype == np.int8 and value.ndim == 2]
    assert len(weights) == 2
    for weight in weights:
        assert (np.abs(weight).max(axis=0) == 127).all(), "every output channel uses its whole range"
    zeros = [stored[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert all((zero == 0).all() and zero.dtype == np.int8 and zero.size == 1 for zero in zeros)
    assert len(zeros) == 2


def test_values_stay_close_and_differ(plain, tmp_path):
    x = samples(1)[0]["x"]
    expected = run(plain, x)
    found = run(quantized(plain, tmp_path, {"first", "keys", "last"}), x)
    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_what_is_quantized_already_is_refused(plain, tmp_path):
    model = quantized(plain, tmp_path, {"first"})
    with pytest.raises(ArtifactError, match="is quantized already"):
        plain_products(model)
    with pytest.raises(ArtifactError, match="is quantized already"):
        insert_pairs(model, None, {"keys"})


def test_no_samples_is_an_error(plain, tmp_path):
    onnx.save_model(plain, tmp_path / "plain.onnx")
    with pytest.raises(CalibrationError, match="no sample to calibrate with"):
        measure_ranges(tmp_path / "plain.onnx", [])


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    """Pico with stand-in weights, calibrated on a few frames of the demo clip: mechanics, not accuracy."""
    source = load_source("fartrack-pico", "stand-in")
    folder = tmp_path_factory.mktemp("calibration")
    return source, quantize(source, CalibrationPlan("demo", frames=6), folder, threads=1, progress=Silent())


@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_pico(pico, tmp_path, precision):
    source, quantization = pico
    search = source.graphs[1]
    typed = write_typed(search, tmp_path, precision, {"a": "b"}, quantization=quantization)
    model = onnx.load(typed.path)
    check_types(model)
    assert {item.key: item.value for item in model.metadata_props} == {"a": "b"}
    assert [value.name for value in model.graph.input] == list(search.inputs)
    assert model.graph.input[1].type.tensor_type.shape.dim[2].dim_param == "kept"
    assert typed.path.stat().st_size < 0.35 * quantization.graphs["search"].path.stat().st_size
    types = infer_types(model)
    product = next(node for node in model.graph.node if "logits" in node.output)
    assert types[product.input[0]] == TensorProto.FLOAT
    name = "matmul" if precision == "int8" else "blocks.0.norm1.layer_norm"
    assert name in typed.islands
    session = ort.InferenceSession(str(typed.path))
    for kept in (37, 49):
        inputs = {
            key: RNG.standard_normal(tuple(value.shape)).astype(np.float32) for key, value in search.inputs.items()
        }
        inputs["old"] = np.repeat(inputs["old"][:, :, :1], kept, axis=2)
        assert all(np.isfinite(out).all() for out in session.run(None, inputs))


def test_layers_that_are_kept_have_no_pairs(pico, tmp_path):
    source, quantization = pico
    first = next(layer for layer in quantization.graphs["search"].layers)
    typed = write_typed(
        source.graphs[1], tmp_path, "int8", {}, quantization=replace(quantization, kept=frozenset({first.name}))
    )
    assert typed.islands == (first.node, "matmul")
    (product,) = (node for node in onnx.load(typed.path).graph.node if node.name == first.node)
    assert first.weight in product.input


def test_calibration_says_what_it_was_made_of(pico):
    _, quantization = pico
    found = quantization.manifest
    assert (found["source"], found["count"], found["seed"], found["clips"]) == ("demo", 6, 0, ["demo_car"])
    assert found["held_out"] == ["demo_car[34:65]"]
    assert len(found["sha256"]) == 64


def test_int8_needs_a_calibration(tmp_path):
    with pytest.raises(InputError, match="precision int8 needs a calibration"):
        write_typed(None, tmp_path, "int8", {})
