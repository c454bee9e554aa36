"""A whole artifact of a few kilobytes with a centre head: the search graph reads the template graph's tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny_artifact
from tiny_artifact import CHANNELS, SEARCH_PX, TEMPLATE_PX, TOKENS, save_graph, tensor_entry

GRID = 8
MAPS = {"score": 1, "size": 2, "offset": 2}


def write_search(path: Path, told: str = "") -> None:
    """Maps that depend on the mean colour in each cell, and a little on the tokens; sizes also on an input `told`."""
    from onnx import helper

    cell = SEARCH_PX // GRID
    nodes = [
        helper.make_node("AveragePool", ["search"], ["pooled"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("ReduceMean", ["tokens"], ["told"], keepdims=0),
        helper.make_node("Mul", ["told", "little"], ["shift"]),
        helper.make_node("Add", ["pooled", "shift"], ["seen"]),
        helper.make_node("Conv", ["seen", "w_score"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
        helper.make_node("Conv", ["seen", "w_size"], ["side"]),
        helper.make_node("Add", ["side", "bias"], ["biased"]),
        helper.make_node("Sigmoid", ["biased"], ["size"]),
        helper.make_node("Conv", ["seen", "w_offset"], ["offset"]),
    ]
    rng = np.random.default_rng(2)
    constants = {"little": np.array(0.1, np.float32), "bias": np.array(-1.1, np.float32)}
    for name, channels in MAPS.items():
        constants[f"w_{name}"] = (0.2 * rng.standard_normal((channels, 3, 1, 1))).astype(np.float32)
    inputs = {"search": [1, 3, SEARCH_PX, SEARCH_PX], "tokens": [1, TOKENS, CHANNELS]}
    if told:
        inputs[told] = [1, TOKENS, CHANNELS]
        nodes[7:8] = [
            helper.make_node("ReduceMean", [told], ["meant"], keepdims=0),
            helper.make_node("Add", ["side", "meant"], ["moved"]),
            helper.make_node("Add", ["moved", "bias"], ["biased"]),
        ]
    save_graph(path, nodes, inputs, {name: [1, n, GRID, GRID] for name, n in MAPS.items()}, constants)


def tracker_spec() -> dict[str, Any]:
    """The manifest's tracker section that fits the two graphs."""
    return {
        "family": "centre-head",
        "color": "rgb",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "template": {"size": TEMPLATE_PX, "factor": 2.0},
        "search": {"size": SEARCH_PX, "factor": 4.0},
        "decode": {"kind": "centre", "grid": GRID, "window": "hann"},
        "clip_margin_px": 10,
        "score": {"kind": "peak", "calibration": None, "uncertain_below": 0.3, "lost_below": 0.1},
    }


def write_artifact(folder: Path) -> Path:
    """Write the artifact into a new folder and return it."""
    from edgetrack.artifact import sha256_of

    folder.mkdir()
    tiny_artifact.write_template(folder / "template.onnx")
    write_search(folder / "search.onnx")
    content = tiny_artifact.manifest(
        {f"{role}.onnx": sha256_of(folder / f"{role}.onnx") for role in ("template", "search")}
    )
    content["model"] |= {"family": "centre-toy", "variant": "centre-toy-test", "flavour": "plain"}
    content["tracker"] = tracker_spec()
    search = content["graphs"][1]
    search["inputs"] = [
        tensor_entry("search", [1, 3, SEARCH_PX, SEARCH_PX]),
        tensor_entry("tokens", [1, TOKENS, CHANNELS]),
    ]
    search["outputs"] = [tensor_entry(name, [1, channels, GRID, GRID]) for name, channels in MAPS.items()]
    search["dims"] = {}
    (folder / "edgetrack.json").write_text(json.dumps(content))
    return folder
