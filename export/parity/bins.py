"""How far a corner that is decided among bins may move when rounding turns a close decision.

Labels are soft in training, so that neighbouring bins are almost as likely as the best one: a decision between those is
close in nearly every frame, and harmless. Between bins that lie apart it is rare, and says nothing about a graph.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bin_reach"]


def bin_reach(
    logits: NDArray[np.float32], margin: float, *, bins: int, span: int, expectation: bool
) -> NDArray[np.float64]:
    """Return the largest distance (4,) to where a bin within `margin` of the best one would put a coordinate.

    Args:
        logits: (4, classes); the first bins * span classes are coordinates, the others stand for no place: one of them
            within the margin makes the reach infinite.
        margin: in logits.
        bins: bins of one width of the search crop.
        span: widths that the bins cover.
        expectation: the best bin counts half, as the mean over all bins does, which small differences hardly move.

    Returns:
        In widths of the search crop.
    """
    best = logits.argmax(axis=1)
    places = np.arange(logits.shape[1])
    steps = np.abs(places - best[:, None]).astype(np.float64)
    steps[:, bins * span :] = np.where(steps[:, bins * span :] == 0, 0.0, np.inf)
    rivals = logits >= logits.max(axis=1, keepdims=True) - margin
    reach: NDArray[np.float64] = np.where(rivals, steps, 0.0).max(axis=1) / (bins - 1)
    return reach * (0.5 if expectation else 1.0)
