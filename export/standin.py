"""Deterministic stand-in weights and a synthetic clip, for proving and timing without a checkpoint.

Every value follows from the parameter's name and a seed alone, so the same weights can be rebuilt anywhere,
for any implementation that uses the published names. Stand-in weights do not follow a target. Needs numpy
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.runtime.noise import standard_normal

_BACKGROUND_SCALE = 0.06
_PATCH_SCALE = 0.2


def synth_param(key: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[Any]:
    """Return the stand-in value of one parameter or buffer.

    Args:
        key: the name in the published checkpoint, for example "backbone.norm.weight".
        shape: its shape.
        seed: another seed gives other weights.

    Returns:
        float32 of `shape`; int64 zeros for BatchNorm's batch counter.
    """
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    return np.asarray(_scaled(key, shape, standard_normal(key, shape, seed)), np.float32)


def noise(key: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Return made-up activations: standard normal numbers that follow from a name and a seed, float32 of `shape`."""
    return np.asarray(standard_normal(key, shape, seed), np.float32)


def _scaled(key: str, shape: tuple[int, ...], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale unit noise to what keeps the activations of a deep network near 1."""
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if len(shape) == 0:
        return 1 + 0.1 * noise
    if len(shape) == 1:
        return 1 + 0.1 * noise if key.endswith("weight") else 0.02 * noise
    if shape[0] == 1:  # tokens and position tables
        return 0.1 * noise
    return np.asarray(noise / np.sqrt(np.prod(shape[1:])))


def synth_state(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return stand-in values for every (name, shape) of a checkpoint layout."""
    return {key: synth_param(key, tuple(shape), seed) for key, shape in shapes.items()}


def synth_box(index: int, height: int = 360, width: int = 480) -> tuple[float, float, float, float]:
    """Return the moving patch's box (x, y, w, h) in frame `index` of the synthetic clip, in pixels."""
    w = 64 * (1 + 0.15 * np.sin(index / 9))
    h = 48 * (1 + 0.15 * np.sin(index / 7))
    cx = width * (0.5 + 0.22 * np.sin(index / 11))
    cy = height * (0.5 + 0.22 * np.cos(index / 13))
    return float(cx - w / 2), float(cy - h / 2), float(w), float(h)


def synth_frame(index: int, height: int = 360, width: int = 480, seed: int = 0) -> NDArray[np.uint8]:
    """Return frame `index` of the synthetic clip: uint8 RGB, (height, width, 3).

    A smooth random background pans slowly; an elliptic patch with its own texture moves over it inside
    `synth_box(index, height, width)`.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    background = rng.uniform(-1, 1, (12, 6)) * (1, 1, np.pi, 1, 1, 1)
    foreground = rng.uniform(-1, 1, (12, 6)) * (1, 1, np.pi, 1, 1, 1)
    image = 110 + 14 * _texture(x + 1.5 * index, y + 0.5 * index, _BACKGROUND_SCALE, background)
    bx, by, bw, bh = synth_box(index, height, width)
    u, v = (x - bx) / bw, (y - by) / bh
    inside = (u >= 0) & (u < 1) & (v >= 0) & (v < 1) & ((u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.25)
    patch = 140 + 30 * _texture(60 * u, 60 * v, _PATCH_SCALE, foreground)
    image[inside] = patch[inside]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _texture(
    x: NDArray[np.float64], y: NDArray[np.float64], scale: float, waves: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum plane waves, rows of (fx, fy, phase, r, g, b), at the points (x, y): shape (*x.shape, 3)."""
    out = np.zeros((*x.shape, 3))
    for fx, fy, phase, red, green, blue in waves:
        out += np.sin(fx * scale * x + fy * scale * y + phase)[..., None] * (red, green, blue)
    return out
