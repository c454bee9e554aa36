"""A family of one tiny tracker that reads a sentence, to test the export pipeline's text side without CLIP."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import tiny_vocabulary
import torch
from torch import nn
from toy_family import image_of

from edgetrack.errors import CheckpointError
from edgetrack.export import models
from edgetrack.export.models.base import DeployGraph, ParityInput, Thresholds, Variant
from edgetrack.export.models.clip_text import ClipText, TextShape, text_graph
from edgetrack.export.models.language import TextSide
from edgetrack.runtime import tracker as runtime_tracker
from edgetrack.runtime.clip_tokenizer import TokenRules

VARIANT = Variant("toy-told", "toy-language", "plain", 1, 20, 0.0, 0.0, "none", "for tests")
CONTEXT, WIDTH, WORDS = 9, 16, 5
SHAPE = TextShape("a toy CLIP", WIDTH, heads=2, layers=1, vocabulary=tiny_vocabulary.SIZE, context=CONTEXT)
PREFIX = "text_encoder.clip."
PROMPT = {"ids": np.array([[SHAPE.vocabulary - 2, 5, 300, SHAPE.vocabulary - 1] + [0] * 5], np.int32)}


class ToldNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text_proj = nn.Linear(WIDTH, WORDS)
        self.move = nn.Linear(3 + WORDS, 4)
        self.clip: ClipText | None = None


class Search(nn.Module):
    def __init__(self, net: ToldNet) -> None:
        super().__init__()
        self.move = net.move

    def forward(self, search, text):
        return self.move(torch.cat([search.mean((2, 3)), text.mean(1)], dim=1))


class ToldLoop:
    """The loop in PyTorch; follows the prompt."""

    def __init__(self, graphs) -> None:
        self.text, self.search = (graph.module for graph in graphs)
        with torch.no_grad():
            self.told = self.text(torch.from_numpy(PROMPT["ids"]))

    def init(self, frame, box) -> None:
        self.box = tuple(map(float, box))

    @torch.no_grad()
    def update(self, frame):
        shift = self.search(torch.from_numpy(image_of(frame)), self.told)[0]
        self.box = tuple(float(a + b) for a, b in zip(self.box, shift, strict=True))
        return self.box


class ToldFamily:
    name = "toy-language"

    def build(self, variant):
        return ToldNet().eval()

    def entries(self, variant):
        return {name: tuple(value.shape) for name, value in ToldNet().state_dict().items()}

    def unused(self, variant):
        return {}

    def text_side(self, variant):
        rules = TokenRules("openai", CONTEXT, padding=0, truncate=False)
        return TextSide(SHAPE, final_norm=False, prefix=PREFIX, rules=rules, feeds=("text",), prompt=PROMPT)

    def load_state(self, net, variant, state):
        clip = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        own = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
        if own.keys() != self.entries(variant).keys():
            raise CheckpointError("the checkpoint is not one of toy-told")
        net.load_state_dict(own)
        net.clip = ClipText(SHAPE, final_norm=False)
        net.clip.load_state_dict(clip)

    def deploy_graphs(self, variant, net):
        encoder = nn.Sequential(net.clip, net.text_proj)
        return [
            text_graph(encoder, ("text",), shape=(1, CONTEXT)),
            DeployGraph(
                "search",
                Search(net).eval(),
                {"search": torch.zeros(1, 3, 16, 16), "text": torch.zeros(1, CONTEXT, WORDS)},
                ("shift",),
            ),
        ]

    def tracker_spec(self, variant) -> dict[str, Any]:
        crop = {"size": 16, "factor": 2.0}
        sides = {"mean": [0.0] * 3, "std": [1.0] * 3, "template": crop, "search": crop}
        return {"family": "toy-language", "color": "rgb", **sides}

    def reference(self, variant, net):
        return ToldLoop(self.deploy_graphs(variant, net))

    def thresholds(self, variant, precision):
        if precision == "fp16":
            return Thresholds({"text": 1e-2, "shift": 1e-2}, 1.0, 0.9, 0.95)
        return Thresholds({"text": 1e-5, "shift": 1e-5}, 0.01, 0.99, 0.999)

    @torch.no_grad()
    def parity_inputs(self, variant, net, frames, box):
        loop = self.reference(variant, net)
        yield ParityInput("text", dict(PROMPT))
        for frame in frames[1:]:
            yield ParityInput("search", {"search": image_of(frame), "text": loop.told.numpy()})


class ToldCore:
    """Stands in for the compiled tracker: the same loop over engine sessions."""

    score = 1.0
    state = SimpleNamespace(name="TRACKING")

    def __init__(self, graphs, engine) -> None:
        self.timings_ms = {"run": 0.0}
        self.session = engine.open(graphs["search"].path, {})

    def init(self, frame, box, color) -> None:
        self.box = self.raw_box = tuple(map(float, box))

    def update(self, frame, color):
        self.session.inputs["search"][...] = image_of(frame if color == "rgb" else frame[..., ::-1])
        self.session.run()
        moved = zip(self.box, self.session.outputs["shift"][0], strict=True)
        self.box = self.raw_box = tuple(float(a + b) for a, b in moved)
        return True, self.box


def build_told(spec, graphs, engine):
    return ToldCore(graphs, engine)


FAMILY = ToldFamily()


def install(monkeypatch) -> None:
    """Make the family known for one test."""
    monkeypatch.setitem(models.VARIANTS, VARIANT.name, VARIANT)
    if VARIANT.family not in models.MODELS:
        models.MODELS.register(VARIANT.family, f"{__name__}:FAMILY")
        runtime_tracker.FAMILIES.register(VARIANT.family, f"{__name__}:build_told")
