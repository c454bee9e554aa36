"""`edgetrack export`: from a checkpoint to an artifact that is proven to give the same boxes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from edgetrack.cli.options import MAX_SEED, JsonOption, ThreadsOption, parse_box
from edgetrack.cli.speed import NoSpeedCheckOption, in_words, speed_check, warn_if_slow
from edgetrack.cli.target_options import with_target_options
from edgetrack.cli.text_options import (
    BESIDE_CHECKPOINT,
    DiffusionOption,
    LoraOption,
    TextEncoderOption,
    VocabularyOption,
)
from edgetrack.demo import resolve_weights
from edgetrack.errors import EngineUnavailable, InputError
from edgetrack.export.targets import target_of

if TYPE_CHECKING:
    from edgetrack.export.parity.clip import Clip
    from edgetrack.export.parity.report import ParityReport
    from edgetrack.export.pipeline import ExportPlan, ExportResult

__all__ = [
    "ClipInitOption",
    "ClipOption",
    "WeightsOption",
    "check_torch",
    "clip_from_options",
    "print_report",
    "run",
    "usage_error",
    "warn_about",
]

ClipOption = Annotated[
    Path | None,
    typer.Option("--clip", help="Video or image folder to verify on; default: the clip of edgetrack."),
]
ClipInitOption = Annotated[
    str | None, typer.Option("--init", help="With --clip: the target in its first frame, x,y,w,h in pixels.")
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Path of a checkpoint of MODEL; demo: edgetrack's own small training, where MODEL has one (the default); "
        "stand-in: made-up weights.",
    ),
]
STAND_IN_WARNING = "these are stand-in weights: they prove and time the pipeline, they do not follow a target"


@with_target_options
def run(
    model: Annotated[str, typer.Argument(help="What to export, as `edgetrack models` lists it.")],
    *,
    weights: WeightsOption = None,
    target: Annotated[str, typer.Option("--target", help="As `edgetrack targets` lists them.")] = "onnx",
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, fp16, int8 or mixed, as the target has it.")
    ] = "fp32",
    depth: Annotated[
        int | None, typer.Option("--depth", help="FARTrack: run the first so many layers, 1 to 15; default: MODEL's.")
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", help="FARTrack, sparse: tokens kept of an old template, 2 to 49; published: 37."),
    ] = None,
    division_threshold: Annotated[
        float | None,
        typer.Option(
            "--division-threshold", help="GRM: search tokens below it see the template, as 0.4 (LaSOT); default: 0."
        ),
    ] = None,
    search_factor: Annotated[
        float | None,
        typer.Option(
            "--search-factor", help="GLAD: side of the search crop over the target's, as 4; default: MODEL's."
        ),
    ] = None,
    decode_divisor: Annotated[
        int | None,
        typer.Option(
            "--decode-divisor", help="GLAD: what a cell's index is split by; published: 16 (B256), 27 (L384)."
        ),
    ] = None,
    position_bits: Annotated[
        int | None,
        typer.Option("--position-bits", help="GLAD: 16, as the published evaluation has its position tables, or 32."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The artifact's folder; default: <model>-<target>-<precision>, cuts included."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of stand-in weights.")] = 0,
    text_encoder: TextEncoderOption = None,
    vocabulary: VocabularyOption = None,
    diffusion: DiffusionOption = None,
    lora: LoraOption = None,
    device: Annotated[
        str | None, typer.Option("--device", help="What to build for and verify on; default: the target's first.")
    ] = None,
    calib: CalibOption = None,
    calib_frames: CalibFramesOption = None,
    calib_seed: CalibSeedOption = None,
    max_auc_drop: MaxAucDropOption = None,
    max_box_error: MaxBoxErrorOption = None,
    clip: ClipOption = None,
    init: ClipInitOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an artifact that is there.")] = False,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Keep an artifact that fails, and record that it does.")
    ] = False,
    threads: ThreadsOption = None,
    no_speed_check: NoSpeedCheckOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, build nothing.")] = False,
    as_json: JsonOption = False,
    options: Mapping[str, Any],
) -> None:
    """Build an artifact from a checkpoint and prove that it gives the boxes of the published loop.

    Exit code 3 and nothing written but a report if it does not.
    """
    altered = {
        "depth": depth,
        "keep": keep,
        "division-threshold": division_threshold,
        "search-factor": search_factor,
        "decode-divisor": decode_divisor,
        "position-bits": position_bits,
    }
    variant = _checked_names(model, altered, target, precision)
    with usage_error("--target"):
        target_of(target).check_options(options, precision)
    with usage_error("--weights"):
        weights = resolve_weights(model, weights)
    check_torch()
    from edgetrack.export.language import TextFiles, check_precision
    from edgetrack.export.pipeline import FIXED_STEPS, plan_export, run_plan
    from edgetrack.export.plan import device_of

    with usage_error("--precision"):
        check_precision(variant, precision)
    calibration = calibration_from_options(
        precision,
        calib,
        frames=calib_frames,
        seed=calib_seed,
        max_auc_drop=max_auc_drop,
        max_box_error=max_box_error,
    )
    files = TextFiles(text_encoder, vocabulary, diffusion, lora)
    with usage_error(BESIDE_CHECKPOINT):
        files.check(variant, made_up=weights == "stand-in")
    chosen = clip_from_options(clip, init)
    with usage_error("--device"):
        device_of(target_of(target), device)
    with usage_error(", ".join(f"--{name}" for name in options) or "--target"):
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
            text=files,
        )
    if dry_run:
        _dry_run(plan, chosen, force, as_json)
        return
    steps = None if chosen.count is None or calibration is not None else chosen.count + FIXED_STEPS
    with console.progress(steps, f"export {variant}") as bar:
        result = run_plan(
            plan,
            clip=chosen,
            force=force,
            allow_mismatch=allow_mismatch,
            threads=threads,
            speed=None if no_speed_check else speed_check(chosen, threads, bar),
            progress=bar,
        )
    _print_result(result, plan, as_json)


def _checked_names(model: str, altered: Mapping[str, float | None], target: str, precision: str) -> str:
    """Refuse names that do not exist as wrong usage, before anything heavy is imported; return the variant's name."""
    from edgetrack.export.models import altered_name, find_variant

    with usage_error("MODEL"):
        find_variant(model)
    with usage_error(", ".join(f"--{option}" for option, value in altered.items() if value is not None)):
        variant = altered_name(model, altered)
    with usage_error("--target"):
        info = target_of(target)
    with usage_error("--precision"):
        info.check_precision(precision)
    return variant


@contextmanager
def usage_error(hint: str) -> Iterator[None]:
    """Turn an InputError inside the block into wrong usage of the option `hint` (exit code 2)."""
    try:
        yield
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from error


def check_torch() -> None:
    """Raise EngineUnavailable, with the pip line, where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise EngineUnavailable("this needs PyTorch, not installed here: pip install 'edgetrack[export]'")


def clip_from_options(clip: Path | None, init: str | None) -> Clip:
    """Return the clip of --clip and --init, which come together, or edgetrack's own.

    Raises:
        typer.BadParameter: one without the other, or a box that is not four numbers.
        InputError: the clip cannot be read.
    """
    from edgetrack.export.parity.clip import demo_clip, open_clip

    if (clip is None) != (init is None):
        raise typer.BadParameter("give both or neither: a clip, and its box", param_hint="--clip, --init")
    return demo_clip() if clip is None or init is None else open_clip(clip, parse_box(init))


def print_report(report: ParityReport, title: str) -> None:
    """Write the gate's findings as a table."""
    frames = 0 if report.loop is None else report.loop.frames
    clip = "" if report.loop is None else f", {frames} frames of {report.loop.clip}"
    console.table(("", ">found", ">accepted", ""), report.rows(), title=f"{title} against {report.reference}{clip}")
    if report.ran_on:
        console.line(f"ran on {report.ran_on}")


def warn_about(report: ParityReport, weights: str) -> None:
    """Say on stderr what a reader must not miss."""
    if weights == "stand-in":
        console.warn(STAND_IN_WARNING)
    if report.not_run is not None:
        console.warn(f"not verified: {report.not_run}")
    for note in report.notes:
        console.warn(note)
    if report.allowed_mismatch:
        console.warn(f"kept with --allow-mismatch: {'; '.join(report.failures)}")


def _dry_run(plan: ExportPlan, clip: Clip, force: bool, as_json: bool) -> None:
    """Check the clip, the output folder and the weights, then say what would be done."""
    from edgetrack.export.pipeline import check_plan

    source = check_plan(plan, clip=clip, force=force)
    facts = {
        "model": plan.variant,
        "weights": plan.weights,
        "checkpoint_sha256": source.sha256,
        "target": plan.target.name,
        "precision": plan.precision,
        "device": plan.device,
        "output": str(plan.output),
    }
    if as_json:
        console.emit_json({"schema": 1, "dry_run": True, **facts})
        return
    for name, value in facts.items():
        console.line(f"{name.ljust(18)} {value}")
    console.line("all of this is in order; nothing was built (--dry-run)")


def _print_result(result: ExportResult, plan: ExportPlan, as_json: bool) -> None:
    from edgetrack.artifact import read_artifact

    artifact = read_artifact(result.path, verify_checksums=False)
    precision = artifact.manifest["precision"]
    warn_about(result.report, artifact.model.weights)
    if not all(entry.file.endswith(plan.target.suffix) for entry in artifact.graphs):
        console.warn(
            f"not built: a tool of target {plan.target.name} is missing here; `edgetrack rebuild {result.path}` builds "
            "it where that is installed, and a script in the folder says what is run"
        )
    warn_if_slow(precision)
    if as_json:
        verification = result.report.as_dict()
        told = {"path": str(result.path), "verification": verification, "speed": precision.get("speed")}
        console.emit_json({"schema": 1, **told})
        return
    if result.report.loop is not None:
        print_report(result.report, plan.output.name)
    if precision.get("speed", {}).get("faster"):
        console.line(f"{precision['actual']} is {in_words(precision['speed'])}")
    megabytes = artifact.size_bytes() / 1e6
    console.line(f"wrote {result.path} ({megabytes:.1f} MB), verification: {result.report.verdict}")
