"""`edgetrack verify`: run the parity gate on an artifact again, here and now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from edgetrack.cli import console
from edgetrack.cli.export import (
    ClipInitOption,
    ClipOption,
    check_torch,
    clip_from_options,
    print_report,
    warn_about,
)
from edgetrack.cli.options import MAX_SEED, ArtifactArgument, DeviceOption, JsonOption, ThreadsOption
from edgetrack.cli.text_options import TextEncoderOption
from edgetrack.errors import EngineUnavailable, ParityError

if TYPE_CHECKING:
    from edgetrack.artifact import Artifact
    from edgetrack.export.parity.clip import Clip
    from edgetrack.export.parity.report import ParityReport

__all__ = ["run"]

_FIXED_STEPS = 2


class Options(TypedDict):
    """What both kinds of comparison take."""

    device: str
    threads: int | None
    progress: console.Progress


def run(
    artifact: ArtifactArgument,
    other: Annotated[
        Path | None,
        typer.Argument(help="Another artifact to compare boxes with, instead of the published loop."),
    ] = None,
    *,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="The checkpoint it was built from; not needed for demo or stand-in weights."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=MAX_SEED, help="Of stand-in weights; default: the artifact's.")
    ] = None,
    text_encoder: TextEncoderOption = None,
    clip: ClipOption = None,
    init: ClipInitOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare an artifact with its source, or with another artifact, on this machine.

    Exit code 3 if they differ by more than the family's thresholds.
    """
    from edgetrack.artifact import read_artifact

    if other is not None and (weights is not None or seed is not None):
        raise typer.BadParameter("give either another artifact or --weights/--seed", param_hint="OTHER")
    found = read_artifact(artifact)
    chosen = clip_from_options(clip, init)
    steps = None if chosen.count is None else chosen.count + _FIXED_STEPS
    with console.progress(steps, "verify") as bar:
        options: Options = {"device": device, "threads": threads, "progress": bar}
        if other is not None:
            report = _against_artifact(read_artifact(other), found, chosen, options)
        else:
            report = _against_source(artifact, weights, seed, text_encoder, chosen, options)
    _conclude(report, found, as_json)


def _conclude(report: ParityReport, found: Artifact, as_json: bool) -> None:
    """Print what was found and raise unless it is good."""
    path = found.path
    if as_json:
        console.emit_json({"schema": 1, "path": str(path), "verification": report.as_dict(every_frame=True)})
    elif report.loop is not None:
        print_report(report, path.name)
        console.line(f"verification: {report.verdict}")
    if report.not_run is not None:
        raise EngineUnavailable(f"{path} was not verified: {report.not_run}")
    warn_about(report, found.model.weights)
    if report.failed:
        raise ParityError(f"{path} differs from its reference: {'; '.join(report.failures)}")


def _against_artifact(reference: Artifact, found: Artifact, clip: Clip, options: Options) -> ParityReport:
    from edgetrack.export.parity.gate import check_against_artifact

    return check_against_artifact(reference, found, clip, **options)


def _against_source(  # noqa: PLR0917 (private, called once)
    path: Path, weights: str | None, seed: int | None, text_encoder: Path | None, clip: Clip, options: Options
) -> ParityReport:
    check_torch()
    from edgetrack.export.language import TextFiles
    from edgetrack.export.pipeline import verify_artifact

    return verify_artifact(path, weights, seed=seed, text=TextFiles(text_encoder), clip=clip, **options)
