"""From a checkpoint to a proven artifact: load, graphs, build, verify, write."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgetrack.artifact import Artifact, ArtifactWriter, read_artifact, sha256_of
from edgetrack.demo import WEIGHTS
from edgetrack.errors import InputError, ParityError
from edgetrack.export.language import TOKENIZER_FILE, TextFiles
from edgetrack.export.manifest import build_section, extra_sections, graph_section, model_sections, target_sections
from edgetrack.export.models import find_variant
from edgetrack.export.parity.clip import Clip, demo_clip
from edgetrack.export.parity.gate import Progress, Silent, check_against_source, checked_head
from edgetrack.export.parity.report import ParityReport
from edgetrack.export.precision import CalibrationPlan, Quantization, check_calibration, quantize, write_typed
from edgetrack.export.precision.plot import check_plot, write_plot
from edgetrack.export.source import STAND_IN, Source, load_source
from edgetrack.export.speed import FloatTwin, SpeedCheck, speed_section
from edgetrack.export.targets import TargetInfo, target_of, writer_of
from edgetrack.export.targets.base import ExtraFile
from edgetrack.runtime.loading_memory import return_freed

__all__ = [
    "FIXED_STEPS",
    "ExportPlan",
    "ExportResult",
    "check_plan",
    "device_of",
    "export_tracker",
    "plan_export",
    "run_plan",
    "source_of",
    "verify_artifact",
]

FIXED_STEPS = 5
"""What `run_plan` advances its progress by, beside one step per frame of the clip."""

_MAX_SEED = 2**53 - 1  # what every JSON reader keeps exactly: it is in the manifest


@dataclass(frozen=True)
class ExportPlan:
    """What an export will do, after a check of everything that can be checked without doing it.

    Attributes:
        variant: name of the network.
        weights: path of the checkpoint, or "stand-in".
        seed: of stand-in weights.
        target: what it is built for.
        precision: one of the target's.
        output: the artifact's folder.
        device: what the gate runs it on and the manifest names, one of the target's.
        options: the target's own, each with its value.
        calibration: for int8 and mixed, else None.
        text: files of the text side, for trackers with language.
    """

    variant: str
    weights: str
    seed: int
    target: TargetInfo
    precision: str
    output: Path
    device: str
    options: Mapping[str, Any] = field(default_factory=dict)
    calibration: CalibrationPlan | None = None
    text: TextFiles = field(default_factory=TextFiles)

    @property
    def command(self) -> str:
        """The command line that repeats this export."""
        words = ["edgetrack", "export", self.variant, "--weights", self.weights, "--target", self.target.name]
        words += ["--precision", self.precision]
        words += ["--device", self.device] if self.device != self.target.devices[0] else []
        words += ["--seed", str(self.seed)] if self.weights == STAND_IN else []
        words += ["--text-encoder", str(self.text.encoder)] if self.text.encoder else []
        words += ["--vocabulary", str(self.text.vocabulary)] if self.text.vocabulary else []
        words += ["--diffusion", str(self.text.diffusion)] if self.text.diffusion else []
        words += ["--lora", str(self.text.lora)] if self.text.lora else []
        for option in self.target.options:
            value = self.options.get(option.name, option.default)
            if value != option.default:
                words += [f"--{option.name}"] if option.kind is bool else [f"--{option.name}", str(value)]
        words += self.calibration.words() if self.calibration is not None else []
        return shlex.join(words)


@dataclass(frozen=True)
class ExportResult:
    """A written artifact and what its gate found."""

    path: Path
    report: ParityReport


def plan_export(
    variant: str,
    weights: str | Path,
    *,
    target: str = "onnx",
    precision: str = "fp32",
    output: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
    calibration: CalibrationPlan | None = None,
    text: TextFiles | None = None,
) -> ExportPlan:
    """Check names and packages.

    Args:
        variant: name of the network, as `edgetrack models` lists them.
        weights: path of a published checkpoint, or "stand-in" for made-up weights that follow no target.
        target: name or alias, as `edgetrack targets` lists them.
        precision: one of the target's.
        output: the artifact's folder; None: `<variant>-<target>-<precision>` in the current folder.
        seed: of stand-in weights.
        device: one of the target's, as "cpu", "cuda:1" or "GPU"; None: its first one.
        options: the target's own, as `TargetInfo.options` declares them.
        calibration: what int8 and mixed are calibrated with; there is no default.
        text: files of the text side, for trackers with language.

    Raises:
        InputError: no such variant, target, precision, device or option, options that contradict each other, a seed
            below 0 or above 2**53 - 1, or no calibration where the precision needs one, or one where it needs none.
        EngineUnavailable: a package that the target needs is not installed.
        WrongMachine: what the options say of the machine to build for contradicts itself.
    """
    find_variant(variant)
    if not 0 <= seed <= _MAX_SEED:
        raise InputError(f"seed is {seed}; give a number from 0 to {_MAX_SEED}")
    info = target_of(target)
    info.check_precision(precision)
    check_calibration(precision, calibration)
    if calibration is not None:
        check_plot()
    chosen = device_of(info, device)
    said = info.check_options(options or {}, precision)
    writer_of(info.name, said).check()
    folder = Path(output) if output is not None else Path(f"{variant}-{info.name}-{precision}")
    return ExportPlan(
        variant, str(weights), seed, info, precision, folder, chosen, said, calibration, text or TextFiles()
    )


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
        manifest = _build(plan, source, writer.folder, threads, progress)
        return_freed()  # a large network's copies, before the gate loads it again
        writer.write_manifest(manifest)
        artifact = read_artifact(writer.folder)
        report = check_against_source(source, artifact, clip, threads=threads, progress=progress)
        report = _judge(report, plan.output, allow_mismatch)
        if plan.precision != "fp32":
            with tempfile.TemporaryDirectory(prefix="edgetrack-") as scratch:
                base = FloatTwin(
                    plan, lambda twin, folder: _build(twin, source, folder, threads, Silent()), Path(scratch)
                )
                manifest["precision"]["speed"] = speed_section(base, writer.folder, report.not_run, speed, progress)
        progress.stage("write")
        writer.write_manifest({**manifest, "verification": report.as_dict()})
        path = writer.commit()
        _report_path(plan.output).unlink(missing_ok=True)
        progress.advance()
    return ExportResult(path, report)


def verify_artifact(
    path: str | Path,
    weights: str | Path | None = None,
    *,
    seed: int | None = None,
    text: TextFiles | None = None,
    clip: Clip | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Run the gate again on an artifact that was written before, on this machine.

    Args:
        path: the artifact's folder.
        weights: the checkpoint it was built from, or "stand-in"; None: only where edgetrack's own or stand-in weights
            are in it.
        seed: of stand-in weights; None: the one in the manifest.
        text: files of the text side, for trackers with language.
        clip: see `run_plan`.
        device: what to run the artifact on; "auto": what it was built for.
        threads: see `run_plan`.
        progress: told of stages and steps.

    Raises:
        ArtifactError: the artifact is damaged or of a model that this version does not know.
        CheckpointError: the checkpoint cannot be read or is of another model.
        InputError: no weights are given, or the clip cannot be used.
    """
    artifact = read_artifact(path)
    (progress or Silent()).stage("load weights")
    source = source_of(artifact, weights, seed, text)
    return check_against_source(
        source, artifact, clip or demo_clip(), device=device, threads=threads, progress=progress
    )


def source_of(
    artifact: Artifact, weights: str | Path | None, seed: int | None, text: TextFiles | None = None
) -> Source:
    """Load what an artifact was built from; see `verify_artifact` for arguments and errors."""
    if weights is None:
        weights = _known_weights(artifact)
    used_seed = seed if seed is not None else artifact.build.seed or 0
    return load_source(artifact.model.variant, weights, used_seed, _with_vocabulary(artifact, text or TextFiles()))


def _with_vocabulary(artifact: Artifact, text: TextFiles) -> TextFiles:
    """Return the files with the artifact's own vocabulary, where it has one and none is given."""
    if text.vocabulary is not None or not artifact.tracker.get("language", {}).get("tokenizer"):
        return text
    return replace(text, vocabulary=artifact.file(TOKENIZER_FILE))


def _known_weights(artifact: Artifact) -> str:
    """Return the weights of an artifact that was built without a file of the user's."""
    if artifact.model.weights == STAND_IN:
        return STAND_IN
    for path in WEIGHTS.values():
        if path.is_file() and sha256_of(path) == artifact.model.checkpoint_sha256:
            return str(path)
    raise InputError(f"{artifact.path} was built from a checkpoint; give it with --weights to verify against")


def _build(plan: ExportPlan, source: Source, folder: Path, threads: int | None, progress: Progress) -> dict[str, Any]:
    """Write all graphs into `folder` and return the manifest, its verification still empty."""
    writer = writer_of(plan.target.name, plan.options)
    precision = plan.target.typed.get(plan.precision, plan.precision)
    files: dict[str, tuple[str, ...]] = {}
    quantization: Quantization | None = None
    with tempfile.TemporaryDirectory(prefix="edgetrack-") as scratch:
        if plan.calibration is not None:
            calibrated = Path(scratch) / "calibration"
            calibrated.mkdir()
            quantization = quantize(
                source, plan.calibration, calibrated, threads=threads, search=True, progress=progress
            )
        typed = []
        for graph in source.graphs:
            progress.stage(f"build {graph.role} for {plan.target.name}")
            metadata = {
                "family": source.family.name,
                "variant": plan.variant,
                "role": graph.role,
                "checkpoint_sha256": source.sha256,
            }
            made = write_typed(
                graph, Path(scratch), precision, metadata, asked=plan.precision, quantization=quantization
            )
            typed.append(made)
            writer.say = partial(_stage_of, progress, f"build {graph.role} for {plan.target.name}")
            files[graph.role] = writer.write(made, folder)
        extras = (*writer.finish(typed, folder), *_sensitivity_files(plan, quantization, folder))
    if source.text is not None:
        source.text.write(folder)
    progress.advance()
    islands = [f"{item.role}/{name}" for item in typed for name in item.islands]
    return {
        **model_sections(source),
        "graphs": [
            graph_section(graph, folder, files[graph.role], writer.pixel_inputs(graph)) for graph in source.graphs
        ],
        **extra_sections(extras, folder),
        **target_sections(plan.target, plan.precision, writer, plan.device, islands),
        "calibration": None if quantization is None else dict(quantization.manifest),
        "verification": None,
        "build": build_section(plan.command, source.seed),
    }


def _sensitivity_files(plan: ExportPlan, quantization: Quantization | None, folder: Path) -> tuple[ExtraFile, ...]:
    """Write what the choice of 8-bit layers follows from, as numbers and as a picture."""
    if plan.calibration is None or quantization is None or quantization.sensitivity is None:
        return ()
    found = quantization.sensitivity
    text = json.dumps(found.as_dict(plan.calibration), indent=2) + "\n"
    (folder / "sensitivity.json").write_text(text, encoding="utf-8")
    write_plot(found, plan.calibration.max_auc_drop, folder / "sensitivity.png")
    return ExtraFile("sensitivity.json", "sensitivity"), ExtraFile("sensitivity.png", "plot")


def _stage_of(progress: Progress, stage: str, detail: str) -> None:
    """Say what of a stage is being done."""
    progress.stage(f"{stage}: {detail}")


def _judge(report: ParityReport, output: Path, allow_mismatch: bool) -> ParityReport:
    """Return the report, marked if its failure is allowed; a failure that is not is written and raised."""
    if not report.failed:
        return report
    if allow_mismatch:
        return replace(report, allowed_mismatch=True)
    beside = _report_path(output)
    try:
        _write_report(report, beside)
        written = f"only the report {beside} was written"
    except OSError as error:
        written = f"nothing was written, not even the report {beside} ({error.strerror or error})"
    raise ParityError(
        f"{output.name} does not give its source's results: {'; '.join(report.failures)}; "
        f"{written} (--allow-mismatch keeps the artifact all the same)"
    )


def _write_report(report: ParityReport, path: Path) -> None:
    """Write the report in one step: all of it or nothing."""
    text = json.dumps(report.as_dict(every_frame=True), indent=2) + "\n"
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def device_of(target: TargetInfo, device: str | None) -> str:
    """Return `device`, which may name one of several of its kind ("cuda:1", "GPU.0"), or the target's first.

    Raises:
        InputError: the target has no such device.
    """
    if device is None:
        return target.devices[0]
    kind = device.replace(".", ":").split(":")[0].lower()
    if kind not in {known.lower() for known in target.devices}:
        raise InputError(f"{target.name} has no device {device!r}; give {', '.join(target.devices)}")
    return device


def _report_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.parity.json")
