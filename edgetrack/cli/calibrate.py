"""`edgetrack calibrate`: make a tracker's score a probability, and choose when it says UNCERTAIN and LOST."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetrack.cli import console
from edgetrack.cli.evaluate import DataOption, JobsOption, OnlyOption
from edgetrack.cli.options import ArtifactArgument, DeviceOption, EngineOption, JsonOption, ThreadsOption

if TYPE_CHECKING:
    from edgetrack.benchmarks.accuracy.calibrate import CalibrationFit

__all__ = ["run"]


def run(
    artifact: ArtifactArgument,
    *,
    data: DataOption,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of results, as of `edgetrack eval`; default: eval-<name>."),
    ] = None,
    false_lost: Annotated[
        float,
        typer.Option("--false-lost", min=0, max=1, help="Largest share of frames with the target reported LOST."),
    ] = 0.01,
    jobs: JobsOption = 1,
    only: OnlyOption = None,
    device: DeviceOption = "auto",
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Write reliability.png.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing in the artifact.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the score of an artifact to annotated sequences and store the result in its manifest.

    The score becomes the probability that the box overlaps the target by more than half. UNCERTAIN is a score below
    0.5; LOST is the largest limit that reports at most --false-lost of the frames with the target as lost.
    """
    from edgetrack.benchmarks.accuracy.calibrate import calibrate_score
    from edgetrack.benchmarks.accuracy.evaluation import evaluate, threads_per_job
    from edgetrack.benchmarks.accuracy.plots import write_reliability
    from edgetrack.benchmarks.accuracy.score_manifest import store_rule
    from edgetrack.benchmarks.accuracy.sequences import read_sequences
    from edgetrack.benchmarks.accuracy.subjects import artifact_subject
    from edgetrack.benchmarks.files import write_document

    sequences = read_sequences(data, only)
    subject = artifact_subject(artifact, device=device, engine=engine, threads=threads_per_job(threads, jobs))
    folder = output if output is not None else Path(f"eval-{subject.spec.name}")
    frames = sum(len(sequence.boxes) for sequence in sequences)
    with console.progress(frames, f"calibrate {subject.spec.name}") as bar:
        _, records = evaluate(subject, sequences, folder, data=data, jobs=jobs, progress=bar, plots=plots)
        fit = calibrate_score(records, false_lost=false_lost)
    document = _document(fit, artifact, data, len(sequences), false_lost)
    write_document(folder / "calibration.json", document)
    if plots:
        write_reliability(fit.before, fit.after, folder / "reliability.png")
    if not dry_run:
        told = {key: value for key, value in document.items() if key not in ("kind", "schema", "rule", "artifact")}
        store_rule(artifact, fit.rule, told)
    if as_json:
        console.emit_json({**document, "stored": not dry_run})
        return
    _show(fit, false_lost)
    console.line(f"{'nothing stored (--dry-run)' if dry_run else f'stored in {artifact}'}, details in {folder}")


def _document(
    fit: CalibrationFit, artifact: Path, data: list[str], sequences: int, false_lost: float
) -> dict[str, Any]:
    import edgetrack
    from edgetrack.benchmarks.device import now

    return {
        "kind": "edgetrack-calibration",
        "schema": 1,
        "edgetrack": edgetrack.__version__,
        "time": now(),
        "artifact": str(artifact),
        "data": list(data),
        "sequences": sequences,
        "frames": fit.frames,
        "share_good": fit.share_good,
        "meaning": "probability that the box overlaps the target by more than 0.5",
        "limits": f"UNCERTAIN below 0.5; LOST reports at most {false_lost:g} of the frames with the target",
        "rule": fit.rule.as_section(),
        "reliability": {
            name: None if found is None else asdict(found)
            for name, found in (("before", fit.before), ("after", fit.after), ("held_out", fit.held_out))
        },
        "states_before": fit.states_before.as_dict(),
        "states_after": fit.states_after.as_dict(),
    }


def _show(fit: CalibrationFit, false_lost: float) -> None:
    rows = [
        (name, *(("-", "-") if found is None else (f"{found.brier:.4f}", f"{found.ece:.4f}")))
        for name, found in (
            ("score before", fit.before),
            ("calibrated", fit.after),
            ("calibrated on the other sequences", fit.held_out),
        )
    ]
    title = f"{fit.frames} frames, {100 * fit.share_good:.1f} % with IoU > 0.5"
    console.table(("", ">Brier", ">ECE"), rows, title=title)
    for name, counts in (("before", fit.states_before), ("after", fit.states_after)):
        rates = {
            key: "-" if value is None else f"{100 * value:.1f} %"
            for key, value in counts.as_dict().items()
            if key.endswith("_rate")
        }
        console.line(
            f"{name}: LOST in {rates['true_lost_rate']} of the frames without the target, {rates['false_lost_rate']} "
            f"with it; UNCERTAIN in {rates['true_uncertain_rate']}, {rates['false_uncertain_rate']}"
        )
    rule = fit.rule
    if rule.calibration is not None:
        console.line(
            f"score = 1 / (1 + exp(-({rule.calibration.slope:.6g} raw {rule.calibration.intercept:+.6g}))); "
            f"UNCERTAIN below {rule.uncertain_below:g}; LOST below {rule.lost_below:.4g}, which reports at most "
            f"{100 * false_lost:g} % of the frames with the target"
        )
