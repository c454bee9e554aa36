"""A whole artifact of a few kilobytes: two small graphs with the inputs and outputs of FARTrack's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

TEMPLATE_PX, SEARCH_PX, TOKENS, PRUNE, CHANNELS = 32, 48, 4, 1, 8
BINS, RANGE, CLASSES = 20, 2, 45


def save_graph(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    constants,
    integers: tuple[str, ...] = (),
):
    """Write a graph of float32 tensors; inputs in `integers` are int32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def values(shapes):
        kinds = {name: TensorProto.INT32 if name in integers else TensorProto.FLOAT for name in shapes}
        return [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in shapes.items()]

    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", values(inputs), values(outputs), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, str(path))


def write_matmul(path: Path, size: int = 8) -> None:
    """One graph `y = x^T (2 x)`: x is [1, kept, size] where 'kept' varies, y is [1, size, size]."""
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["doubled"]),
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["turned", "doubled"], ["y"]),
    ]
    constants = {"w": np.eye(size, dtype=np.float32) * 2}
    save_graph(path, nodes, {"x": [1, "kept", size]}, {"y": [1, size, size]}, constants)


def write_template(path: Path) -> None:
    """image [1,3,32,32] -> tokens [1,4,8]: means of the four quarters, spread over the channels."""
    from onnx import helper

    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["rows", "w"], ["tokens"]),
    ]
    weights = np.random.default_rng(0).standard_normal((3, CHANNELS)).astype(np.float32)
    constants = {"shape": np.array([1, 3, TOKENS], np.int64), "w": weights}
    save_graph(path, nodes, {"image": [1, 3, TEMPLATE_PX, TEMPLATE_PX]}, {"tokens": [1, TOKENS, CHANNELS]}, constants)


def write_search(path: Path, kept: int | str = "kept", text: list[int] | None = None) -> None:
    """Logits that depend on the search crop alone and peak at a box in its middle; scores from the newest template.

    With `text`, the shape of an input "text", the last coordinate moves with its mean too.
    """
    from onnx import helper

    nodes = [
        helper.make_node("ReduceMean", ["search", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["small"]),
        helper.make_node("Reshape", ["small", "shape"], ["shaped"]),
        helper.make_node("Add", ["shaped", "peaks"], ["peaked"]),
        helper.make_node("ReduceSum", ["old"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["peaked", "nothing"], ["logits"]),
        helper.make_node("ReduceMean", ["newest", "last"], ["score"], keepdims=0),
    ]
    peaks = np.zeros((1, 4, CLASSES), np.float32)
    for row, coordinate in enumerate((0.375, 0.375, 0.625, 0.625)):
        peaks[0, row, int((coordinate + 0.5) * BINS)] = 40.0
    constants = {
        "axes": np.array([2, 3], np.int64),
        "last": np.array([2], np.int64),
        "shape": np.array([1, 4, CLASSES], np.int64),
        "zero": np.zeros((), np.float32),
        "w": np.random.default_rng(1).standard_normal((3, 4 * CLASSES)).astype(np.float32) * 0.01,
        "peaks": peaks,
    }
    inputs = {
        "search": [1, 3, SEARCH_PX, SEARCH_PX],
        "old": [1, 4, kept, CHANNELS],
        "newest": [1, TOKENS, CHANNELS],
    }
    if text is not None:
        inputs["text"] = text
        last = int((0.625 + 0.5) * BINS)
        peaks[0, 3, last - 3] = 40.0
        told = np.zeros((1, 4, CLASSES), np.float32)
        told[0, 3, last - 3] = 4.0
        constants["told"] = told
        nodes[-2:-1] = [
            helper.make_node("ReduceMean", ["text"], ["said"], keepdims=0),
            helper.make_node("Mul", ["said", "told"], ["moved"]),
            helper.make_node("Add", ["peaked", "moved"], ["described"]),
            helper.make_node("Add", ["described", "nothing"], ["logits"]),
        ]
    save_graph(path, nodes, inputs, {"logits": [1, 4, CLASSES], "score": [1, TOKENS]}, constants)


def tracker_spec() -> dict[str, Any]:
    """The manifest's tracker section that fits the two graphs."""
    return {
        "family": "fartrack",
        "color": "rgb",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "template": {"size": TEMPLATE_PX, "factor": 2.0, "tokens": TOKENS, "channels": CHANNELS, "slots": 5},
        "search": {"size": SEARCH_PX, "factor": 4.0},
        "decode": {"kind": "bins", "bins": BINS, "range": RANGE, "classes": CLASSES, "expectation": True},
        "templates": {"sampling": "exponential", "early": "shift", "prune": PRUNE},
        "memory": {"limit_mib": 1},
        "clip_margin_px": 10,
        "score": {
            "kind": "bin-mass",
            "radius": 2,
            "calibration": None,
            "uncertain_below": 0.3,
            "lost_below": 0.1,
        },
    }


def tensor_entry(name: str, shape: list[int | str]) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": shape, "layout": "N,..."}


def manifest(sha256: dict[str, str]) -> dict[str, Any]:
    """A manifest for template.onnx and search.onnx with these checksums."""
    search_inputs = [
        tensor_entry("search", [1, 3, SEARCH_PX, SEARCH_PX]),
        tensor_entry("old", [1, 4, "kept", CHANNELS]),
        tensor_entry("newest", [1, TOKENS, CHANNELS]),
    ]
    graphs = [
        {
            "role": "template",
            "inputs": [tensor_entry("image", [1, 3, TEMPLATE_PX, TEMPLATE_PX])],
            "outputs": [tensor_entry("tokens", [1, TOKENS, CHANNELS])],
            "dims": {},
        },
        {
            "role": "search",
            "inputs": search_inputs,
            "outputs": [tensor_entry("logits", [1, 4, CLASSES]), tensor_entry("score", [1, TOKENS])],
            "dims": {"kept": [TOKENS - PRUNE, TOKENS]},
        },
    ]
    for graph in graphs:
        name = f"{graph['role']}.onnx"
        graph |= {"file": name, "files": [name], "sha256": {name: sha256[name]}}
    return {
        "schema": 1,
        "model": {
            "family": "fartrack",
            "variant": "fartrack-tiny-test",
            "flavour": "sparse",
            "checkpoint_sha256": "0" * 64,
            "licence": "none",
            "weights": "stand-in",
        },
        "graphs": graphs,
        "tracker": tracker_spec(),
        "precision": {"asked": "fp32", "actual": "fp32", "fp32_islands": []},
        "calibration": None,
        "target": {
            "name": "onnx",
            "engine": "onnxruntime",
            "version": "1",
            "device": "cpu",
            "driver": None,
            "soc": None,
        },
        "verification": {"verdict": "passed"},
        "build": {"edgetrack": "0.1.0", "command": "test", "seed": None, "time": "2026-01-01T00:00:00Z"},
    }


def write_artifact(folder: Path) -> Path:
    """Write the artifact into a new folder and return it."""
    from edgetrack.artifact import sha256_of

    folder.mkdir()
    write_template(folder / "template.onnx")
    write_search(folder / "search.onnx")
    names = ("template.onnx", "search.onnx")
    content = manifest({name: sha256_of(folder / name) for name in names})
    (folder / "edgetrack.json").write_text(json.dumps(content))
    return folder
