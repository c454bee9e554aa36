"""`edgetrack verify`: run the parity gate on an artifact again, here and now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypedDict

import typer

from edgetrack.cli import console
from edgetrack.cli.bisect import Bisect, run_bisect
from edgetrack.cli.export import (
    ClipInitOption,
    ClipOption,
    check_torch,
    clip_from_options,
    print_report,
    warn_about,
)
from edgetrack.cli.options import MAX_SEED, ArtifactArgument, DeviceOption, JsonOption, ThreadsOption
from edgetrack.cli.text_options import DiffusionOption, LoraOption, TextEncoderOption
from edgetrack.errors import EngineUnavailable, ParityError

if TYPE_CHECKING:
    from edgetrack.artifact import Artifact
    from edgetrack.export.parity.clip import Clip
    from edgetrack.export.parity.report import ParityReport

__all__ = ["run"]

_FIXED_STEPS = 2
_BISECTED_FRAME = 8


class Options(TypedDict):
    """What both kinds of comparison take."""

    device: str
    threads: int | None
    progress: console.Progress


class Beside(NamedTuple):
    """Files that lie beside a checkpoint."""

    encoder: Path | None
    diffusion: Path | None
    lora: Path | None


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
    diffusion: DiffusionOption = None,
    lora: LoraOption = None,
    clip: ClipOption = None,
    init: ClipInitOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Find the first layer that differs; files of ONNX Runtime and OpenVINO.")
    ] = False,
    limit: Annotated[
        float | None,
        typer.Option("--limit", help="With --bisect: accepted relative error of a layer; default: by precision."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", min=1, help="With --bisect: frame of the clip to compare on; default: 8.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --bisect: folder for table and picture; default: <artifact>-bisect."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare an artifact with its source, or with another artifact, on this machine.

    Exit code 3 if they differ by more than the family's thresholds; with --bisect, if a layer differs.
    """
    from edgetrack.artifact import read_artifact

    if other is not None and (weights is not None or seed is not None):
        raise typer.BadParameter("give either another artifact or --weights/--seed", param_hint="OTHER")
    _check_bisect(bisect, limit, frame, output, device)
    found = read_artifact(artifact)
    chosen = clip_from_options(clip, init)
    if bisect:
        said = Bisect(weights, seed, frame or _BISECTED_FRAME, limit, output, threads, as_json)
        run_bisect(found, None if other is None else read_artifact(other), chosen, said)
        return
    steps = None if chosen.count is None else chosen.count + _FIXED_STEPS
    with console.progress(steps, "verify") as bar:
        options: Options = {"device": device, "threads": threads, "progress": bar}
        if other is not None:
            report = _against_artifact(read_artifact(other), found, chosen, options)
        else:
            files = Beside(text_encoder, diffusion, lora)
            report = _against_source(artifact, weights, seed, files, chosen, options)
    _conclude(report, found, as_json)


def _check_bisect(bisect: bool, limit: float | None, frame: int | None, output: Path | None, device: str) -> None:
    """Refuse options that mean nothing together."""
    given = {"--limit": limit, "--frame": frame, "--output": output}
    if not bisect and (named := [name for name, value in given.items() if value is not None]):
        raise typer.BadParameter("only together with --bisect", param_hint=", ".join(named))
    if bisect and device not in ("auto", "cpu"):
        raise typer.BadParameter("--bisect looks into graphs on the CPU", param_hint="--device")
    if limit is not None and not 0 < limit < float("inf"):
        raise typer.BadParameter(f"{limit} is no relative error; give a number above 0", param_hint="--limit")


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
    path: Path, weights: str | None, seed: int | None, files: Beside, clip: Clip, options: Options
) -> ParityReport:
    check_torch()
    from edgetrack.export.language import TextFiles
    from edgetrack.export.verify import verify_artifact

    text = TextFiles(files.encoder, diffusion=files.diffusion, lora=files.lora)
    return verify_artifact(path, weights, seed=seed, text=text, clip=clip, **options)
