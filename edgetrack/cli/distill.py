"""`edgetrack distill`: stage 2 (task-specific self-distillation)."""

from __future__ import annotations

from edgetrack.cli.options import JsonOption
from edgetrack.cli.training import (
    ConfigArgument,
    DataOption,
    DryRunOption,
    MinutesOption,
    OutputOption,
    PreviewOption,
    Request,
    ResumeOption,
    SetOption,
    TeacherOption,
    TrainDeviceOption,
    WeightsOption,
    run_stage,
)

__all__ = ["run"]


def run(
    recipe: ConfigArgument,
    *,
    data: DataOption,
    output: OutputOption,
    weights: WeightsOption = None,
    teacher: TeacherOption = None,
    resume: ResumeOption = False,
    minutes: MinutesOption = None,
    device: TrainDeviceOption = "auto",
    assignments: SetOption = None,
    preview: PreviewOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train stage 2 (task-specific self-distillation): the network becomes usable at every depth from 5 layers on.

    With --teacher it also learns from another trained tracker.

    Ctrl-C saves the state and ends with exit code 130; --resume goes on exactly. Start several processes with torchrun.
    """
    asked = Request(
        recipe=recipe,
        data=data,
        output=output,
        weights=weights,
        teacher=teacher,
        resume=resume,
        minutes=minutes,
        device=device,
        assignments=assignments,
        preview=preview,
        dry_run=dry_run,
        as_json=as_json,
    )
    run_stage("distill", asked)
