"""The picture of a sensitivity analysis: accuracy against the share of the work in 8 bits, and the modules by error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import EngineUnavailable

if TYPE_CHECKING:
    from edgetrack.export.precision.sensitivity import Sensitivity

__all__ = ["check_plot", "write_plot"]

_SHOWN = 20  # modules


def check_plot() -> Any:  # noqa: ANN401 (a module)
    """Return matplotlib's figures, or raise EngineUnavailable with the pip line where it is not installed."""
    try:
        from matplotlib import figure
    except ImportError as error:
        raise EngineUnavailable(
            "int8 and mixed draw their accuracy with matplotlib, not installed here: pip install 'edgetrack[plot]'"
        ) from error
    return figure


def write_plot(found: Sensitivity, max_auc_drop: float, path: Path) -> None:
    """Draw into a .png file."""
    drawing = check_plot().Figure(figsize=(10, 4.5), layout="constrained")
    curve, bars = drawing.subplots(1, 2)
    points = sorted(found.points, key=lambda point: point.share)
    shares = [100 * point.share for point in points]
    curve.plot(shares, [point.auc for point in points], "o-", label="AUC on the held-out part")
    curve.plot([100 * found.chosen.share], [found.chosen.auc], "s", markersize=10, fillstyle="none", label="chosen")
    curve.axhline(found.fp32_auc, linestyle=":", label="float32")
    curve.axhline(found.fp32_auc - max_auc_drop, linestyle="--", linewidth=0.8, label="budget")
    curve.set(xlabel="work in 8 bits, %", ylabel="success AUC", title=f"{found.frames} frames")
    curve.legend()
    shown = found.groups[:_SHOWN][::-1]
    kept = {group.name for group in found.groups[: found.chosen.kept]}
    colours = ["tab:orange" if group.name in kept else "tab:blue" for group in shown]
    bars.barh([group.name for group in shown], [group.error for group in shown], color=colours)
    bars.set(xlabel="error alone, parts of the output's spread", title="orange: kept in higher precision")
    bars.tick_params(axis="y", labelsize=7)
    drawing.savefig(path, dpi=120)
