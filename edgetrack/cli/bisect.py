"""`edgetrack verify --bisect`: which layer of an artifact is the first to differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetrack.cli import console
from edgetrack.cli.export import check_torch
from edgetrack.errors import InputError, ParityError

if TYPE_CHECKING:
    from edgetrack.artifact import Artifact
    from edgetrack.export.bisect.search import Found
    from edgetrack.export.parity.clip import Clip

__all__ = ["Bisect", "run_bisect"]


@dataclass(frozen=True)
class Bisect:
    """What the command line says about a bisection.

    Attributes:
        weights, seed: of the source, where no other artifact is given; None: known from the artifact.
        frame: of the clip, from 1.
        limit: relative error that is accepted; None: what the precision explains.
        output: folder for layers.csv and error.png; None: `<artifact>-bisect` in the current folder.
        threads: CPU threads.
        as_json: print JSON.
    """

    weights: str | None
    seed: int | None
    frame: int
    limit: float | None
    output: Path | None
    threads: int | None
    as_json: bool


def run_bisect(artifact: Artifact, other: Artifact | None, clip: Clip, said: Bisect) -> None:
    """Compare layers with `other`, or else with the source; write the table and the picture.

    Raises:
        ParityError: a layer differs.
    """
    check_torch()
    from edgetrack.benchmarks.plot import figure_class

    figure = figure_class("compare without --bisect")(figsize=(13, 6), layout="constrained")
    folder = said.output or Path(f"{artifact.path.resolve().name}-bisect")
    _open_folder(folder)
    with console.progress(None, "bisect") as bar:
        found = _search(artifact, other, clip, said, bar)
    _write(found, artifact, figure, folder)
    report = found.report
    if said.as_json:
        console.emit_json({"schema": 1, "path": str(artifact.path), "output": str(folder), "bisect": report.as_dict()})
    else:
        _show(found, folder)
    if report.first is not None:
        raise ParityError(f"{artifact.path} differs from {report.reference}: {report.verdict()}")


def _search(artifact: Artifact, other: Artifact | None, clip: Clip, said: Bisect, bar: console.Progress) -> Found:
    from edgetrack.export.bisect.search import bisect_artifacts, bisect_source
    from edgetrack.export.verify import source_of

    if other is not None:
        return bisect_artifacts(other, artifact, clip, said.frame, limit=said.limit, threads=said.threads, progress=bar)
    bar.stage("load weights")
    source = source_of(artifact, said.weights, said.seed)
    return bisect_source(source, artifact, clip, said.frame, limit=said.limit, threads=said.threads, progress=bar)


def _open_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {folder} ({error.strerror}); choose another --output") from error


def _write(found: Found, artifact: Artifact, figure: object, folder: Path) -> None:
    from edgetrack.benchmarks.plot import save_figure
    from edgetrack.export.bisect.picture import draw
    from edgetrack.video.boxes import write_text

    draw(figure, found, artifact.tracker)
    write_text(folder / "layers.csv", found.report.as_csv().rstrip("\n"))
    save_figure(figure, folder / "error.png")


def _show(found: Found, folder: Path) -> None:
    from edgetrack.export.bisect.report import COLUMNS

    report = found.report
    title = f"{report.artifact} against {report.reference}, frame {report.frame} of {report.clip} (* blocks)"
    console.table(COLUMNS, report.rows(), title=title)
    console.line(report.verdict())
    console.line(f"wrote {folder / 'layers.csv'} and {folder / 'error.png'}")
