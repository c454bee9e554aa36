"""A tracker family small enough to export in a test: two graphs, one with a symbolic size, and a loop around them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from edgetrack.errors import CheckpointError
from edgetrack.export import models
from edgetrack.export.models.base import DeployGraph, Normalisation, ParityInput, Thresholds, Variant
from edgetrack.export.onnx_graph import write_onnx
from edgetrack.export.precision import typed
from edgetrack.runtime import tracker as runtime_tracker

VARIANT = Variant("toy-one", "toy", "plain", 1, 20, 0.0, 0.0, "none", "for tests")
SIZES = (2, 3)
PLAIN = Normalisation((0.0,) * 3, (1.0,) * 3)


class ToyNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(3, 4)
        self.move = nn.Linear(4, 4)


class Encode(nn.Module):
    def __init__(self, net: ToyNet) -> None:
        super().__init__()
        self.encode = net.encode

    def forward(self, image):
        return self.encode(image.mean((2, 3)))


class Search(nn.Module):
    def __init__(self, net: ToyNet) -> None:
        super().__init__()
        self.move = net.move

    def forward(self, seen, old):
        rows = torch.cat([old, seen[:, None]], dim=1)
        weights = torch.softmax(rows.sum(-1), dim=1)
        mixed = (rows * weights[..., None]).sum(1)
        return self.move(mixed), weights.amax(1)


def image_of(frame: np.ndarray) -> np.ndarray:
    """uint8 RGB frame -> float32 (1, 3, 16, 16) in [0, 1]."""
    rows = np.linspace(0, frame.shape[0] - 1, 16).astype(int)
    columns = np.linspace(0, frame.shape[1] - 1, 16).astype(int)
    return np.ascontiguousarray(frame[rows][:, columns].transpose(2, 0, 1)[None], np.float32) / 255


class ToyLoop:
    """The loop, for PyTorch and for engines alike: `encode` and `search` are callables on arrays."""

    def __init__(self, encode, search) -> None:
        self.encode, self.search = encode, search

    def init(self, frame, box) -> None:
        self.box = tuple(map(float, box))
        self.old = [self.encode(image_of(frame))] * SIZES[0]

    def inputs(self, frame):
        seen = self.encode(image_of(frame))
        return {"seen": seen, "old": np.stack(self.old, axis=1)}

    def update(self, frame):
        arrays = self.inputs(frame)
        shift, _ = self.search(arrays)
        self.box = tuple(float(a + b) for a, b in zip(self.box, shift[0], strict=True))
        self.old = [*self.old, arrays["seen"]][-SIZES[1] :]
        return self.box


class ToyFamily:
    name = "toy"
    tensor_limit = 1e-5

    def build(self, variant):
        return ToyNet().eval()

    def entries(self, variant):
        return {name: tuple(value.shape) for name, value in ToyNet().state_dict().items()}

    def unused(self, variant):
        return {}

    def load_state(self, net, variant, state):
        if {name: tuple(value.shape) for name, value in state.items()} != self.entries(variant):
            raise CheckpointError("the checkpoint is not one of toy-one")
        net.load_state_dict(state)

    def deploy_graphs(self, variant, net):
        image = torch.zeros(1, 3, 16, 16)
        return [
            DeployGraph("template", Encode(net).eval(), {"image": image}, ("tokens",), crops={"image": PLAIN}),
            DeployGraph(
                "search",
                Search(net).eval(),
                {"seen": torch.zeros(1, 4), "old": torch.zeros(1, SIZES[1], 4)},
                ("shift", "top"),
                dims={"old": {1: "kept"}},
                values={"kept": SIZES},
                layouts={"seen": "N,C", "old": "N,frame,C", "shift": "N,xywh", "top": "N"},
            ),
        ]

    def tracker_spec(self, variant) -> dict[str, Any]:
        crop = {"size": 16, "factor": 2.0}
        return {
            "family": "toy",
            "color": "rgb",
            "mean": [0.0] * 3,
            "std": [1.0] * 3,
            "template": crop,
            "search": crop,
        }

    def reference(self, variant, net):
        encode, search = (graph.module for graph in self.deploy_graphs(variant, net))

        @torch.no_grad()
        def run_encode(image):
            return encode(torch.from_numpy(image)).numpy()

        @torch.no_grad()
        def run_search(arrays):
            return [out.numpy() for out in search(*(torch.from_numpy(a) for a in arrays.values()))]

        return ToyLoop(run_encode, run_search)

    def thresholds(self, variant, precision):
        if precision == "fp16":
            return Thresholds({"tokens": 1e-2}, float("inf"), 0.0, 0.9)
        return Thresholds({"tokens": self.tensor_limit, "shift": self.tensor_limit, "top": 1e-5}, 0.01, 0.99, 0.999)

    def parity_inputs(self, variant, net, frames, box):
        loop = self.reference(variant, net)
        loop.init(frames[0], box)
        for frame in frames[1:]:
            yield ParityInput("template", {"image": image_of(frame)})
            yield ParityInput("search", loop.inputs(frame))
            loop.update(frame)


class ToyCore:
    """Stands in for the compiled tracker: the same loop over engine sessions."""

    box_error = 0.0
    """Added to x in every frame; a test sets it to make a loop diverge."""

    def __init__(self, graphs, engine) -> None:
        self._graphs, self._engine, self._sessions = graphs, engine, {}
        self._loop = ToyLoop(self._encode, self._search)

    def _run(self, role, arrays, dims):
        key = (role, tuple(dims.values()))
        if key not in self._sessions:
            self._sessions[key] = self._engine.open(self._graphs[role].path, dims)
        session = self._sessions[key]
        for name, array in arrays.items():
            buffer = session.inputs[name]
            pixels = buffer.dtype == np.uint8
            buffer[...] = np.rint(255 * array).transpose(0, 2, 3, 1) if pixels else array
        session.run()
        return session.outputs

    def _encode(self, image):
        return self._run("template", {"image": image}, {})["tokens"].copy()

    def _search(self, arrays):
        outputs = self._run("search", arrays, {"kept": arrays["old"].shape[1]})
        return outputs["shift"].copy(), outputs["top"].copy()

    def init(self, frame, box, color) -> None:
        self._loop.init(frame if color == "rgb" else frame[..., ::-1], box)

    def update(self, frame, color):
        self._loop.update(frame if color == "rgb" else frame[..., ::-1])
        return True, self.box

    @property
    def raw_box(self):
        x, y, w, h = self._loop.box
        return x + self.box_error, y, w, h

    box = raw_box
    score = 1.0
    state = SimpleNamespace(name="TRACKING")

    @property
    def timings_ms(self) -> dict[str, float]:
        return {"run": 0.0}

    def reset(self) -> None:
        self._loop.box = None


def build_toy(spec, graphs, engine):
    return ToyCore(graphs, engine)


TOY = ToyFamily()


_WRITTEN: dict[tuple[str, str], bytes] = {}


def _write_once(graph, path, metadata) -> None:
    """Write as `write_onnx` does, but the toy's graphs only once for the same weights: PyTorch takes seconds over it.

    Published variants share their stand-in weights, so their files must not be kept by the weights' hash.
    """
    if not isinstance(graph.module, Encode | Search):
        write_onnx(graph, path, metadata)
        return
    key = (graph.role, metadata["checkpoint_sha256"])
    if key not in _WRITTEN:
        write_onnx(graph, path, metadata)
        _WRITTEN[key] = path.read_bytes()
    path.write_bytes(_WRITTEN[key])


def install(monkeypatch, *, quick: bool = True) -> None:
    """Make the toy family known for one test; `quick` keeps its ONNX files between tests."""
    if quick:
        monkeypatch.setattr(typed, "write_onnx", _write_once)
    monkeypatch.setitem(models.VARIANTS, VARIANT.name, VARIANT)
    if "toy" not in models.MODELS:
        models.MODELS.register("toy", f"{__name__}:TOY")
        runtime_tracker.FAMILIES.register("toy", f"{__name__}:build_toy")
