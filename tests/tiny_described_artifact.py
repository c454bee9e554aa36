"""A tiny artifact whose targets are described by a sentence and a picture, through two graphs, as GLAD's are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tiny_artifact
import tiny_centre_artifact
import tiny_language_artifact
from tiny_artifact import CHANNELS, SEARCH_PX, TEMPLATE_PX, TOKENS, save_graph, tensor_entry
from tiny_centre_artifact import GRID, MAPS
from tiny_language_artifact import CONTEXT, WIDTH
from tiny_vocabulary import write_tokenizer

CHAIN = ("text", "see")
TOLD = [1, TOKENS, CHANNELS]
PICTURE = [1, 3, TEMPLATE_PX, TEMPLATE_PX]
TENSORS = {
    "template": ({"image": PICTURE}, {"tokens": TOLD}),
    "search": (
        {"search": [1, 3, SEARCH_PX, SEARCH_PX], "tokens": TOLD, "key": TOLD},
        {name: [1, channels, GRID, GRID] for name, channels in MAPS.items()},
    ),
    "text": ({"ids": [1, CONTEXT]}, {"text": [1, CONTEXT, WIDTH]}),
    "see": ({"image": PICTURE, "text": [1, CONTEXT, WIDTH]}, {"key": TOLD}),
}


def write_see(path: Path) -> None:
    """key: means of the picture's quarters plus that of the sentence, over the channels."""
    from onnx import helper

    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["rows", "w"], ["seen"]),
        helper.make_node("ReduceMean", ["text"], ["said"], keepdims=0),
        helper.make_node("Add", ["seen", "said"], ["key"]),
    ]
    weights = np.random.default_rng(6).standard_normal((3, CHANNELS)).astype(np.float32)
    constants = {"shape": np.array([1, 3, TOKENS], np.int64), "w": weights}
    save_graph(path, nodes, *TENSORS["see"], constants)


def write_artifact(folder: Path, *, whole: bool = True) -> Path:
    """Write the artifact into a new folder and return it; without `whole` as a device has it, to be given packs."""
    from edgetrack.artifact import sha256_of

    folder.mkdir()
    tiny_artifact.write_template(folder / "template.onnx")
    tiny_centre_artifact.write_search(folder / "search.onnx", told="key")
    roles = tuple(TENSORS) if whole else ("template", "search")
    if whole:
        tiny_language_artifact.write_text(folder / "text.onnx")
        write_see(folder / "see.onnx")
    write_tokenizer(folder)
    sums = {path.name: sha256_of(path) for path in folder.iterdir()}
    content = tiny_artifact.manifest(sums)
    content["model"] |= {"family": "described-toy", "variant": "described-toy-test", "flavour": "plain"}
    content["graphs"] = [
        {
            "role": role,
            "file": f"{role}.onnx",
            "files": [f"{role}.onnx"],
            "sha256": {f"{role}.onnx": sums[f"{role}.onnx"]},
            "inputs": [tensor_entry(name, shape) for name, shape in TENSORS[role][0].items()],
            "outputs": [tensor_entry(name, shape) for name, shape in TENSORS[role][1].items()],
            "dims": {},
        }
        for role in roles
    ]
    if whole:
        content["graphs"][2]["inputs"][0]["dtype"] = "int32"
    language = tiny_language_artifact.language(sums["tokenizer.json"])
    language |= {"feeds": ["key"], "without_text": "empty", "chain": list(CHAIN), "noise_seed": 0}
    content["tracker"] = tiny_centre_artifact.tracker_spec() | {"told": ["key"], "language": language}
    (folder / "edgetrack.json").write_text(json.dumps(content))
    return folder
