"""Small fake networks with a centre head that drive the C++ tracker in tests."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fartrack_fakes import START, replaced, textured_frame
from numpy.typing import NDArray
from reference_centre import F32, Maps

from edgetrack import _core

SPEC: dict[str, Any] = {
    "family": "centre-head",
    "color": "rgb",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "template": {"size": 16, "factor": 2.0},
    "search": {"size": 32, "factor": 4.0},
    "decode": {"kind": "centre", "grid": 8, "window": "hann"},
    "clip_margin_px": 10,
    "score": {"kind": "peak", "calibration": None, "uncertain_below": 0.0, "lost_below": 0.0},
}

GIVEN = {"tokens": (1, 4, 3), "words": (1, 5)}
"""What the template graph gives: names and shapes."""


def centre_spec(**changes: Any) -> dict[str, Any]:
    """Return SPEC with entries replaced: `decode__grid=4` sets ["decode"]["grid"]."""
    return replaced(SPEC, changes)


@functools.cache
def weights(seed: int, rows: int, columns: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((rows, columns))


@dataclass
class CentreNetworks:
    """Networks whose maps depend on every input value, so that a wrong template or crop shows in the boxes."""

    spec: dict[str, Any]
    seed: int = 0
    calls: list[str] = field(default_factory=list)

    def embed(self, image: F32) -> Mapping[str, F32]:
        """Return what is given to the search network, for a normalised template (3, T, T)."""
        pixels = image.ravel().astype(np.float64) / image.size**0.5
        rest = weights(self.seed, sum(map(math.prod, GIVEN.values())), pixels.size) @ pixels
        given = {}
        for name, shape in GIVEN.items():
            values, rest = np.split(rest, [math.prod(shape)])
            given[name] = values.reshape(shape).astype(np.float32)
        return given

    def look(self, search: F32, given: Mapping[str, F32]) -> Maps:
        """Return maps with several bumps near the middle; sizes keep a box about as large as it was."""
        grid = self.spec["decode"]["grid"]
        seen = search.ravel().astype(np.float64) / search.size**0.5
        told = np.concatenate([given[name].ravel() for name in sorted(given)]).astype(np.float64)
        count = 5 * grid * grid
        mixed = weights(self.seed + 1, count, seen.size) @ seen + weights(self.seed + 2, count, told.size) @ told
        mixed = np.tanh(0.3 * mixed).reshape(5, grid, grid)
        score = 1 / (1 + np.exp(-6 * mixed[:1]))
        size = 0.25 * np.exp(0.1 * mixed[1:3])
        return tuple(np.asarray(a, np.float32) for a in (score, size, 0.5 + mixed[3:]))  # type: ignore[return-value]


def centre_graphs(spec: dict[str, Any], networks: Any) -> dict[str, _core.Graph]:
    """Return graphs named as CentreHeadTracker's arguments; `networks.calls` gets the role of each run."""
    grid, size = spec["decode"]["grid"], spec["search"]["size"]
    image = np.zeros((1, 3, spec["template"]["size"], spec["template"]["size"]), np.float32)
    gives = {name: np.zeros(shape, np.float32) for name, shape in GIVEN.items()}
    takes = {name: np.zeros(shape, np.float32) for name, shape in GIVEN.items()}
    search = np.zeros((1, 3, size, size), np.float32)
    maps = {
        name: np.zeros((1, channels, grid, grid), np.float32)
        for name, channels in (("score", 1), ("size", 2), ("offset", 2))
    }

    def run_template() -> None:
        networks.calls.append("template")
        for name, value in networks.embed(image[0]).items():
            gives[name][...] = value

    def run_search() -> None:
        networks.calls.append("search")
        for array, value in zip(maps.values(), networks.look(search[0], takes), strict=True):
            array[0] = value

    return {
        "template": _core.Graph({"image": image}, gives, run_template),
        "search": _core.Graph({"search": search, **takes}, maps, run_search),
    }


def centre_tracker(spec: dict[str, Any], networks: Any = None) -> _core.CentreHeadTracker:
    """Return a C++ tracker on fake networks."""
    return _core.CentreHeadTracker(spec, **centre_graphs(spec, networks or CentreNetworks(spec)))


class Scripted(CentreNetworks):
    """Networks that give what the test sets."""

    maps: Maps | None = None
    given: Mapping[str, F32] | None = None

    def embed(self, image: F32) -> Mapping[str, F32]:
        return super().embed(image) if self.given is None else self.given

    def look(self, search: F32, given: Mapping[str, F32]) -> Maps:
        return super().look(search, given) if self.maps is None else self.maps


def one_peak(spec: dict[str, Any], cell: int, score: float = 0.9, size: float = 0.25, offset: float = 0.5) -> Maps:
    """Return maps with one box in `cell` and score 0 elsewhere."""
    grid = spec["decode"]["grid"]
    scores = np.zeros((1, grid, grid), np.float32)
    scores.flat[cell] = score
    return scores, np.full((2, grid, grid), size, np.float32), np.full((2, grid, grid), offset, np.float32)


def centre_started(spec: dict[str, Any] | None = None) -> tuple[_core.CentreHeadTracker, Scripted]:
    """Return a tracker that was started on a textured frame, and its networks."""
    spec = spec or centre_spec()
    networks = Scripted(spec)
    tracker = centre_tracker(spec, networks)
    tracker.init(textured_frame(0), START, "rgb")
    return tracker, networks


def centre_snapshot(tracker: _core.CentreHeadTracker) -> tuple[Any, ...]:
    """Return what a frame that counts as not seen must leave alone."""
    return tracker.box, tracker.raw_box, tracker.frame_index
