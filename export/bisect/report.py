"""What a bisection found: every layer that was compared, and the first that differs."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "DEFAULT_LIMITS", "BisectReport", "LayerError", "compare_layer"]

DEFAULT_LIMITS = {"fp32": 1e-4, "fp16": 2e-2, "mixed": 0.3, "int8": 0.3}
"""Relative errors that rounding alone explains, by the coarser precision of the two sides."""

COLUMNS = ("", "graph", "layer", "operator", "tensor", ">max abs", ">of", ">cosine", ">relative", "")
"""Headings of `BisectReport.rows`."""


@dataclass(frozen=True)
class LayerError:
    """One tensor in both sides.

    Attributes:
        role: the graph.
        layer, op, tensor: names; the layer is the operation that makes the tensor.
        block: whether all of the network goes through this tensor.
        max_abs: largest absolute difference; None where a side is not finite.
        scale: largest absolute value of the reference.
        cosine: of both as vectors; None where a side is not finite or 0.
        relative: norm of the difference over the reference's norm; None where a side is not finite, or only the
            reference is 0.
        diverged: whether `relative` is beyond the limit.
        order: place of the layer in the graph.
    """

    role: str
    layer: str
    op: str
    tensor: str
    block: bool
    max_abs: float | None
    scale: float | None
    cosine: float | None
    relative: float | None
    diverged: bool
    order: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class BisectReport:
    """Which layers were compared and which of them is the first to differ.

    Attributes:
        reference, artifact: what was compared, in words.
        clip, frame: where the inputs come from; frame 0 is the one the tracker starts on.
        limit: of the relative error.
        layers: all that were compared, in the order of the graph.
        first: the first that diverged, or None.
    """

    reference: str
    artifact: str
    clip: str
    frame: int
    limit: float
    layers: tuple[LayerError, ...]
    first: LayerError | None

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of `COLUMNS`; a star marks blocks."""
        return [
            (
                "*" if item.block else "",
                item.role,
                item.layer,
                item.op,
                item.tensor,
                _number(item.max_abs),
                _number(item.scale),
                "-" if item.cosine is None else f"{item.cosine:.6f}",
                _number(item.relative),
                "first" if item == self.first else "diverged" if item.diverged else "",
            )
            for item in self.layers
        ]

    def verdict(self) -> str:
        """Return what was found as one line."""
        if self.first is None:
            return f"no layer differs by more than {self.limit:g} (relative error), of {len(self.layers)} compared"
        item = self.first
        error = (
            "is not finite" if item.relative is None else f"differs by {item.relative:.3g} (accepted {self.limit:g})"
        )
        return f"first at layer {item.layer} ({item.op}) of graph {item.role}: tensor {item.tensor} {error}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "reference": self.reference,
            "artifact": self.artifact,
            "clip": self.clip,
            "frame": self.frame,
            "limit": self.limit,
            "first": None if self.first is None else self.first.as_dict(),
            "layers": [item.as_dict() for item in self.layers],
        }

    def as_csv(self) -> str:
        """Return the table, one line a layer."""
        text = io.StringIO()
        names = list(LayerError.__dataclass_fields__)
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(item.as_dict() for item in self.layers)
        return text.getvalue()


def compare_layer(
    role: str,
    layer: tuple[str, str, str],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    limit: float,
    *,
    block: bool,
    order: int,
) -> LayerError:
    """Compare one tensor of both sides; `layer` is name, operator and tensor."""
    name, op, tensor = layer
    a, b = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    max_abs = scale = cosine = relative = None
    if a.shape == b.shape and np.isfinite(a).all() and np.isfinite(b).all():
        max_abs, scale = float(np.abs(a - b).max(initial=0.0)), float(np.abs(a).max(initial=0.0))
        norms, difference = math.sqrt(float(a @ a)), math.sqrt(float((a - b) @ (a - b)))
        product = norms * math.sqrt(float(b @ b))
        cosine = float(a @ b) / product if product > 0 else None
        relative = 0.0 if difference == 0 else difference / norms if norms > 0 else None
    diverged = relative is None or relative > limit
    return LayerError(role, name, op, tensor, block, max_abs, scale, cosine, relative, diverged, order)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"
