"""A small 8-bit graph for target `qnn`: Q/DQ pairs around one product, and its compilation."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from edgetrack.export.models.base import DeployGraph
from edgetrack.export.precision import TypedGraph
from edgetrack.export.targets import target_of
from edgetrack.export.targets.qnn import QnnTarget

ROWS, INNER, OUTER = 4, 16, 8
OUT_SCALE = 40 / 255


def write_quantized(path: Path) -> None:
    """Write y = x W of (1, ROWS, INNER), weights int8, activations uint8, all in Q/DQ pairs."""
    weights = np.random.default_rng(0).integers(-127, 128, (INNER, OUTER)).astype(np.int8)
    constants = {
        "w": weights,
        "w_scale": np.float32(0.03),
        "w_zero": np.int8(0),
        "x_scale": np.float32(8 / 255),
        "y_scale": np.float32(OUT_SCALE),
        "zero": np.uint8(128),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "y_scale", "zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "y_scale", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, ROWS, INNER])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, ROWS, OUTER])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


def run_on_cpu(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a Q/DQ graph as it is written: every pair rounds, all else is float32, nothing is fused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def compile_quantized(folder: Path, **options) -> Path:
    """Compile the graph into `folder`; options as on the command line with underscores. Return the main file."""
    said = target_of("qnn").check_options({name.replace("_", "-"): value for name, value in options.items()})
    graph = DeployGraph("search", torch.nn.Identity(), {"x": torch.zeros(1, ROWS, INNER)}, ("y",))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "search.onnx"
        write_quantized(path)
        writer = QnnTarget(said)
        writer.check()
        return folder / writer.write(TypedGraph(graph, path, "int8", "int8", {}), folder)[0]
