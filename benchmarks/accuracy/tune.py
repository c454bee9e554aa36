"""The table of what can be traded: layers, kept template tokens and precision against accuracy, speed and size.

Every cell is an artifact that went through the parity gate, is evaluated on annotated sequences and timed on the clip
of edgetrack, one after the other on this machine. Artifacts and finished sequences are kept, so a table that was
interrupted goes on where it was; times are always measured anew, so that those of one table belong together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgetrack
from edgetrack.artifact import read_artifact
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

    A cell whose artifact does not pass the parity gate has an `error` instead of figures.

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
        rows.append(_cell(plan, sequences, options, footage=footage, data=data, progress=progress))
    mark_best(rows)
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
        "conventions": {**CONVENTIONS, "fps": f"{options.updates} updates of the whole loop on {footage.name}"},
        "rows": rows,
    }
    write_document(options.folder / "tune.json", document)
    if options.plots:
        write_trade_off([row for row in rows if row["error"] is None], options.folder / "trade-off.png")
    return document


def mark_best(rows: Sequence[dict[str, Any]]) -> None:
    """Set `best` of every row: no other one is at least as accurate and as fast, and better in one of the two."""
    measured = [row for row in rows if row["error"] is None]
    for row in rows:
        row["best"] = row["error"] is None and not any(
            other["auc"] >= row["auc"]
            and other["fps"] >= row["fps"]
            and (other["auc"], other["fps"]) != (row["auc"], row["fps"])
            for other in measured
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
        rows.append((*name, *figures, *costs, "" if row["error"] is None else "failed the parity gate"))
    return rows


def _cell(
    plan: ExportPlan,
    sequences: Sequence[EvalSequence],
    options: TuneOptions,
    *,
    footage: Footage,
    data: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    """Return the row of one artifact."""
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
        "best": False,
        **dict.fromkeys(_MEASURED),
    }
    try:
        if not _is_built(plan):
            run_plan(plan, force=True, threads=options.threads)
    except ParityError as error:
        return {**row, "error": str(error)}
    subject = artifact_subject(plan.output, threads=threads_per_job(options.threads, options.jobs))
    folder = options.folder / "eval" / plan.output.name
    found, _ = evaluate(subject, sequences, folder, data=data, jobs=options.jobs, progress=progress, plots=False)
    overall = found["overall"]
    return {
        **row,
        **_time(plan.output, footage, options),
        "auc": overall["pytracking"]["auc"],
        "precision_20px": overall["pytracking"]["precision"],
        "ao": None if overall["got10k"] is None else overall["got10k"]["ao"],
        "loss": overall["loss"],
        "mb": read_artifact(plan.output, verify_checksums=False).size_bytes() / 1e6,
    }


def _is_built(plan: ExportPlan) -> bool:
    """Tell whether the artifact is there already, from these weights and proven."""
    try:
        artifact = read_artifact(plan.output)
    except ArtifactError:
        return False
    if (artifact.model.variant, artifact.precision.actual) != (plan.variant, plan.precision):
        return False
    if plan.calibration is not None and plan.calibration.as_dict().items() - (artifact.calibration or {}).items():
        return False
    if (artifact.verification or {}).get("verdict") != "passed" or artifact.build.edgetrack != edgetrack.__version__:
        return False
    if plan.weights == STAND_IN:
        return artifact.model.weights == STAND_IN and artifact.build.seed == plan.seed
    return artifact.model.checkpoint_sha256 == checkpoint_sha256(plan.weights)


def _time(path: Path, footage: Footage, options: TuneOptions) -> dict[str, Any]:
    """Time the whole loop of an artifact by itself."""
    spec = artifact_spec(path, threads=options.threads)
    plan = Plan.of(1, updates=options.updates)
    document = run_bench([spec], footage, plan, _Silent(), fresh=False)
    entry = document["contenders"][0]
    return {"fps": entry["fps"], "total_ms": entry["total_ms"], "others_share": document["others_share"]}


class _Silent:
    """Counts no updates: the bar of a table counts frames of its sequences."""

    def advance(self, steps: int = 1) -> None:
        """See `Progress.advance`."""

    def stage(self, label: str) -> None:
        """See `Progress.stage`."""
