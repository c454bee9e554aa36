"""Pictures of an evaluation: success and precision curves, and how reliable a score is. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.benchmarks.plot import figure_class, save_figure

if TYPE_CHECKING:
    from edgetrack.benchmarks.accuracy.calibrate import Reliability

__all__ = ["check_plots", "write_curves", "write_reliability", "write_trade_off"]

# Told apart by people who do not see red and green alike.
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#999999"


def check_plots() -> None:
    """Raise EngineUnavailable, with the pip line, where matplotlib is not installed."""
    _figure()


def write_curves(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write success.png and precision.png of an evaluation document and return their paths.

    Raises:
        EngineUnavailable: matplotlib is not installed.
        InputError: a file cannot be written.
    """
    overall, name = document["overall"], document["subject"]["name"]
    scores, curves = overall["pytracking"], overall["curves"]
    success = _figure()(figsize=(6, 4.5), layout="constrained")
    axes = success.subplots()
    axes.plot(*_line(curves["success"]), color=_BLUE, label=f"pytracking, AUC {scores['auc']:.1f}")
    if overall["got10k"] is not None:
        label = f"GOT-10k, AO {overall['got10k']['ao']:.3f}"
        axes.plot(*_line(curves["got10k"]), color=_ORANGE, linestyle="--", label=label)
    axes.set(xlabel="overlap threshold", ylabel="share of frames", title=f"success of {name}", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    precision = _figure()(figsize=(9, 4.5), layout="constrained")
    left, right = precision.subplots(1, 2)
    left.plot(*_line(curves["precision"]), color=_BLUE, label=f"20 px: {scores['precision']:.1f} %")
    left.set(xlabel="centre error, pixels", ylabel="share of frames", title=f"precision of {name}", ylim=(0, 1))
    right.plot(*_line(curves["normalised"]), color=_BLUE, label=f"0.2: {scores['norm_precision']:.1f} %")
    right.set(xlabel="centre error / size of the target", title="normalised", ylim=(0, 1))
    for panel, threshold in ((left, 20), (right, 0.2)):
        panel.axvline(threshold, color=_GREY, linewidth=0.8)
        panel.legend(loc="lower right")
    paths = [folder / "success.png", folder / "precision.png"]
    for figure, path in zip((success, precision), paths, strict=True):
        save_figure(figure, path)
    return paths


def write_reliability(before: Reliability, after: Reliability, path: Path) -> None:
    """Write how often boxes were right against how sure the tracker was, before and after calibration, as a PNG.

    Raises:
        EngineUnavailable: matplotlib is not installed.
        InputError: the file cannot be written.
    """
    figure = _figure()(figsize=(6, 6), layout="constrained")
    diagram, histogram = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    diagram.plot((0, 1), (0, 1), color=_GREY, linewidth=0.8)
    for found, colour, name in ((before, _ORANGE, "before"), (after, _BLUE, "calibrated")):
        label = f"{name}: ECE {found.ece:.3f}, Brier {found.brier:.3f}"
        points = [entry for entry in found.bins if entry.count]
        xs, ys = [entry.mean_score for entry in points], [entry.share_good for entry in points]
        diagram.plot(xs, ys, "o-", color=colour, label=label)
        edges = [entry.low for entry in found.bins]
        width = 1 / len(found.bins)
        histogram.bar(edges, [entry.count for entry in found.bins], width, align="edge", color=colour, alpha=0.5)
    diagram.set(ylabel="share with IoU > 0.5", ylim=(0, 1), xlim=(0, 1), title="reliability of the score")
    diagram.legend()
    histogram.set(xlabel="score", ylabel="frames")
    save_figure(figure, path)


def write_trade_off(rows: list[dict[str, Any]], path: Path) -> None:
    """Write AUC against updates a second of a tuning table as a PNG, one point a row, hollow if the gate failed.

    Raises:
        EngineUnavailable: matplotlib is not installed.
        InputError: the file cannot be written.
    """
    figure = _figure()(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        colour = _BLUE if row["best"] else _GREY
        axes.plot(row["fps"], row["auc"], "o", color=colour, fillstyle="full" if row["unproven"] is None else "none")
        label = f" d{row['depth']}, {row['kept']}, {row['precision']}"
        axes.annotate(label, (row["fps"], row["auc"]), fontsize="x-small", color=colour)
    axes.set(
        xlabel="updates/s",
        ylabel="AUC, percent",
        title="layers, kept tokens, precision (blue: nothing beats it; hollow: fails the gate)",
    )
    axes.set_xlim(left=0)
    save_figure(figure, path)


def _line(curve: dict[str, list[float]]) -> tuple[list[float], list[float]]:
    return curve["thresholds"], curve["shares"]


def _figure() -> Any:  # noqa: ANN401 (the package may be missing)
    return figure_class("give --no-plots")
