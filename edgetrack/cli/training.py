"""What `edgetrack train`, `distill` and `sparsify` share: options, and the run from a recipe to weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgetrack.cli import console
from edgetrack.cli.options import JsonOption
from edgetrack.errors import InputError

if TYPE_CHECKING:
    from edgetrack.data import ImageSource
    from edgetrack.export.train.trainer import RunEnd, Trainer

__all__ = ["stage_command"]

ConfigArgument = Annotated[
    str, typer.Argument(help="A recipe that comes with edgetrack, or a TOML file.", show_default=False)
]
DataOption = Annotated[
    list[str],
    typer.Option(
        "--data", help="Training data, again for more: a file of `edgetrack pack`, or KIND:PATH of a data set."
    ),
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run: states, weights, log, curve.")]
WeightsOption = Annotated[Path | None, typer.Option("--weights", help="Checkpoint to start from.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue the run in --output exactly.")]
MinutesOption = Annotated[
    float | None, typer.Option("--minutes", min=0.0, help="Stop after so many minutes; --resume continues.")
]
TrainDeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:<number>.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change the recipe: section.key=value, as in optimiser.lr=1e-4.")
]
TeacherOption = Annotated[
    Path | None,
    typer.Option("--teacher", help="Checkpoint of the model that the recipe's distill.teacher names (distill)."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check everything and load the data, train and write nothing.")
]
PreviewOption = Annotated[
    Path | None, typer.Option("--preview", help="Draw what the network is shown into this PNG (train and distill).")
]

_HELP = (
    "Ctrl-C saves the state and ends with exit code 130; --resume goes on exactly. "
    "Start several processes with torchrun."
)


@dataclass(frozen=True)
class Request:
    """What was typed; see the options."""

    recipe: str
    data: list[str]
    output: Path
    weights: Path | None
    resume: bool
    minutes: float | None
    device: str
    assignments: list[str] | None
    dry_run: bool
    as_json: bool
    preview: Path | None
    teacher: Path | None


def stage_command(kind: str, summary: str) -> Callable[..., None]:
    """Return the command that trains a stage; `summary` starts its help."""

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
        _run_stage(kind, asked)

    run.__doc__ = f"{summary}\n\n{_HELP}"
    return run


def _run_stage(kind: str, asked: Request) -> None:
    """Train as the recipe says; the steps that all three commands have.

    Raises:
        InputError: recipe, data, weights and folder do not fit together; or the recipe is of another stage than `kind`.
        KeyboardInterrupt: the run was interrupted; its state is saved.
    """
    from edgetrack.cli.export import check_torch

    check_torch()
    from edgetrack.data import open_source
    from edgetrack.export.train.config import find_config, load_config
    from edgetrack.export.train.distributed import team as join_team
    from edgetrack.export.train.runs import check_folder, prepared_run

    config = load_config(find_config(asked.recipe), asked.assignments or [])
    if config.stage != kind:
        command = {"frame": "train", "distill": "distill", "sparse": "sparsify"}[config.stage]
        raise InputError(f"the recipe {asked.recipe} is of stage {config.stage!r}; start it with `edgetrack {command}`")
    check_folder(asked.output, asked.resume)
    source = open_source(asked.data)
    with ExitStack() as stack:
        team, chosen = stack.enter_context(join_team(asked.device))
        with console.progress(len(source), "decode the images") as bar:
            run = prepared_run(
                config,
                source,
                asked.output,
                weights=asked.weights,
                teacher=asked.teacher,
                preview=asked.preview,
                resume=asked.resume,
                device=chosen,
                team=team,
                loaded=bar.advance,
            )
            trainer = stack.enter_context(run)
        if asked.dry_run:
            if team.leads:
                _say_plan(trainer, source, str(chosen), asked.as_json)
            return
        with console.progress(trainer.total_steps - trainer.step, f"{kind} on {chosen}") as bar:
            end = trainer.run(minutes=asked.minutes, progress=bar)
        if team.leads:
            _say_end(end, asked.output, asked.as_json)
    if end.reason == "interrupted":
        raise KeyboardInterrupt


def _say_plan(trainer: Trainer, source: ImageSource, device: str, as_json: bool) -> None:
    sets: dict[str, int] = {}
    for track in source.tracks:
        sets[track.dataset] = sets.get(track.dataset, 0) + 1
    facts = {
        "device": device,
        "images": len(source),
        "tracks": sets,
        "trained_parameters": trainer.trained_count,
        "step": trainer.step,
        "total_steps": trainer.total_steps,
    }
    if as_json:
        console.emit_json({"schema": 1, "dry_run": True, **facts})
        return
    for name, value in facts.items():
        shown = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        console.line(f"{name.ljust(18)} {shown}")
    console.line("all of this is in order; nothing was trained (--dry-run)")


def _say_end(end: RunEnd, output: Path, as_json: bool) -> None:
    if as_json:
        facts = {"reason": end.reason, "step": end.step, "total_steps": end.total_steps, "weights": str(end.weights)}
        console.emit_json({"schema": 1, "output": str(output), **facts})
        return
    console.line(f"{end.reason} after step {end.step} of {end.total_steps}; weights in {end.weights}")
    if end.reason != "finished":
        console.line("continue with the same command and --resume")
