"""The picture of a bisection: the error over the search region, and layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.export.bisect.search import Found

__all__ = ["draw", "error_map"]

_PATCH = 16  # pixels of the search crop behind one token, in all families
_LAST_TOKENS = {"fartrack": 4}
"""Tracker family -> tokens behind those of the search region; the search region's are otherwise the last."""

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#999999"  # told apart by people who do not see red and green alike


def error_map(error: NDArray[np.float32], grid: int, behind: int) -> NDArray[np.float64] | None:
    """Return the error of each token of the search region (grid, grid), root mean square over channels.

    Args:
        error: difference of a layer's tensor: (..., tokens, channels) or (..., channels, grid, grid).
        grid: tokens along a side of the search region.
        behind: tokens that follow those of the search region.

    Returns:
        None for a tensor that does not have all tokens of the search region.
    """
    whole = np.squeeze(error.astype(np.float64))
    if whole.ndim >= 2 and whole.shape[-2:] == (grid, grid):
        over: NDArray[np.float64] = np.sqrt((whole.reshape(-1, grid, grid) ** 2).mean(axis=0))
        return over
    if whole.ndim != 2:
        return None
    rows: NDArray[np.float64] = np.sqrt((whole**2).mean(axis=1))
    count = grid * grid
    if len(rows) == count:
        return rows.reshape(grid, grid)
    if len(rows) < count + behind:
        return None
    return rows[len(rows) - behind - count : len(rows) - behind].reshape(grid, grid)


def draw(figure: Any, found: Found, tracker: Mapping[str, Any]) -> None:  # noqa: ANN401 (a matplotlib Figure)
    """Draw what was found: the search region under the error of the first layer that differs, and all layers' errors.

    Args:
        figure: an empty matplotlib Figure.
        found: of a bisection.
        tracker: the manifest's "tracker" object.
    """
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    _draw_map(figure, left, found, tracker)
    report = found.report
    errors = [item.relative if item.relative is not None else math.inf for item in report.layers]
    smallest = min((error for error in errors if 0 < error < math.inf), default=report.limit) / 2
    largest = max([error for error in errors if error < math.inf] + [report.limit])
    heights = [min(error, 10 * largest) if error else math.nan for error in errors]  # no error has no bar
    colours = [_ORANGE if item.diverged else _BLUE for item in report.layers]
    right.bar(range(len(heights)), heights, color=colours)
    right.set_xlim(-0.6, len(heights) - 0.4)
    right.set_ylim(smallest, 20 * largest)
    right.axhline(report.limit, color=_GREY, linewidth=1, label=f"accepted: {report.limit:g}")
    right.set(yscale="log", ylabel="relative error", title="by layer, in order")
    step = max(1, math.ceil(len(heights) / 40))
    shown = [index for index, item in enumerate(report.layers) if index % step == 0 or item == report.first]
    labels = [f"{report.layers[index].role}/{report.layers[index].layer}" for index in shown]
    right.set_xticks(shown, labels, rotation=90, fontsize=6)
    right.legend(loc="upper left")
    figure.suptitle(report.verdict(), fontsize=9)


def _draw_map(figure: Any, axes: Any, found: Found, tracker: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Draw the crop, and over it the error of the first differing layer that has the search region's tokens."""
    size = int(tracker["search"]["size"])
    crop = _crop(found, tracker, size)
    if crop is not None:
        axes.imshow(crop, extent=(0, size, size, 0))
    axes.set_axis_off()
    behind = _LAST_TOKENS.get(str(tracker["family"]), 0)
    layers = found.report.layers
    start = layers.index(found.report.first) if found.report.first is not None else 0
    for item in layers[start:] if found.report.first is not None else reversed(layers):
        error = found.errors.get((item.role, item.tensor))
        cells = None if error is None else error_map(error, size // _PATCH, behind)
        if cells is not None:
            drawn = axes.imshow(cells, extent=(0, size, size, 0), alpha=0.6, cmap="inferno")
            figure.colorbar(drawn, ax=axes, shrink=0.7, label="error, root mean square over channels")
            axes.set_title(f"{item.role}/{item.layer}", fontsize=8)
            return
    axes.set_title("no layer here has the search region's tokens", fontsize=8)


def _crop(found: Found, tracker: Mapping[str, Any], size: int) -> NDArray[np.float64] | None:
    """Return the search crop in colours from 0 to 1 (size, size, 3), from the normalised input of that size."""
    for inputs in found.inputs.values():
        for array in inputs.values():
            if array.shape == (1, 3, size, size):
                mean, std = (np.array(tracker[key], np.float64) for key in ("mean", "std"))
                picture: NDArray[np.float64] = array[0].astype(np.float64).transpose(1, 2, 0) * std + mean
                if tracker["color"] == "bgr":
                    picture = picture[..., ::-1]
                return picture.clip(0, 1)
    return None
