"""The table of what can be traded: layers, kept template tokens and precision against accuracy, speed and size.

Every cell is an artifact that went through the parity gate, is evaluated on annotated sequences and timed on the clip
of edgetrack, one after the other on this machine. What the gate does not pass is measured too, for the truth has the
last word on accuracy, but is marked and never among the best. Artifacts and finished sequences are kept, so a table
that was interrupted goes on where it was; times are always measured anew, at the end and in rounds over all cells, so
that those of one table belong together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgetrack
from edgetrack.artifact import Artifact, read_artifact
from edgetrack.benchmarks.accuracy.evaluation import evaluate, open_folder, threads_per_job
from edgetrack.benchmarks.accuracy.plots import check_plots, write_trade_off
from edgetrack.benchmarks.accuracy.sequences import EvalSequence
from edgetrack.benchmarks.accuracy.subjects import artifact_subject, checkpoint_sha256
from edgetrack.benchmarks.bench import run_bench
from edgetrack.benchmarks.contenders import artifact_spec
from edgetrack.benchmarks.device import describe_machine, now
from edgetrack.benchmarks.files import write_document
from edgetrack.benchmarks.frames import Footage, load_footage
from edgetrack.benchmarks.loop import Plan
from edgetrack.cli.console import Progress
from edgetrack.data.metrics import CONVENTIONS
from edgetrack.errors import ArtifactError, ParityError
from edgetrack.export.models import altered_name, find_variant, variant_values
from edgetrack.export.pipeline import ExportPlan, plan_export, run_plan
from edgetrack.export.precision import CALIBRATED, CalibrationPlan
from edgetrack.export.source import STAND_IN

__all__ = ["COLUMNS", "Choice", "TuneOptions", "mark_best", "plan_cells", "table_rows", "tune"]

SCHEMA = 1
KIND = "edgetrack-tune"

COLUMNS = (
    "",
    ">layers",
    ">kept",
    ">threshold",
    "precision",
    ">AUC",
    ">P",
    ">AO",
    ">updates/s",
    ">MB",
    ">GMACs",
    ">parameters",
    "",
)
"""Headings of `table_rows`."""


_ROUNDS = 5
_JUDGED = ("passed", "failed")
_MEASURED = ("auc", "precision_20px", "ao", "loss", "mb", "fps", "total_ms", "others_share")


@dataclass(frozen=True)
class Choice:
    """What a table spans: None stands for what the model has itself."""

    depths: tuple[int | None, ...] = (None,)
    keeps: tuple[int | None, ...] = (None,)
    precisions: tuple[str, ...] = ("fp32",)
    division_thresholds: tuple[float | None, ...] = (None,)

    def alterations(self) -> list[dict[str, float | None]]:
        """Return every combination of what may be altered, as `altered_name` takes it."""
        options = ("depth", "keep", "division-threshold")
        values = itertools.product(self.depths, self.keeps, self.division_thresholds)
        return [dict(zip(options, chosen, strict=True)) for chosen in values]


@dataclass(frozen=True)
class TuneOptions:
    """How the cells are built and measured.

    Attributes:
        folder: everything is kept there.
        target: what artifacts are built for.
        jobs: sequences tracked at the same time.
        threads: CPU threads for the timing, and for the evaluation of one sequence; None: the engine decides.
        updates: that are timed.
        plots: write trade-off.png.
    """

    folder: Path
    target: str = "onnx"
    jobs: int = 1
    threads: int | None = None
    updates: int = 128
    plots: bool = True


def plan_cells(
    model: str,
    weights: str,
    choice: Choice,
    *,
    target: str,
    seed: int,
    folder: Path,
    calibration: CalibrationPlan | None = None,
) -> list[ExportPlan]:
    """Return one export for each cell, in the order of depths, kept tokens, thresholds, precisions, none twice.

    `calibration` is for the precisions that need one.

    Raises:
        InputError: a name, depth, number of tokens or threshold is impossible for the model, or the checkpoint cannot
            be read.
        EngineUnavailable: a package that the target needs is not installed.
    """
    plans: dict[str, ExportPlan] = {}
    for altered in choice.alterations():
        variant = altered_name(model, altered)
        for precision in choice.precisions:
            output = folder / "artifacts" / f"{variant}-{target}-{precision}"
            plan = plan_export(
                variant,
                weights,
                target=target,
                precision=precision,
                output=output,
                seed=seed,
                calibration=calibration if precision in CALIBRATED else None,
            )
            plans[output.name] = plan
    return list(plans.values())


def tune(
    plans: Sequence[ExportPlan],
    sequences: Sequence[EvalSequence],
    options: TuneOptions,
    *,
    data: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    """Build, evaluate and time every cell; write `tune.json` and, if wanted, `trade-off.png`; return the document.

    A cell whose artifact does not pass the parity gate says why in `unproven`; one that cannot be built at all, as in
    8 bits where no choice of layers is within the budget, has an `error` instead of figures.

    Raises:
        CheckpointError: the checkpoint cannot be read or is of another model.
        EdgetrackError: an artifact cannot be built, run or evaluated.
    """
    if options.plots:
        check_plots()
    open_folder(options.folder)
    footage = load_footage()
    rows = []
    for number, plan in enumerate(plans, start=1):
        progress.stage(f"{number} of {len(plans)}: {plan.output.name}")
        rows.append(_cell(plan, sequences, options, data=data, progress=progress))
    progress.stage("time")
    _time([row for row in rows if row["error"] is None], footage, options)
    mark_best(rows)
    timed = f"{options.updates} updates of the whole loop on {footage.name}, median of {_ROUNDS} rounds"
    document = {
        "kind": KIND,
        "schema": SCHEMA,
        "edgetrack": edgetrack.__version__,
        "time": now(),
        "machine": describe_machine(),
        "weights": plans[0].weights,
        "data": list(data),
        "sequences": len(sequences),
        "threads": options.threads,
        "conventions": {**CONVENTIONS, "fps": timed},
        "rows": rows,
    }
    write_document(options.folder / "tune.json", document)
    if options.plots:
        write_trade_off([row for row in rows if row["error"] is None], options.folder / "trade-off.png")
    return document


def mark_best(rows: Sequence[dict[str, Any]]) -> None:
    """Set `best` of proven rows: no other such is at least as accurate and as fast, and better in one of the two."""
    proven = [row for row in rows if row["error"] is None and row["unproven"] is None]
    for row in rows:
        row["best"] = row in proven and not any(
            other["auc"] >= row["auc"]
            and other["fps"] >= row["fps"]
            and (other["auc"], other["fps"]) != (row["auc"], row["fps"])
            for other in proven
        )


def table_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of `COLUMNS`; a star marks the best ones."""
    rows = []
    for row in document["rows"]:
        threshold = row["division_threshold"]
        altered = (str(row["depth"]), str(row["kept"] or "-"), "-" if threshold is None else f"{threshold:g}")
        name = ("*" if row["best"] else "", *altered, row["precision"])
        if row["error"] is not None:
            figures: tuple[str, ...] = ("-",) * 5
        else:
            ao = "-" if row["ao"] is None else f"{row['ao']:.3f}"
            figures = (f"{row['auc']:.1f}", f"{row['precision_20px']:.1f}", ao, f"{row['fps']:.1f}", f"{row['mb']:.1f}")
        costs = (f"{row['gmacs']:.2f}", f"{row['parameters'] / 1e6:.2f} M")
        remark = "cannot be built" if row["error"] is not None else "" if row["unproven"] is None else "fails the gate"
        rows.append((*name, *figures, *costs, remark))
    return rows


def _cell(
    plan: ExportPlan,
    sequences: Sequence[EvalSequence],
    options: TuneOptions,
    *,
    data: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    """Return the row of one artifact, its times still empty."""
    variant, values = find_variant(plan.variant), variant_values(plan.variant)
    row: dict[str, Any] = {
        "artifact": plan.output.name,
        "variant": plan.variant,
        "depth": variant.depth,
        "kept": values.get("keep"),
        "division_threshold": values.get("division-threshold"),
        "precision": plan.precision,
        "gmacs": variant.gmacs,
        "parameters": variant.parameters,
        "error": None,
        "unproven": None,
        "best": False,
        **dict.fromkeys(_MEASURED),
    }
    try:
        if not _is_built(plan):
            run_plan(plan, force=True, allow_mismatch=True, threads=options.threads)
    except ParityError as error:
        return {**row, "error": str(error)}
    subject = artifact_subject(plan.output, threads=threads_per_job(options.threads, options.jobs))
    folder = options.folder / "eval" / plan.output.name
    found, _ = evaluate(subject, sequences, folder, data=data, jobs=options.jobs, progress=progress, plots=False)
    overall, artifact = found["overall"], read_artifact(plan.output, verify_checksums=False)
    return {
        **row,
        "unproven": _unproven(artifact),
        "auc": overall["pytracking"]["auc"],
        "precision_20px": overall["pytracking"]["precision"],
        "ao": None if overall["got10k"] is None else overall["got10k"]["ao"],
        "loss": overall["loss"],
        "mb": artifact.size_bytes() / 1e6,
    }


def _unproven(artifact: Artifact) -> str | None:
    """Return why the gate did not pass an artifact; None: it did."""
    found = artifact.verification or {}
    return None if found.get("verdict") == "passed" else "; ".join(found.get("failures") or ["the gate did not run"])


def _is_built(plan: ExportPlan) -> bool:
    """Tell whether the artifact is there already, from these weights, and went through the gate."""
    try:
        artifact = read_artifact(plan.output)
    except ArtifactError:
        return False
    if (artifact.model.variant, artifact.precision.actual) != (plan.variant, plan.precision):
        return False
    asked, found = {} if plan.calibration is None else plan.calibration.as_dict(), artifact.calibration or {}
    if any(found.get(name) != value for name, value in asked.items()):
        return False
    judged = (artifact.verification or {}).get("verdict") in _JUDGED
    if not judged or artifact.build.edgetrack != edgetrack.__version__:
        return False
    if plan.weights == STAND_IN:
        return artifact.model.weights == STAND_IN and artifact.build.seed == plan.seed
    return artifact.model.checkpoint_sha256 == checkpoint_sha256(plan.weights)


def _time(rows: Sequence[dict[str, Any]], footage: Footage, options: TuneOptions) -> None:
    """Time the whole loops of all rows in rounds, so that a machine that slows down does so for all; medians of these.

    The others' share of the cores is the largest of a row's rounds.
    """
    plan = Plan.of(1, updates=-(-options.updates // _ROUNDS))
    found: list[list[dict[str, Any]]] = [[] for _ in rows]
    for _ in range(_ROUNDS):
        for row, rounds in zip(rows, found, strict=True):
            spec = artifact_spec(options.folder / "artifacts" / row["artifact"], threads=options.threads)
            document = run_bench([spec], footage, plan, _Silent(), fresh=False)
            entry = document["contenders"][0]
            rounds.append({**entry, "others_share": document["others_share"]})
    for row, rounds in zip(rows, found, strict=True):
        middle = sorted(rounds, key=lambda entry: entry["fps"])[len(rounds) // 2]
        shares = [entry["others_share"] for entry in rounds if entry["others_share"] is not None]
        row |= {"fps": middle["fps"], "total_ms": middle["total_ms"], "others_share": max(shares, default=None)}


class _Silent:
    """Counts no updates: the bar of a table counts frames of its sequences."""

    def advance(self, steps: int = 1) -> None:
        """See `Progress.advance`."""

    def stage(self, label: str) -> None:
        """See `Progress.stage`."""
