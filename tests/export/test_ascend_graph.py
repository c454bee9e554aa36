"""Graphs for ATC: lowered to opset 13 they compute the same; the check finds what is not in ATC's list."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetrack.errors import ArtifactError
from edgetrack.export.targets.ascend_atc import PRECISION_MODES
from edgetrack.export.targets.ascend_graph import OPSET, input_shapes, lower, tensor_types
from edgetrack.export.targets.ascend_operators import KEEP_PRECISION, OPERATORS, check_operators

TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}
RNG = np.random.default_rng(0)
W, B = RNG.standard_normal((6, 6)).astype(np.float32), RNG.standard_normal(6).astype(np.float32)


def model_of(nodes, shape, output, constants=None, opset=20, dtype=np.float32, output_dtype=None):
    """One graph x -> y."""
    x = helper.make_tensor_value_info("x", TYPES[np.dtype(dtype)], shape)
    y = helper.make_tensor_value_info("y", output_dtype or TYPES[np.dtype(dtype)], output)
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, x):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def node(op_type, *inputs, **attributes):
    return helper.make_node(op_type, ["x", *inputs], ["y"], name="it", **attributes)


CASES = {
    "LayerNormalization": (
        node("LayerNormalization", "w", "b", axis=-1, epsilon=1e-3),
        {"w": W[0], "b": B},
        {"ReduceMean", "Sub", "Pow", "Add", "Sqrt", "Div", "Mul"},
    ),
    "LayerNormalization without bias": (
        node("LayerNormalization", "w", axis=1),
        {"w": W[0]},
        {"ReduceMean", "Sub", "Pow", "Add", "Sqrt", "Div", "Mul"},
    ),
    "Gelu": (node("Gelu"), {}, {"Div", "Erf", "Add", "Mul"}),
    "Gemm": (node("Gemm", "w", "b", transB=1), {"w": W, "b": B}, {"Gemm", "Add"}),
    "Gemm without bias": (node("Gemm", "w"), {"w": W}, {"Gemm"}),
    "MatMul": (node("MatMul", "w"), {"w": W}, {"Gemm"}),
    "Gather": (node("Gather", "i", axis=1), {"i": np.array([0, -1, -6, 5, 2, -2])}, {"Gather"}),
    "Cast": (node("Cast", to=TensorProto.FLOAT, saturate=1), {}, {"Cast"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_lowered_nodes_compute_the_same(case, dtype):
    made, constants, expected = CASES[case]
    constants = {name: value.astype(dtype) if value.dtype == np.float32 else value for name, value in constants.items()}
    result = TensorProto.FLOAT if case == "Cast" else None
    model = model_of([made], ["n", 6], ["n", 6], constants, dtype=dtype, output_dtype=result)
    before = model.SerializeToString()
    lowered = lower(model, {"n": 4})
    assert model.SerializeToString() == before, "the typed graph itself must stay"
    kinds = {item.op_type for item in lowered.graph.node}
    assert kinds - {"Cast"} == expected - {"Cast"}
    assert "Cast" not in kinds or case == "Cast" or (dtype == np.float16 and "Layer" in case)
    assert [item.version for item in lowered.opset_import] == [OPSET]
    assert input_shapes(lowered) == {"x": (4, 6)}
    x = RNG.standard_normal((4, 6)).astype(dtype)
    limit = 1e-5 if dtype == np.float32 else 1e-2
    np.testing.assert_allclose(run(lowered, x), run(model, x), rtol=limit, atol=limit)
    assert check_operators(lowered, "search", KEEP_PRECISION) == len(lowered.graph.node)


def test_large_float16_values_do_not_overflow_in_the_lowered_norm():
    """Squares of half floats above 256 would; LayerNormalization computes in float32 (its stash_type)."""
    constants = {"w": np.ones(6, np.float16), "b": np.zeros(6, np.float16)}
    model = model_of([node("LayerNormalization", "w", "b", axis=-1)], [2, 6], [2, 6], constants, dtype=np.float16)
    x = (RNG.standard_normal((2, 6)) * 2000).astype(np.float16)
    np.testing.assert_allclose(run(lower(model, {}), x), run(model, x), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ["ReduceMean", "ReduceMax", "ReduceL2"])
def test_axes_become_an_attribute(kind):
    model = model_of([node(kind, "axes", keepdims=0)], [3, 6], [3], {"axes": np.array([1])})
    lowered = lower(model, {})
    x = RNG.standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(run(lowered, x), run(model, x), rtol=1e-6)
    assert [list(item.attribute[0].ints) for item in lowered.graph.node] == [[1]]


def test_parts_of_a_split_and_inserted_axes_are_named_by_size():
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], name="split", axis=1, num_outputs=2),
        helper.make_node("Unsqueeze", ["b", "axes"], ["c"], name="up"),
        helper.make_node("Squeeze", ["c", "axes"], ["d"], name="down"),
        helper.make_node("Concat", ["d", "a"], ["y"], name="cat", axis=1),
    ]
    model = model_of(nodes, [3, 6], [3, 6], {"axes": np.array([0])})
    lowered = lower(model, {})
    assert [item.op_type for item in lowered.graph.node] == ["Split", "Reshape", "Reshape", "Concat"]
    x = RNG.standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(lowered, x), run(model, x))
    assert set(tensor_types(lowered)) >= {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (node("Gelu", approximate="tanh"), "Gelu 'it' is the approximation by tanh"),
        (node("Gemm", "w", alpha=2.0), "Gemm 'it' has factors alpha or beta"),
        (node("LayerNormalization", "w", axis=0), "LayerNormalization 'it' normalises more than the last axis"),
    ],
)
def test_forms_that_have_no_lowering_are_named(made, words):
    constants = {"w": W} if len(made.input) > 1 else {}
    with pytest.raises(ArtifactError, match=words):
        lower(model_of([made], [6, 6], [1, 1] if made.op_type == "ReduceMean" else [6, 6], constants), {})


def test_a_size_without_a_value_is_named():
    with pytest.raises(ArtifactError, match="no fixed shape"):
        lower(model_of([node("Unsqueeze", "axes")], ["n", 6], [1, "n", 6], {"axes": np.array([0])}), {"other": 3})
    loose = lower(model_of([node("Relu")], ["n", 6], ["n", 6]), {})
    with pytest.raises(ArtifactError, match="graph search would not convert: Relu 'it' has a tensor without a fixed"):
        check_operators(loose, "search", KEEP_PRECISION)


def refused(model, mode=KEEP_PRECISION):
    with pytest.raises(ArtifactError) as caught:
        check_operators(model, "search", mode)
    return str(caught.value)


def conv(shape=(1, 3, 8, 8), dtype=np.float16, **attributes):
    kernel = np.zeros((4, shape[1] // attributes.get("group", 1), 3, 3), dtype)
    made = node("Conv", "w", **attributes)
    model = model_of([made], shape, [None] * 4, {"w": kernel}, OPSET, dtype)
    model.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(model).graph.output[0])
    return model


def test_operators_that_are_not_in_the_list():
    assert "no Hardmax 'it'" in refused(model_of([node("Hardmax")], [2, 6], [2, 6], opset=OPSET))
    twice = [
        helper.make_node("Hardmax", ["x"], ["z"], name="first"),
        helper.make_node("Hardmax", ["z"], ["y"], name="b"),
    ]
    assert refused(model_of(twice, [2, 6], [2, 6], opset=OPSET)).endswith("(and 1 nodes more)")
    foreign = model_of([node("Relu")], [2, 6], [2, 6], opset=OPSET)
    foreign.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "has opset com.microsoft 1, must be 13" in refused(foreign)
    new = model_of([node("Relu")], [2, 6], [2, 6], opset=17)
    assert "has opset ai.onnx 17, must be 13" in refused(new)


def test_types_that_are_not_in_the_list():
    bfloat = model_of(
        [node("Cast", to=TensorProto.BFLOAT16)], [2, 6], [2, 6], opset=OPSET, output_dtype=TensorProto.BFLOAT16
    )
    bfloat.graph.node.append(helper.make_node("Relu", ["y"], ["z"], name="later"))
    assert "Relu 'later' takes bfloat16, ATC's list has float, float16" in refused(bfloat)


def batched(dtype):
    return model_of([node("MatMul", "w")], [2, 6, 6], [2, 6, 6], {"w": np.stack([W, W]).astype(dtype)}, OPSET, dtype)


@pytest.mark.parametrize("model", [batched(np.float32), conv(dtype=np.float32)], ids=["MatMul", "Conv"])
def test_float32_products_need_a_precision_mode_that_lowers_them(model):
    told = refused(model)
    assert "takes float32, which ATC's list does not have at must_keep_origin_dtype" in told
    assert "--precision fp16 --precision-mode allow_fp32_to_fp16" in told
    for mode in set(PRECISION_MODES) - {KEEP_PRECISION}:
        assert check_operators(model, "search", mode) == 1


@pytest.mark.parametrize("mode", PRECISION_MODES)
def test_float16_products_may_always(mode):
    for model in (batched(np.float16), conv()):
        assert check_operators(model, "search", mode) == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (conv((1, 4, 8, 8), group=2), "is in groups"),
        (conv((1, 3, 300, 300), strides=[64, 1]), r"has strides \[64, 1\]"),
        (conv(pads=[0, 0, 256, 0]), r"has pads \[0, 0, 256, 0\]"),
        (conv((1, 1, 3, 4097)), "has an input 4097 wide"),
        (model_of([node("Gemm", "w", "b")], [6, 6], [6, 6], {"w": W, "b": B}, OPSET), "has a bias or factors"),
        (model_of([node("Gather", "i")], [6, 6], [6], {"i": np.array(-1)}, OPSET), "has negative indices"),
        (
            model_of(
                [node("Slice", "s", "e", "a", "t")],
                [6, 6],
                [6, 3],
                {"s": np.array([0]), "e": np.array([6]), "a": np.array([-1]), "t": np.array([2])},
                OPSET,
            ),
            "takes every so many of the last axis",
        ),
        (
            model_of(
                [helper.make_node("Shape", ["x"], ["s"], name="shape"), node("Expand", "s")], [6, 6], [6, 6], {}, OPSET
            ),
            "Shape 'shape'",
        ),
    ],
)
def test_limits_of_single_operators(model, words):
    with pytest.raises(ArtifactError, match=words):
        check_operators(model, "search", KEEP_PRECISION)


def test_the_list_names_its_sources():
    """Rows with a page are of one edition, all others of the list of opset 13."""
    pages = [row.page for row in OPERATORS.values() if row.page is not None]
    assert len(set(pages)) == len(pages)
    assert {name for name, row in OPERATORS.items() if row.since > OPSET} == {"LayerNormalization"}
    for first, second in itertools.pairwise(OPERATORS):
        assert first < second, "the list is in order"


def test_all_axes_where_none_is_named():
    model = model_of([node("ReduceL2", keepdims=0)], [3, 6], [])
    lowered = lower(model, {})
    x = RNG.standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(run(lowered, x), run(model, x), rtol=1e-6)
    assert [list(item.attribute[0].ints) for item in lowered.graph.node] == [[0, 1]]


def test_what_opset_13_lacks_is_one_line():
    model = model_of([node("Mish")], [2, 6], [2, 6])
    with pytest.raises(ArtifactError, match=r"cannot be written at opset 13, which ATC reads .*Mish") as caught:
        lower(model, {})
    assert "\n" not in str(caught.value)
