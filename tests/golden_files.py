"""Reference vectors recorded from the published code, and where they lie."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@functools.cache
def golden(name: str) -> Mapping[str, NDArray]:
    """All arrays of one golden file; from the folder in EDGETRACK_GOLDEN if set, else from tests/golden."""
    folder = Path(os.environ.get("EDGETRACK_GOLDEN") or Path(__file__).parent / "golden")
    with np.load(folder / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def golden_seed(vectors: Mapping[str, NDArray]) -> int:
    """The seed of the stand-in weights that the vectors were recorded with; 0 if the file does not say."""
    return int(vectors["seed"]) if "seed" in vectors else 0
