"""From a checkpoint to a proven artifact: load, graphs, build, verify, write."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetrack.artifact import ArtifactWriter, read_artifact
from edgetrack.export.build_files import build_artifact
from edgetrack.export.language import TextFiles
from edgetrack.export.parity.clip import Clip, demo_clip
from edgetrack.export.parity.gate import Progress, Silent, check_against_source, checked_head
from edgetrack.export.parity.report import ParityReport
from edgetrack.export.plan import ExportPlan, plan_export
from edgetrack.export.precision import CalibrationPlan
from edgetrack.export.source import Source, load_source
from edgetrack.export.speed import FloatTwin, SpeedCheck, speed_section
from edgetrack.export.verdict import judge, report_path
from edgetrack.runtime.loading_memory import return_freed

__all__ = [
    "FIXED_STEPS",
    "ExportPlan",
    "ExportResult",
    "check_plan",
    "export_tracker",
    "plan_export",
    "run_plan",
]

FIXED_STEPS = 5
"""What `run_plan` advances its progress by, beside one step per frame of the clip."""


@dataclass(frozen=True)
class ExportResult:
    """A written artifact and what its gate found."""

    path: Path
    report: ParityReport


def check_plan(plan: ExportPlan, *, clip: Clip | None = None, force: bool = False) -> Source:
    """Do everything of an export that writes nothing: look at the clip and the output folder, load the weights.

    Args:
        plan: from `plan_export`.
        clip: see `run_plan`.
        force: see `run_plan`.

    Raises:
        CheckpointError: the checkpoint cannot be read or is of another model.
        InputError: the clip cannot be used, or the folder is taken.
        ArtifactError: the folder cannot be created.
    """
    checked_head(clip or demo_clip())
    with ArtifactWriter(plan.output, force=force):
        return load_source(plan.variant, plan.weights, plan.seed, plan.text)


def export_tracker(
    variant: str,
    weights: str | Path,
    *,
    target: str = "onnx",
    precision: str = "fp32",
    output: str | Path | None = None,
    seed: int = 0,
    clip: Clip | None = None,
    force: bool = False,
    allow_mismatch: bool = False,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
    calibration: CalibrationPlan | None = None,
    text: TextFiles | None = None,
    threads: int | None = None,
    speed: SpeedCheck | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Build an artifact and prove it against the published loop: `plan_export`, then `run_plan`; see these."""
    plan = plan_export(
        variant,
        weights,
        target=target,
        precision=precision,
        output=output,
        seed=seed,
        device=device,
        options=options,
        calibration=calibration,
        text=text,
    )
    return run_plan(
        plan, clip=clip, force=force, allow_mismatch=allow_mismatch, threads=threads, speed=speed, progress=progress
    )


def run_plan(
    plan: ExportPlan,
    *,
    clip: Clip | None = None,
    force: bool = False,
    allow_mismatch: bool = False,
    threads: int | None = None,
    speed: SpeedCheck | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Build an artifact and prove it; nothing is at `plan.output` unless that succeeds.

    Args:
        plan: from `plan_export`.
        clip: what the gate runs on; None: the clip that comes with edgetrack.
        force: replace an artifact that is there.
        allow_mismatch: keep an artifact that fails the gate, with the failure in its manifest.
        threads: CPU threads for PyTorch and the engine in the gate; None leaves it to them.
        speed: compares the whole loop with that of a float32 build, where another precision is asked for; what it
            returns is in the manifest as `precision.speed`. None: the manifest says that it was not measured.
        progress: told of stages and steps.

    Raises:
        InputError: a bad clip, or the folder is taken.
        CheckpointError: the checkpoint cannot be read or is of another model.
        ArtifactError: the folder cannot be written, or a graph cannot be deployed.
        CalibrationError: the calibration's clips cannot be used.
        ParityError: the gate failed; its report is beside the folder, as `<folder>.parity.json`.
    """
    progress = progress or Silent()
    clip = clip or demo_clip()
    checked_head(clip)  # a build may take minutes
    with ArtifactWriter(plan.output, force=force) as writer:
        progress.stage("load weights")
        source = load_source(plan.variant, plan.weights, plan.seed, plan.text)
        progress.advance()
        manifest = build_artifact(plan, source, writer.folder, threads, progress)
        return_freed()  # a large network's copies, before the gate loads it again
        writer.write_manifest(manifest)
        artifact = read_artifact(writer.folder)
        report = check_against_source(source, artifact, clip, threads=threads, progress=progress)
        report = judge(report, plan.output, allow_mismatch)
        if plan.precision != "fp32":
            with tempfile.TemporaryDirectory(prefix="edgetrack-") as scratch:
                base = FloatTwin(
                    plan, lambda twin, folder: build_artifact(twin, source, folder, threads, Silent()), Path(scratch)
                )
                manifest["precision"]["speed"] = speed_section(base, writer.folder, report.not_run, speed, progress)
        progress.stage("write")
        writer.write_manifest({**manifest, "verification": report.as_dict()})
        path = writer.commit()
        report_path(plan.output).unlink(missing_ok=True)
        progress.advance()
    return ExportResult(path, report)
