"""An MVLM artifact of a few kilobytes: the text side of `tiny_language_artifact`, and nine candidates a frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tiny_artifact
import tiny_language_artifact
from tiny_artifact import SEARCH_PX, save_graph, tensor_entry
from tiny_language_artifact import CONTEXT, WIDTH
from tiny_vocabulary import write_tokenizer

GRID = 3
GATE = {"alpha": 0.7, "tau": 0.0, "omega": 0.4, "lam": 0.4, "psi": 0.1}


def write_search(path: Path) -> None:
    """Scores and similarities of the nine parts of the input by their mean colour; boxes in their middles."""
    from onnx import helper

    cells = GRID * GRID
    side = SEARCH_PX // GRID
    nodes = [
        helper.make_node("AveragePool", ["search"], ["pooled"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("ReduceMean", ["text"], ["said"], keepdims=0),
        helper.make_node("Conv", ["pooled", "w_cls"], ["logit"]),
        helper.make_node("Reshape", ["logit", "row"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["cls"]),
        helper.make_node("Conv", ["pooled", "w_sims"], ["likeness"]),
        helper.make_node("Reshape", ["likeness", "row"], ["like"]),
        helper.make_node("Mul", ["like", "said"], ["told"]),
        helper.make_node("Tanh", ["told"], ["sims"]),
        helper.make_node("Mul", ["logits", "little"], ["shift"]),
        helper.make_node("Unsqueeze", ["shift", "last"], ["shifts"]),
        helper.make_node("Add", ["places", "shifts"], ["boxes"]),
    ]
    rng = np.random.default_rng(4)
    middles = (np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID)), -1).reshape(cells, 2) + 0.5) / GRID
    constants = {
        "row": np.array([1, cells], np.int64),
        "last": np.array([2], np.int64),
        "little": np.array(0.01, np.float32),
        "w_cls": rng.standard_normal((1, 3, 1, 1)).astype(np.float32),
        "w_sims": rng.standard_normal((1, 3, 1, 1)).astype(np.float32),
        "places": np.concatenate([middles, np.full((cells, 2), 0.25)], 1, dtype=np.float32)[None],
    }
    inputs = {"search": [1, 3, SEARCH_PX, SEARCH_PX], "text": [1, CONTEXT, WIDTH]}
    save_graph(path, nodes, inputs, {"cls": [1, cells], "boxes": [1, cells, 4], "sims": [1, cells]}, constants)


def write_artifact(folder: Path) -> Path:
    """Write the artifact into a new folder and return it."""
    from edgetrack.artifact import sha256_of

    folder.mkdir()
    write_search(folder / "search.onnx")
    tiny_language_artifact.write_text(folder / "text.onnx")
    write_tokenizer(folder)
    sums = {path.name: sha256_of(path) for path in folder.iterdir()}
    content = tiny_artifact.manifest(sums | {"template.onnx": ""})
    content["model"] |= {"family": "mvlm", "variant": "mvlm-tiny-test"}
    cells = GRID * GRID
    shapes = {
        "search": ({"search": [1, 3, SEARCH_PX, SEARCH_PX], "text": [1, CONTEXT, WIDTH]}, {}),
        "text": ({"ids": [1, CONTEXT]}, {"text": [1, CONTEXT, WIDTH]}),
    }
    shapes["search"][1].update({"cls": [1, cells], "boxes": [1, cells, 4], "sims": [1, cells]})
    content["graphs"] = [
        {
            "role": role,
            "file": f"{role}.onnx",
            "files": [f"{role}.onnx"],
            "sha256": {f"{role}.onnx": sums[f"{role}.onnx"]},
            "inputs": [tensor_entry(name, shape) for name, shape in inputs.items()],
            "outputs": [tensor_entry(name, shape) for name, shape in outputs.items()],
            "dims": {},
        }
        for role, (inputs, outputs) in shapes.items()
    ]
    content["graphs"][1]["inputs"][0]["dtype"] = "int32"
    content["tracker"] = {
        "family": "mvlm",
        "color": "rgb",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "template": None,
        "search": {"size": SEARCH_PX, "factor": 4.0},
        "text": {"tokens": CONTEXT, "channels": WIDTH},
        "decode": {"kind": "candidates", "grid": GRID},
        "gate": GATE,
        "clip_margin_px": 10,
        "score": {"kind": "margin", "calibration": None, "uncertain_below": 0.55, "lost_below": 0.5},
        "language": tiny_language_artifact.language(sums["tokenizer.json"])
        | {"without_text": "refuse", "without_box": True},
    }
    (folder / "edgetrack.json").write_text(json.dumps(content))
    return folder
