"""An engine that computes nothing, so that what is around a network can be measured alone.

Its outputs hold still: the four coordinates mark a square of the target's area in the middle of the crop, short of a
rounding to whole bins that makes it shrink slowly; every token has a score of its own. A centre head's maps have their
peak in the cell behind the middle, with an offset that leads back to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgetrack.benchmarks.frames import Frame
from edgetrack.runtime.engine import Engine, Session, new_buffer
from edgetrack.runtime.tracker import GraphFile, Tracker, build_tracker

__all__ = ["CENTRE_SPEC", "FARTRACK_SPEC", "SPECS", "StubEngine", "noise_frames", "stub_tracker"]

FARTRACK_SPEC: dict[str, Any] = {
    "family": "fartrack",
    "color": "rgb",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "template": {"size": 112, "factor": 2.0, "tokens": 49, "channels": 192, "slots": 5},
    "search": {"size": 224, "factor": 4.0},
    "decode": {"kind": "bins", "bins": 300, "range": 2, "classes": 605, "expectation": True},
    "templates": {"sampling": "exponential", "early": "shift", "prune": 12},
    "memory": {"limit_mib": 60},
    "clip_margin_px": 10,
    "score": {"kind": "bin-mass", "radius": 8, "calibration": None, "uncertain_below": 0.3, "lost_below": 0.1},
}
"""The tracker section of every sparse FARTrack artifact, here without PyTorch; a test compares the two."""

CENTRE_SPEC: dict[str, Any] = {
    "family": "centre-head",
    "color": "rgb",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "template": {"size": 128, "factor": 2.0},
    "search": {"size": 256, "factor": 4.0},
    "decode": {"kind": "centre", "grid": 16, "window": "hann"},
    "clip_margin_px": 10,
    "score": {"kind": "peak", "calibration": None, "uncertain_below": 0.3, "lost_below": 0.1},
}
"""The same of OSTrack and GRM with a search crop of 256 pixels."""

SPECS = {spec["family"]: spec for spec in (FARTRACK_SPEC, CENTRE_SPEC)}
"""Tracker family -> what is measured of it."""

_PEAK = 40.0
_CENTRE_TOKENS, _CENTRE_CHANNELS = 64, 768


class StubEngine(Engine):
    """Opens the names "template" and "search" instead of files."""

    name: ClassVar[str] = "stub"

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """`spec` is the tracker section that the sessions have to fit."""
        super().__init__("cpu")
        self._spec = spec

    def open(self, path: Path, dims: Mapping[str, int]) -> Session:
        """See `Engine.open`."""
        opened = {"fartrack": self._open_fartrack, "centre-head": self._open_centre}
        return opened[self._spec["family"]](path.name, dims)

    def _open_centre(self, role: str, dims: Mapping[str, int]) -> Session:  # noqa: ARG002 (its shapes are static)
        tokens = (1, _CENTRE_TOKENS, _CENTRE_CHANNELS)
        given = {"tokens": tokens, "qkv": (*tokens[:2], 3 * tokens[2])}
        if role == "template":
            side = self._spec["template"]["size"]
            outputs = {name: np.ones(shape) for name, shape in given.items()}
            return _StubSession({"image": (1, 3, side, side)}, outputs)
        side = self._spec["search"]["size"]
        return _StubSession({"search": (1, 3, side, side), **given}, self._maps())

    def _maps(self) -> dict[str, NDArray[np.float64]]:
        """Return maps with the peak in one cell; sides in shares of the crop, the offset in cells."""
        grid, middle = self._spec["decode"]["grid"], self._spec["decode"]["grid"] // 2
        score = np.linspace(0.1, 0.2, grid * grid).reshape(1, 1, grid, grid)
        score[0, 0, middle, middle] = 0.9
        size = np.full((1, 2, grid, grid), 1 / self._spec["search"]["factor"])
        return {"score": score, "size": size, "offset": np.full((1, 2, grid, grid), grid / 2 - middle)}

    def _open_fartrack(self, role: str, dims: Mapping[str, int]) -> Session:
        template, search = self._spec["template"], self._spec["search"]
        tokens, channels = template["tokens"], template["channels"]
        if role == "template":
            side = template["size"]
            return _StubSession({"image": (1, 3, side, side)}, {"tokens": np.ones((1, tokens, channels))})
        shapes = {
            "search": (1, 3, search["size"], search["size"]),
            "old": (1, template["slots"] - 1, dims["kept"], channels),
            "newest": (1, tokens, channels),
        }
        return _StubSession(shapes, {"logits": self._logits(), "score": np.arange(tokens)[None]})

    def _logits(self) -> NDArray[np.float64]:
        """Return logits (1, 4, classes) with one peak each."""
        decode, half = self._spec["decode"], 0.5 / self._spec["search"]["factor"]
        corners = np.array([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half])
        logits = np.zeros((1, 4, decode["classes"]))
        logits[0, range(4), np.rint((corners + 0.5) * (decode["bins"] - 1)).astype(int)] = _PEAK
        return logits

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        return {"engine": self.name, "version": "0", "device": "cpu"}

    @classmethod
    def devices(cls) -> list[str]:
        """See `Engine.devices`."""
        return ["cpu"]

    def close(self) -> None:
        """See `Engine.close`."""


class _StubSession:
    """Buffers like a real session's, and nothing between them."""

    def __init__(self, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, NDArray[Any]]) -> None:
        float32 = np.dtype(np.float32)
        self.inputs = {name: new_buffer(shape, float32) for name, shape in inputs.items()}
        self.outputs = {name: new_buffer(value.shape, float32) for name, value in outputs.items()}
        for name, value in outputs.items():
            self.outputs[name][...] = value

    def run(self) -> None:
        """Leave the outputs as they are."""


def stub_tracker(spec: Mapping[str, Any] = FARTRACK_SPEC) -> Tracker:
    """Return a whole tracker, Python side and core, on the stub engine."""
    graphs = {role: GraphFile(Path(role)) for role in ("template", "search")}
    return build_tracker(spec, graphs, StubEngine(spec))


def noise_frames(count: int, width: int, height: int) -> list[Frame]:
    """Return frames of noise, uint8 (height, width, 3): a crop without texture would count as not seen."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]
