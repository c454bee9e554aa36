"""Random numbers that are the same on every machine: they follow from a name and a seed alone."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["standard_normal"]


def standard_normal(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    """Return standard normal numbers, float64 of `shape`."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    return np.asarray(rng.standard_normal(shape))
