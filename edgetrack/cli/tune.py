"""`edgetrack tune`: what fewer layers, fewer template tokens and lower precision cost and bring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edgetrack.cli import console
from edgetrack.cli.calibration_options import (
    CalibFramesOption,
    CalibOption,
    CalibSeedOption,
    MaxAucDropOption,
    MaxBoxErrorOption,
    calibration_from_options,
)
from edgetrack.cli.evaluate import DataOption, JobsOption, OnlyOption
from edgetrack.cli.export import STAND_IN_WARNING, check_torch, usage_error
from edgetrack.cli.options import MAX_SEED, JsonOption, ThreadsOption
from edgetrack.demo import resolve_weights

if TYPE_CHECKING:
    from edgetrack.benchmarks.accuracy.tune import Choice

__all__ = ["run"]

_Number = TypeVar("_Number", int, float)


def run(
    checkpoint: Annotated[str, typer.Argument(help="A published or trained checkpoint; demo; or stand-in.")],
    *,
    model: Annotated[str, typer.Option("--model", help="Its network, as `edgetrack models` lists it.")],
    data: DataOption,
    depths: Annotated[
        str | None, typer.Option("--depths", help="Numbers of layers, as in 4,6,10; default: the model's.")
    ] = None,
    keeps: Annotated[
        str | None,
        typer.Option("--keeps", help="Numbers of tokens kept of an old template, as in 37,24,12; default: 37."),
    ] = None,
    division_thresholds: Annotated[
        str | None, typer.Option("--division-thresholds", help="Of a GRM, as in 0,0.4,0.6; default: the model's.")
    ] = None,
    precisions: Annotated[str, typer.Option("--precisions", help="Of the target, as in fp32,fp16,int8.")] = "fp32",
    target: Annotated[str, typer.Option("--target", help="As `edgetrack targets` lists them.")] = "onnx",
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of stand-in weights.")] = 0,
    calib: CalibOption = None,
    calib_frames: CalibFramesOption = None,
    calib_seed: CalibSeedOption = None,
    max_auc_drop: MaxAucDropOption = None,
    max_box_error: MaxBoxErrorOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder; default: tune-<model>. A table that is there goes on."),
    ] = None,
    updates: Annotated[int, typer.Option("--updates", min=8, help="Updates of each artifact that are timed.")] = 128,
    jobs: JobsOption = 1,
    only: OnlyOption = None,
    threads: ThreadsOption = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Write trade-off.png.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Export one checkpoint at several depths, kept tokens and precisions; show accuracy, speed and size of each.

    Artifacts and finished sequences are kept in the output folder: run the same line again to go on.
    """
    chosen = _choice(depths, keeps, division_thresholds, precisions)
    check_torch()
    calibration = calibration_from_options(
        next((word for word in chosen.precisions if word in {"int8", "mixed"}), "fp32"),
        calib,
        frames=calib_frames,
        seed=calib_seed,
        max_auc_drop=max_auc_drop,
        max_box_error=max_box_error,
    )
    from edgetrack.benchmarks.accuracy.sequences import read_sequences
    from edgetrack.benchmarks.accuracy.tune import TuneOptions, plan_cells, tune
    from edgetrack.export.models import find_variant

    with usage_error("--model"):
        find_variant(model)
        checkpoint = resolve_weights(model, checkpoint)
    sequences = read_sequences(data, only)
    folder = output if output is not None else Path(f"tune-{model}")
    with usage_error("--depths, --keeps, --division-thresholds, --precisions, --target"):
        plans = plan_cells(model, checkpoint, chosen, target=target, seed=seed, folder=folder, calibration=calibration)
    options = TuneOptions(folder, target, jobs, threads, updates, plots)
    frames = len(plans) * sum(len(sequence.boxes) for sequence in sequences)
    with console.progress(frames, f"tune {model}") as bar:
        document = tune(plans, sequences, options, data=data, progress=bar)
    if checkpoint == "stand-in":
        console.warn(STAND_IN_WARNING)
    if as_json:
        console.emit_json(document)
        return
    _print_table(document, f"{model} on {', '.join(data)}")
    console.line(f"wrote {folder}")


def _print_table(document: dict[str, Any], title: str) -> None:
    """Write the rows and what their columns mean; what failed goes to stderr."""
    from edgetrack.benchmarks.accuracy.tune import COLUMNS, table_rows

    console.table(COLUMNS, table_rows(document), title=title)
    console.line("*: no other row is at least as accurate and as fast, and better in one of them")
    for name in ("pytracking", "got10k", "fps"):
        label = {"pytracking": "AUC, P", "got10k": "AO", "fps": "updates/s"}[name]
        console.line(f"{label}: {document['conventions'][name]}")
    _warn(document["rows"])


def _warn(rows: list[dict[str, Any]]) -> None:
    """Say on stderr what failed, and whether the times can be trusted."""
    from edgetrack.benchmarks.others import others_line

    for row in rows:
        if row["error"] is not None:
            console.warn(row["error"])
        elif row["unproven"] is not None:
            console.warn(f"{row['artifact']} fails the gate: {row['unproven']}")
    shares = [row["others_share"] for row in rows if row["others_share"] is not None]
    if warning := others_line(max(shares, default=None)):
        console.warn(warning)


def _choice(depths: str | None, keeps: str | None, thresholds: str | None, precisions: str) -> Choice:
    from edgetrack.benchmarks.accuracy.tune import Choice

    words = tuple(word.strip() for word in precisions.split(",") if word.strip())
    return Choice(
        _numbers(depths, "--depths", int),
        _numbers(keeps, "--keeps", int),
        words or ("fp32",),
        _numbers(thresholds, "--division-thresholds", float),
    )


def _numbers(text: str | None, hint: str, kind: Callable[[str], _Number]) -> tuple[_Number | None, ...]:
    """Return the numbers of "4,6,10"; one None for no text."""
    if text is None:
        return (None,)
    try:
        return tuple(kind(word) for word in text.split(","))
    except ValueError as error:
        example = "4,6,10" if kind is int else "0,0.4"
        raise typer.BadParameter(f"{text!r} is no list of numbers, as in {example}", param_hint=hint) from error
