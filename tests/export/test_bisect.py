"""Bisection: a corrupted layer is named, whichever it is; sides that are equal have none."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetrack.errors import ArtifactError, InputError
from edgetrack.export.bisect.onnx_probe import OnnxProbe
from edgetrack.export.bisect.picture import error_map
from edgetrack.export.bisect.probes import Layer, probe_of
from edgetrack.export.bisect.search import bisect_graph
from edgetrack.export.bisect.structure import waists
from edgetrack.export.precision.half import to_half

pytest.importorskip("onnxruntime")

BLOCKS = 3
LIMIT = 1e-4
FEEDS = {"x": np.random.default_rng(2).standard_normal((7, 8)).astype(np.float32)}


def residual():
    """Blocks of x + relu(norm(x) a) b, a last product, and beside it the sum of all that was inside (`signal`)."""
    rng, nodes, stored, inner = np.random.default_rng(3), [], [], []
    make = helper.make_node
    for index in range(BLOCKS):
        before, after = ("x" if index == 0 else f"s{index - 1}"), f"s{index}"
        for name, shape in (("scale", (8,)), ("a", (8, 12)), ("b", (12, 8))):
            array = 0.4 * rng.standard_normal(shape).astype(np.float32)
            stored.append(numpy_helper.from_array(array, f"{name}{index}"))
        nodes += [
            make("LayerNormalization", [before, f"scale{index}"], [f"n{index}"], f"norm{index}", axis=-1),
            make("MatMul", [f"n{index}", f"a{index}"], [f"h{index}"], f"first{index}"),
            make("Relu", [f"h{index}"], [f"r{index}"], f"relu{index}"),
            make("MatMul", [f"r{index}", f"b{index}"], [f"o{index}"], f"second{index}"),
            make("Add", [before, f"o{index}"], [after], f"add{index}"),
            make("ReduceSum", [f"r{index}"], [f"t{index}"], f"sum{index}", keepdims=0),
        ]
        inner.append(f"t{index}")
    stored.append(numpy_helper.from_array(rng.standard_normal((8, 5)).astype(np.float32), "w"))
    nodes += [make("MatMul", [f"s{BLOCKS - 1}", "w"], ["y"], "head"), make("Sum", inner, ["signal"], "collect")]
    value = helper.make_tensor_value_info
    outputs = [value("y", TensorProto.FLOAT, (7, 5)), value("signal", TensorProto.FLOAT, ())]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, ("n", 8))], outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def corrupted(model, weight, by=0.05):
    """The model with the weights of one output of one layer changed."""
    damaged = onnx.ModelProto()
    damaged.CopyFrom(model)
    item = next(item for item in damaged.graph.initializer if item.name == weight)
    array = numpy_helper.to_array(item).copy()
    array[..., 0] += by
    item.CopyFrom(numpy_helper.from_array(array, weight))
    return damaged


@pytest.fixture
def written(tmp_path):
    def write(model, name="graph.onnx"):
        path = tmp_path / name
        onnx.save(model, str(path))
        return path

    return write


def opened(path):
    return OnnxProbe(path, FEEDS, threads=1)


def first_of(reference, artifact, limit=LIMIT):
    found, errors = bisect_graph("search", reference, artifact, limit)
    assert {item.tensor for item in found} == set(errors)
    assert [item.order for item in found] == sorted(item.order for item in found)
    return next((item for item in found if item.diverged), None), found


@pytest.mark.parametrize(
    ("weight", "layer"),
    [
        (f"{name}{i}", f"{layer}{i}")
        for i in range(BLOCKS)
        for name, layer in (("scale", "norm"), ("a", "first"), ("b", "second"))
    ]
    + [("w", "head")],
)
def test_exactly_the_corrupted_layer_is_named(written, weight, layer):
    model = residual()
    first, found = first_of(opened(written(model)), opened(written(corrupted(model, weight), "b.onnx")))
    assert first is not None
    assert first.layer == layer
    assert all(item.relative == 0 for item in found if item.order < first.order)


def test_small_error_is_found_though_the_stream_hides_it(written):
    """The stream is 10^3 times what the block adds: in the block's own tensor the error is below the limit."""
    model = residual()
    big = corrupted(model, "b0", by=0.0)
    for side in (model, big):
        item = next(item for item in side.graph.initializer if item.name == "b0")
        item.CopyFrom(numpy_helper.from_array(1e-2 * numpy_helper.to_array(item), "b0"))
    first, found = first_of(opened(written(big)), opened(written(corrupted(big, "a0", by=2e-3), "b.onnx")))
    assert first is not None
    assert first.layer == "first0"
    block = next(item for item in found if item.tensor == "s0")
    assert block.relative is not None
    assert block.relative < LIMIT


def test_identical_sides_have_no_first_layer_and_only_blocks_are_run(written):
    path = written(residual())
    first, found = first_of(opened(path), opened(path))
    assert first is None
    assert {item.tensor for item in found} == {"s0", "s1", "s2", "y", "signal"}
    assert all(item.cosine == pytest.approx(1) and item.max_abs == 0 for item in found)


def test_weight_that_is_not_finite(written):
    model = residual()
    first, _ = first_of(opened(written(model)), opened(written(corrupted(model, "a1", by=np.nan), "b.onnx")))
    assert first is not None
    assert (first.layer, first.relative, first.max_abs) == ("first1", None, None)


def test_half_precision_is_compared_by_the_names_of_float32(written):
    model = residual()
    halved, _ = to_half(onnx.load(str(written(model))))
    reference = opened(written(model))
    first, found = first_of(reference, opened(written(halved, "half.onnx")), limit=2e-2)
    assert first is None
    assert any(item.relative for item in found)
    first, _ = first_of(reference, opened(written(to_half(corrupted(model, "b1", by=3.0))[0], "bad.onnx")), limit=2e-2)
    assert first is not None
    assert first.layer == "second1"


def test_openvino_finds_the_layer_too(written, tmp_path):
    ov = pytest.importorskip("openvino")
    from edgetrack.export.bisect.openvino_probe import OpenVinoProbe

    model, paths = residual(), []
    for name, one in (("sound", model), ("bad", corrupted(model, "b1", by=1.0))):
        paths.append(tmp_path / f"{name}.xml")
        ov.save_model(ov.Core().read_model(str(written(one, f"{name}.onnx"))), str(paths[-1]), compress_to_fp16=False)
    sound, bad = (OpenVinoProbe(path, FEEDS, threads=1) for path in paths)
    reference = opened(tmp_path / "sound.onnx")
    assert first_of(reference, sound)[0] is None
    for side in (reference, sound):
        first, _ = first_of(side, bad)
        assert first is not None
        assert first.tensor == "o1"


def test_sides_without_a_name_in_common(written):
    model = residual()
    other = onnx.compose.add_prefix(model, "p_", rename_inputs=False, rename_outputs=False)
    with pytest.raises(InputError, match="no tensor inside with the same name"):
        first_of(opened(written(model)), opened(written(other, "b.onnx")))


def test_files_from_elsewhere(written, tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(ArtifactError, match="no ONNX file"):
        opened(tmp_path / "no.onnx")
    with pytest.raises(ArtifactError, match="inputs are x, must be z"):
        OnnxProbe(written(residual()), {"z": FEEDS["x"]})
    huge = residual()
    huge.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "size"))
    huge.graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["h0_huge"], "huge"))
    probe = opened(written(huge, "huge.onnx"))
    with pytest.raises(ArtifactError, match="elements, at most"):
        probe.run(["h0_huge"])
    with pytest.raises(InputError, match="tensorrt give nothing but their outputs"):
        probe_of("tensorrt")


def test_waists_are_where_everything_passes():
    layers = [
        Layer("norm", "N", ("x",), ("n",)),
        Layer("left", "M", ("n",), ("l",)),
        Layer("right", "M", ("n",), ("r",)),
        Layer("join", "A", ("l", "r"), ("j",)),
        Layer("add", "A", ("x", "j"), ("s",)),
        Layer("aside", "R", ("l",), ("extra",)),
        Layer("out", "M", ("s",), ("y",)),
    ]
    assert waists(layers, ["x"], "y") == ["s", "y"]
    assert waists(layers[:4], ["x"], "j") == ["n", "j"]


def test_error_map_takes_the_tokens_of_the_search_region():
    error = np.zeros((1, 5 + 9 + 4, 2), np.float32)
    error[0, 5 + 4] = (3, 4)
    cells = error_map(error, grid=3, behind=4)
    assert cells is not None
    assert cells[1, 1] == pytest.approx(np.sqrt(12.5))
    assert Counter(cells.ravel() > 0) == {False: 8, True: 1}
    assert error_map(np.ones((9, 2), np.float32), grid=3, behind=4).shape == (3, 3)
    assert error_map(np.ones((12, 2), np.float32), grid=3, behind=4) is None
    maps = np.zeros((1, 2, 3, 3), np.float32)
    maps[0, :, 2, 0] = 1
    assert error_map(maps, grid=3, behind=0)[2, 0] == 1
