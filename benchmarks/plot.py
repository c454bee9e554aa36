"""A picture of a bench document: latency of every update, and its histogram. Needs matplotlib."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from edgetrack.errors import EngineUnavailable, InputError

__all__ = ["check_plot", "figure_class", "save_figure", "write_plot"]

# Told apart by people who do not see red and green alike.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_BINS = 60
_DPI = 120


def check_plot() -> None:
    """Raise EngineUnavailable, with the pip line, where matplotlib is not installed."""
    figure_class("leave out --plot")


def write_plot(document: dict[str, Any], path: Path) -> None:
    """Write latency per update and histogram of every contender of a bench document as a PNG.

    Raises:
        EngineUnavailable: matplotlib is not installed.
        InputError: the file cannot be written.
    """
    figure = figure_class("leave out --plot")(figsize=(11, 4.5), layout="constrained")
    over_time, histogram = figure.subplots(1, 2, width_ratios=(2, 1))
    for index, entry in enumerate(document["contenders"]):
        colour, times = _COLOURS[index % len(_COLOURS)], entry["updates_ms"]
        label = f"{entry['name']}: p50 {entry['total_ms']['p50']:.1f} ms, p99 {entry['total_ms']['p99']:.1f} ms"
        over_time.plot(times, color=colour, linewidth=0.8, label=label)
        histogram.hist(times, bins=_BINS, color=colour, alpha=0.6)
    over_time.set(xlabel="update", ylabel="ms", title=f"whole loop on {document['clip']['name']}")
    histogram.set(xlabel="ms", ylabel="updates", title=document["machine"]["cpu"])
    over_time.set_ylim(bottom=0)
    over_time.legend(fontsize="small")
    save_figure(figure, path)


def figure_class(otherwise: str) -> Any:  # noqa: ANN401 (the package may be missing)
    """Return matplotlib's Figure.

    Args:
        otherwise: what to do without the package, for the message.

    Raises:
        EngineUnavailable: matplotlib is not installed.
    """
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise EngineUnavailable(
            f"pictures need matplotlib ({error}): pip install 'edgetrack[plot]', or {otherwise}"
        ) from error


def save_figure(figure: Any, path: Path) -> None:  # noqa: ANN401
    """Write a figure as a PNG, under a temporary name and renamed, so that no half of a picture is ever seen.

    Raises:
        InputError: the file cannot be written.
    """
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}.png")
    try:
        figure.savefig(partial, dpi=_DPI, format="png")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {path} ({error.strerror}); check the folder and the free space") from error
