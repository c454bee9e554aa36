"""Small fake networks that drive the C++ tracker in tests, and a textured clip for it to look at."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgetrack import _core

F32 = NDArray[np.float32]

# A small model, so that tests run thousands of frames: 6 tokens of 3 values per template, 40 bins.
SPEC: dict[str, Any] = {
    "family": "fartrack",
    "color": "rgb",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "template": {"size": 16, "factor": 2.0, "tokens": 6, "channels": 3, "slots": 5},
    "search": {"size": 32, "factor": 4.0},
    "decode": {"kind": "bins", "bins": 20, "range": 2, "classes": 45, "expectation": True},
    "templates": {"sampling": "exponential", "early": "shift", "prune": 2},
    "memory": {"limit_mib": 1},
    "clip_margin_px": 10,
    "score": {
        "kind": "bin-mass",
        "radius": 2,
        "calibration": None,
        "uncertain_below": 0.0,
        "lost_below": 0.0,
    },
}


def spec_with(**changes: Any) -> dict[str, Any]:
    """Return SPEC with entries replaced: `templates__prune=0` sets ["templates"]["prune"]."""
    return replaced(SPEC, changes)


def replaced(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `base` with entries replaced, see `spec_with`."""
    spec = copy.deepcopy(dict(base))
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = spec
        for section in sections:
            place = place[section]
        place[key] = value
    return spec


START = (50.0, 40.0, 24.0, 20.0)
FLAVOURS = {
    "sparse": spec_with(),
    "frame": spec_with(templates__prune=0, decode__expectation=False),
    "distill": spec_with(templates__prune=0, templates__early="distill", decode__expectation=False),
}


@dataclass
class FakeNetworks:
    """Networks whose outputs depend on every input value, so that a wrong template shows in the boxes."""

    spec: dict[str, Any]
    seed: int = 0
    calls: list[str] = field(default_factory=list)

    def embed(self, image: F32) -> F32:
        """Return tokens (tokens, C) of a normalised template (3, T, T)."""
        tokens, channels = self.spec["template"]["tokens"], self.spec["template"]["channels"]
        weights = np.random.default_rng(self.seed).standard_normal((tokens * channels, image.size))
        mixed = weights @ image.ravel().astype(np.float64) / image.size**0.5
        return np.asarray(mixed.reshape(tokens, channels), np.float32)

    def look(self, search: F32, old: F32, newest: F32) -> tuple[F32, F32]:
        """Return logits (4, classes) and score (tokens,) for search, old (4, kept, C), newest (tokens, C)."""
        rng = np.random.default_rng(self.seed + 1)
        bins, classes = self.spec["decode"]["bins"], self.spec["decode"]["classes"]
        seen = search.ravel().astype(np.float64)
        mixed = rng.standard_normal((4, seen.size)) @ seen / seen.size**0.5
        for slot in [*old, newest]:
            mixed = mixed + rng.standard_normal((4, slot.shape[1])) @ slot.astype(np.float64).mean(axis=0)
        centre = (np.array([0.38, 0.38, 0.64, 0.64]) + 0.05 * np.tanh(mixed) + 0.5) * (bins - 1)
        logits = -0.2 * (np.arange(classes) - centre[:, None]) ** 2
        score = newest.astype(np.float64) @ rng.standard_normal(newest.shape[1]) + seen[: len(newest)]
        return np.asarray(logits, np.float32), np.asarray(score, np.float32)


def engine_graphs(spec: dict[str, Any], networks: FakeNetworks) -> dict[str, _core.Graph]:
    """Return graphs named as FarTracker's arguments; `networks.calls` gets the role of each run."""
    shape = spec["template"]
    tokens, channels, prune = shape["tokens"], shape["channels"], spec["templates"]["prune"]
    image = np.zeros((1, 3, shape["size"], shape["size"]), np.float32)
    embedded = np.zeros((1, tokens, channels), np.float32)

    def run_template() -> None:
        networks.calls.append("template")
        embedded[0] = networks.embed(image[0])

    def search_graph(role: str, kept: int) -> _core.Graph:
        size = spec["search"]["size"]
        search = np.zeros((1, 3, size, size), np.float32)
        old = np.zeros((1, 4, kept, channels), np.float32)
        newest = np.zeros((1, tokens, channels), np.float32)
        outputs = {"logits": np.zeros((1, 4, spec["decode"]["classes"]), np.float32)}
        if prune:
            outputs["score"] = np.zeros((1, tokens), np.float32)

        def run() -> None:
            networks.calls.append(role)
            logits, score = networks.look(search[0], old[0], newest[0])
            outputs["logits"][0] = logits
            if prune:
                outputs["score"][0] = score

        return _core.Graph({"search": search, "old": old, "newest": newest}, outputs, run)

    return {
        "template": _core.Graph({"image": image}, {"tokens": embedded}, run_template),
        "first": search_graph("first", tokens),
        "search": search_graph("search", tokens - prune),
    }


def tracker_for(spec: dict[str, Any], networks: FakeNetworks | None = None) -> _core.FarTracker:
    """Return a C++ tracker on fake networks."""
    return _core.FarTracker(spec, **engine_graphs(spec, networks or FakeNetworks(spec)))


class Scripted(FakeNetworks):
    """Networks that give what the test sets."""

    logits: F32 | None = None
    score: F32 | None = None
    tokens: F32 | None = None

    def embed(self, image: F32) -> F32:
        return super().embed(image) if self.tokens is None else self.tokens

    def look(self, search: F32, old: F32, newest: F32) -> tuple[F32, F32]:
        logits, score = super().look(search, old, newest)
        return (
            logits if self.logits is None else self.logits,
            score if self.score is None else self.score,
        )


def started(spec: dict[str, Any] | None = None) -> tuple[_core.FarTracker, Scripted]:
    spec = spec or spec_with()
    networks = Scripted(spec)
    tracker = tracker_for(spec, networks)
    tracker.init(textured_frame(0), START, "rgb")
    return tracker, networks


def snapshot(tracker: _core.FarTracker) -> tuple[Any, ...]:
    """Return what a frame that counts as not seen must leave alone."""
    return (
        tracker.box,
        tracker.raw_box,
        tracker.frame_index,
        tracker.slots,
        tracker.memory,
        repr(tracker.mask),
    )


def textured_frame(index: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """Return frame `index` of a clip that slides slowly over noise: uint8 RGB."""
    noise = np.random.default_rng(7).integers(0, 256, (height // 8 + 16, width // 8 + 16, 3), dtype=np.uint8)
    big = cv2.resize(noise, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    shift = int(40 + 30 * np.sin(index / 17)), int(40 + 30 * np.cos(index / 23))
    return np.ascontiguousarray(big[shift[0] : shift[0] + height, shift[1] : shift[1] + width])
