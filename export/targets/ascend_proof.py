"""Proof that lowering a graph for ATC changed nothing: both run in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError
from edgetrack.runtime.engines import ENGINES

if TYPE_CHECKING:
    from edgetrack.export.models.base import Normalisation
    from edgetrack.export.precision import TypedGraph

__all__ = ["largest_difference"]

# Of the largest value of an output. fp32: FARTrack's limit for logits. Others: a float16 has 11 bits, and there are
# tens of layers.
_LIMITS = {"fp32": 2e-5}
_COARSE = 1e-2


def largest_difference(
    source: TypedGraph,
    lowered: Path,
    sizes: Mapping[str, int],
    shapes: Mapping[str, Sequence[int]],
    pixels: Collection[str] = (),
) -> float:
    """Return by how much a lowered graph's outputs differ from the typed one's, in parts of the largest value.

    Args:
        source: the typed graph.
        lowered: the file made of it.
        sizes: of its symbolic dimensions.
        shapes: of its inputs, which get standard normal numbers.
        pixels: inputs that the lowered graph takes as pixels, and the typed one normalised.

    Raises:
        ArtifactError: they differ by more than rounding.
    """
    random = np.random.default_rng(0)
    inputs = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    raw = {name: random.integers(0, 256, shapes[name]).astype(np.float32) for name in pixels}
    normal = {name: _normalised(values, source.graph.crops[name]) for name, values in raw.items()}
    results = []
    engine = ENGINES.get("onnxruntime")("cpu")
    for path, crops in ((source.path, normal), (lowered, raw)):
        session = engine.open(path, sizes)
        for name, value in {**inputs, **crops}.items():
            session.inputs[name][...] = value
        session.run()
        results.append({name: value.copy() for name, value in session.outputs.items()})
    engine.close()
    worst = 0.0
    for name, expected in results[0].items():
        scale = float(np.abs(expected).max()) or 1.0
        found = float(np.abs(results[1][name] - expected).max()) / scale
        limit = _LIMITS.get(source.precision, _COARSE)
        if not found <= limit:
            raise ArtifactError(
                f"graph {source.role} gives another {name} once it is written for ATC: it differs by {found:.2g} of "
                f"its largest value, at most {limit:.2g} is rounding; this is a fault of edgetrack: please report it"
            )
        worst = max(worst, found)
    return worst


def _normalised(pixels: NDArray[np.float32], how: Normalisation) -> NDArray[Any]:
    """Return what the core makes of pixels (1, 3, S, S)."""
    mean, std = (np.array(numbers, np.float32).reshape(3, 1, 1) for numbers in how)
    normal: NDArray[Any] = (pixels / np.float32(255) - mean) / std
    return normal
