"""The log of a run: one JSON object a line, and its curve as a picture."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from edgetrack.export.train.stage import Loss

__all__ = ["Meter", "RunLog", "draw_curve"]

_SMOOTHED_POINTS = 60  # a curve's running mean spans a 60th of the run


class Meter:
    """Averages losses between two lines of the log. Values on a GPU are read only when the average is taken."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float | Tensor]] = []
        self._norms: list[float] = []
        self._steps = 0
        self._started = time.monotonic()

    def add(self, losses: Sequence[Loss], norm: float) -> None:
        """Count the micro steps of one optimiser step and the norm of its gradient before clipping."""
        self._steps += 1
        self._norms.append(norm)
        self._rows += [{"loss": loss.total.detach(), **loss.parts, "iou": loss.iou} for loss in losses]

    def take(self) -> dict[str, float]:
        """Return the means since the last call, and steps per second; then start anew."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        names = list(self._rows[0]) if self._rows else []
        line = {name: sum(float(row[name]) for row in self._rows) / len(self._rows) for name in names}
        if self._norms:
            line["grad_norm"] = sum(self._norms) / len(self._norms)
        line["steps_per_s"] = self._steps / seconds
        self._rows, self._norms, self._steps, self._started = [], [], 0, time.monotonic()
        return line


class RunLog:
    """`log.jsonl`: lines with an ascending `step`."""

    def __init__(self, path: Path) -> None:
        """`path` is the file; it is made with the first line."""
        self.path = path

    def cut(self, step: int) -> None:
        """Forget lines of steps from `step` on, which a resumed run does again, and a line that was half written."""
        if not self.path.exists():
            return
        kept = [json.dumps(line) + "\n" for line in self.lines() if line["step"] <= step]
        temporary = self.path.with_suffix(".part")
        temporary.write_text("".join(kept), encoding="utf-8")
        os.replace(temporary, self.path)

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(line), allow_nan=False) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """Return all whole lines."""
        found = []
        for text in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                found.append(line)
        return found


def draw_curve(lines: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw loss and IoU over the steps into a PNG file; needs matplotlib.

    Args:
        lines: of a `RunLog`.
        path: the picture; replaced at once, never half written.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axis, name, colour in ((upper, "loss", "tab:red"), (lower, "iou", "tab:blue")):
        steps = [line["step"] for line in lines if name in line]
        values = [line[name] for line in lines if name in line]
        axis.plot(steps, values, color=colour, alpha=0.3, linewidth=1)
        axis.plot(steps, _running_mean(values), color=colour, linewidth=2)
        axis.set_ylabel({"loss": "loss", "iou": "IoU of the decoded box"}[name])
        axis.grid(alpha=0.3)
    lower.set_ylim(0, 1)
    lower.set_xlabel("optimiser step")
    upper.set_title(title)
    temporary = path.with_suffix(".part")
    figure.savefig(temporary, format="png")
    os.replace(temporary, path)


def _running_mean(values: Sequence[float]) -> list[float]:
    width = max(1, len(values) // _SMOOTHED_POINTS)
    windows = (values[max(0, index - width + 1) : index + 1] for index in range(len(values)))
    return [sum(window) / len(window) for window in windows]
