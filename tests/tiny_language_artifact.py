"""The tiny artifact with a text side: a graph that looks ids up, a vocabulary, and a search graph that is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny_artifact
from tiny_artifact import save_graph, tensor_entry
from tiny_vocabulary import SIZE, write_tokenizer

CONTEXT, WIDTH = 16, 4
VARIANT = "language-toy-test"


class BoxlessLoop:
    """FARTrack's compiled loop, which starts without a box too and notes the texts that it is told."""

    def __init__(self, core) -> None:
        self._core = core
        self.boxless, self.told = 0, []

    def __getattr__(self, name: str):
        return getattr(self._core, name)

    def init(self, frame, box, color) -> None:
        height, width = frame.shape[:2]
        self._core.init(frame, (0.0, 0.0, float(width), float(height)) if box is None else box, color)
        self.boxless += box is None

    def set_text(self, features) -> None:
        self.told.append(features.copy())


def build_boxless(spec, graphs, engine):
    from edgetrack.runtime.fartrack import build_fartrack

    return BoxlessLoop(build_fartrack({**spec, "family": "fartrack"}, graphs, engine))


def install() -> None:
    """Make the family "toy-boxless" known."""
    from edgetrack.runtime.tracker import FAMILIES

    if "toy-boxless" not in FAMILIES:
        FAMILIES.register("toy-boxless", f"{__name__}:build_boxless")


def write_text(path: Path, tokens: int = SIZE, context: int = CONTEXT) -> None:
    """ids int32 [1, context] -> text [1, context, 4]: rows of a table."""
    from onnx import helper

    table = np.random.default_rng(3).standard_normal((tokens, WIDTH)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["text"])]
    save_graph(path, nodes, {"ids": [1, context]}, {"text": [1, context, WIDTH]}, {"table": table}, ("ids",))


def language(sha256: str) -> dict[str, Any]:
    """The section `language` of the manifest's tracker section."""
    return {
        "tokenizer": {
            "file": "tokenizer.json",
            "sha256": sha256,
            "tokens": SIZE,
            "cleaning": "openai",
            "context": CONTEXT,
            "padding": 0,
            "overflow": "refuse",
        },
        "form": "sentence",
        "feeds": ["text"],
        "without_text": "padding",
        "without_box": False,
        "encoder_sha256": "e" * 64,
    }


def write_artifact(folder: Path, *, boxless: bool = False) -> Path:
    """Write the artifact into a new folder and return it; with `boxless` a text is needed and a box is not."""
    from edgetrack.artifact import sha256_of

    folder.mkdir()
    tiny_artifact.write_template(folder / "template.onnx")
    tiny_artifact.write_search(folder / "search.onnx", text=[1, CONTEXT, WIDTH])
    write_text(folder / "text.onnx")
    write_tokenizer(folder)
    sums = {path.name: sha256_of(path) for path in folder.iterdir()}
    content = tiny_artifact.manifest(sums)
    content["model"] |= {"variant": VARIANT}
    content["graphs"][1]["inputs"].append(tensor_entry("text", [1, CONTEXT, WIDTH]))
    text = {
        "role": "text",
        "file": "text.onnx",
        "files": ["text.onnx"],
        "sha256": {"text.onnx": sums["text.onnx"]},
        "inputs": [{**tensor_entry("ids", [1, CONTEXT]), "dtype": "int32"}],
        "outputs": [tensor_entry("text", [1, CONTEXT, WIDTH])],
        "dims": {},
    }
    content["graphs"].append(text)
    content["tracker"]["language"] = language(sums["tokenizer.json"])
    if boxless:
        install()
        content["tracker"]["family"] = "toy-boxless"
        content["tracker"]["language"] |= {"without_text": "refuse", "without_box": True}
    (folder / "edgetrack.json").write_text(json.dumps(content))
    return folder


def change(folder: Path, edit) -> Path:
    """Let `edit` alter the manifest of an artifact."""
    path = folder / "edgetrack.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return folder
