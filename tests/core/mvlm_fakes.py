"""Small fake networks that drive the C++ MVLM tracker in tests."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fartrack_fakes import START, replaced, textured_frame
from numpy.typing import NDArray
from reference_mvlm import F32, Found

from edgetrack import _core

Filling = Callable[[dict[str, F32], Callable[[], None]], tuple[Any, Any]]
WORDS, WIDTH, TOKENS = 3, 4, 2
SPEC: dict[str, Any] = {
    "family": "mvlm",
    "color": "rgb",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "template": None,
    "search": {"size": 32, "factor": 4.0},
    "text": {"tokens": WORDS, "channels": WIDTH},
    "decode": {"kind": "candidates", "grid": 4},
    "gate": {"alpha": 0.6, "tau": 0.0, "omega": 0.4, "lam": 0.4, "psi": 0.1},
    "clip_margin_px": 10,
    "score": {"kind": "margin", "calibration": None, "uncertain_below": 0.0, "lost_below": 0.0},
}
TEMPLATE = {"size": 16, "factor": 2.0, "tokens": TOKENS, "count": 2, "update": {"interval": 3, "above": 0.5}}
TEXT = np.random.default_rng(1).standard_normal((WORDS, WIDTH)).astype(np.float32)
OTHER_TEXT = np.random.default_rng(2).standard_normal((WORDS, WIDTH)).astype(np.float32)


def mvlm_spec(*, box: bool = False, **changes: Any) -> dict[str, Any]:
    """Return SPEC, with templates for `box`, and entries replaced: `gate__tau=0.2` sets ["gate"]["tau"]."""
    return replaced(SPEC | {"template": TEMPLATE if box else None}, changes)


@functools.cache
def weights(seed: int, rows: int, columns: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((rows, columns))


@dataclass
class MvlmNetworks:
    """Networks whose candidates depend on every input value, so that a wrong one shows in the boxes."""

    spec: dict[str, Any]
    calls: list[str] = field(default_factory=list)
    found: Found | None = None
    embedded: F32 | None = None

    def embed(self, image: F32) -> F32:
        """Return the tokens (tokens, width) of a normalised template (3, T, T)."""
        if self.embedded is not None:
            return self.embedded
        pixels = image.ravel().astype(np.float64) / image.size**0.5
        return (weights(3, TOKENS * WIDTH, pixels.size) @ pixels).reshape(TOKENS, WIDTH).astype(np.float32)

    def look(self, search: F32, text: F32, templates: F32 | None) -> Found:
        """Return candidates near their cells; agreement and score vary enough to turn the gate often."""
        if self.found is not None:
            return self.found
        grid = self.spec["decode"]["grid"]
        parts = [search, text, *([] if templates is None else [templates])]
        told = [scale * part.ravel() / part.size**0.5 for part, scale in zip(parts, (6.0, 0.5, 0.5), strict=False)]
        count = 6 * grid * grid
        mixed = sum(weights(4 + n, count, part.size) @ part.astype(np.float64) for n, part in enumerate(told))
        mixed = np.tanh(0.4 * mixed).reshape(6, grid * grid)
        cells = np.stack([np.arange(grid * grid) % grid, np.arange(grid * grid) // grid])
        centres = (cells + 0.5 + 0.5 * mixed[:2]) / grid
        boxes = np.concatenate([centres, 0.25 * np.exp(0.3 * mixed[2:4])]).T
        cls = 1 / (1 + np.exp(-3 * mixed[4]))
        return cls.astype(np.float32), np.ascontiguousarray(boxes, np.float32), (0.4 * mixed[5]).astype(np.float32)


def mvlm_graphs(spec: dict[str, Any], networks: MvlmNetworks, filling: Filling | None = None) -> dict[str, _core.Graph]:
    """Return graphs named as MvlmTracker's arguments; `networks.calls` gets the role of each run.

    `filling` returns the callables fill and run_filled of a graph, given its inputs and its run.
    """
    cells, size, part = spec["decode"]["grid"] ** 2, spec["search"]["size"], spec["template"]
    inputs = {
        "search": np.zeros((1, 3, size, size), np.float32),
        "text": np.zeros((1, spec["text"]["tokens"], spec["text"]["channels"]), np.float32),
    }
    if part is not None:
        inputs["templates"] = np.zeros((1, part["count"] * TOKENS, WIDTH), np.float32)
    outputs = {name: np.zeros((1, cells, *more), np.float32) for name, more in OUTPUTS.items()}

    def run_search() -> None:
        networks.calls.append("search")
        templates = inputs["templates"][0] if "templates" in inputs else None
        found = networks.look(inputs["search"][0], inputs["text"][0], templates)
        for array, value in zip(outputs.values(), found, strict=True):
            array[0] = value

    more = filling or (lambda _inputs, _run: ())
    graphs = {"search": _core.Graph(inputs, outputs, run_search, *more(inputs, run_search))}
    if part is not None:
        image = np.zeros((1, 3, part["size"], part["size"]), np.float32)
        tokens = np.zeros((1, TOKENS, WIDTH), np.float32)

        def run_template() -> None:
            networks.calls.append("template")
            tokens[0] = networks.embed(image[0])

        pictures = {"image": image}
        graphs["template"] = _core.Graph(pictures, {"tokens": tokens}, run_template, *more(pictures, run_template))
    return graphs


OUTPUTS: dict[str, tuple[int, ...]] = {"cls": (), "boxes": (4,), "sims": ()}


def mvlm_tracker(spec: dict[str, Any], networks: MvlmNetworks | None = None) -> _core.MvlmTracker:
    """Return a C++ tracker on fake networks."""
    return _core.MvlmTracker(spec, **mvlm_graphs(spec, networks or MvlmNetworks(spec)))


def mvlm_started(spec: dict[str, Any] | None = None) -> tuple[_core.MvlmTracker, MvlmNetworks]:
    """Return a tracker that was started on a textured frame with a box and a sentence, and its networks."""
    spec = spec or mvlm_spec()
    networks = MvlmNetworks(spec)
    tracker = mvlm_tracker(spec, networks)
    tracker.init(textured_frame(0), START, "rgb")
    tracker.set_text(TEXT)
    return tracker, networks


def one_candidate(spec: dict[str, Any], cell: int, score: float = 0.9, sim: float = 0.5) -> Found:
    """Return candidates that lie in their cells and do not touch; one agrees with the sentence and scores."""
    grid = spec["decode"]["grid"]
    cells = np.arange(grid * grid)
    boxes = np.full((grid * grid, 4), 0.9 / grid, np.float32)
    boxes[:, 0], boxes[:, 1] = (cells % grid + 0.5) / grid, (cells // grid + 0.5) / grid
    cls, sims = np.zeros(grid * grid, np.float32), np.zeros(grid * grid, np.float32)
    cls[cell], sims[cell] = score, sim
    return cls, boxes, sims
