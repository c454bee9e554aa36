"""Builds an artifact's engine files again, on this machine, from the typed graphs that it carries.

Needs what the target's tools need and nothing else: no PyTorch, unless the result is to be verified against weights.
"""

from __future__ import annotations

import copy
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgetrack
from edgetrack.artifact import Artifact, ArtifactWriter, GraphEntry, read_artifact
from edgetrack.errors import ArtifactError, EngineUnavailable, InputError, ParityError, WrongMachine
from edgetrack.export.manifest import extra_sections, file_section, target_section, utc_now
from edgetrack.export.models.base import Normalisation
from edgetrack.export.precision import TypedGraph
from edgetrack.export.targets import TargetInfo, TargetWriter, target_of, writer_of
from edgetrack.export.targets.base import ExtraFile
from edgetrack.loading import load_artifact
from edgetrack.runtime.engine import concrete_shape

if TYPE_CHECKING:
    from edgetrack.export.parity.clip import Clip
    from edgetrack.export.parity.gate import Progress
    from edgetrack.export.parity.report import ParityReport

__all__ = ["REBUILD_STEPS", "rebuild_artifact"]

REBUILD_STEPS = 3
"""What `rebuild_artifact` advances its progress by, beside one step per frame of the clip where weights are given."""

_WHY = "built again on this machine and not compared since; give --weights, or use edgetrack verify"
_NOT_RUN = f"not run: {_WHY}"


@dataclass(frozen=True)
class _Signature:
    """A graph's source as the manifest describes it; inputs are zeros, with the first value of dimensions that vary."""

    role: str
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]
    dims: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    crops: Mapping[str, Normalisation] = field(default_factory=dict)


def rebuild_artifact(
    path: str | Path,
    *,
    output: str | Path | None = None,
    force: bool = False,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    clip: Clip | None = None,
    threads: int | None = None,
    progress: Progress,
) -> Path:
    """Build an artifact's engine files again and return its folder.

    Files, checksums, the machine it is tied to and the verification are replaced in one step, after everything went
    well; the rest of the manifest stays. The new files are opened if this machine has a device for them. Without
    weights the verification says that it was not run.

    Args:
        path: the artifact's folder.
        output: folder of the result; None: `path` itself.
        force: replace an artifact that is at `output`.
        options: of the target, as for an export; what is not said is as it was, unless it names a thing of the machine
            that built it.
        weights: the checkpoint it was built from, or "stand-in": run the parity gate. None: do not.
        clip: what the gate runs on; None: the clip that comes with edgetrack.
        threads: CPU threads of the gate.
        progress: told of stages and steps.

    Raises:
        ArtifactError: the artifact is damaged, its target unknown, it carries no source of some graph, or the build
            fails.
        EngineUnavailable: the target's tools are not here.
        InputError: an option is impossible, or `output` is taken.
        ParityError: the gate failed; the artifact is as it was.
    """
    artifact = read_artifact(path)
    info = _target(artifact)
    sources = _sources(artifact)
    writer = writer_of(info.name, info.check_options({**_kept_options(artifact, info), **(options or {})}))
    writer.check_rebuild()
    in_place = output is None
    with ArtifactWriter(artifact.path if output is None else output, force=force or in_place) as made:
        progress.advance()
        manifest = _build(artifact, info, sources, writer, folder=made.folder, progress=progress)
        made.write_manifest({**manifest, "verification": _unverified(artifact)})
        progress.advance()
        built = read_artifact(made.folder)
        if weights is None:
            progress.stage("open")
            _try_to_open(built)
        else:
            report = _verify(built, weights, clip, threads, progress)
            made.write_manifest({**manifest, "verification": report.as_dict()})
        progress.stage("write")
        done = made.commit()
        progress.advance()
    return done


def _target(artifact: Artifact) -> TargetInfo:
    try:
        return target_of(artifact.target.name)
    except InputError as error:
        raise ArtifactError(f"{artifact.path}: {error}; use the edgetrack that wrote it") from error


def _sources(artifact: Artifact) -> dict[str, Path]:
    """Return the typed ONNX file of every graph, by role."""
    found = {
        extra.role: artifact.file(extra.file) for extra in artifact.extras if extra.kind == "source" and extra.role
    }
    missing = [entry.role for entry in artifact.graphs if entry.role not in found]
    if missing:
        raise ArtifactError(
            f"{artifact.path}: carries no source of the graph {', '.join(missing)} to build from; export it again from "
            f"its checkpoint, to a target that carries sources and without --no-source"
        )
    return {entry.role: found[entry.role] for entry in artifact.graphs}


def _kept_options(artifact: Artifact, info: TargetInfo) -> dict[str, Any]:
    """Return what the manifest says of options, as far as it is for the target to say; the manifest is untrusted."""
    said = artifact.manifest["target"].get("options", {})
    if not isinstance(said, dict):
        raise ArtifactError(f"{artifact.path}: target.options is {said!r}, must be an object; export it again")
    lasting = {option.name for option in info.options if not option.here_only and option.kind is not Path}
    return {name: value for name, value in said.items() if name in lasting}


def _build(
    artifact: Artifact,
    info: TargetInfo,
    sources: Mapping[str, Path],
    writer: TargetWriter,
    *,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write all files into `folder` and return the manifest, its verification as it was."""
    manifest: dict[str, Any] = copy.deepcopy(dict(artifact.manifest))
    typed = []
    for entry, section in zip(artifact.graphs, manifest["graphs"], strict=True):
        stage = f"build {entry.role} for {info.name}"
        progress.stage(stage)
        writer.say = lambda detail, stage=stage: progress.stage(f"{stage}: {detail}")  # type: ignore[misc]
        typed.append(_typed(artifact, entry, info, sources[entry.role]))
        _same_pixels(artifact, typed[-1], writer)
        section.update(file_section(folder, writer.write(typed[-1], folder)))
    extras = _with_old_extras(artifact, writer.finish(typed, folder), folder)
    command = shlex.join(["edgetrack", "rebuild", artifact.path.name])
    return {
        **manifest,
        **extra_sections(extras, folder),
        "target": target_section(info, writer, artifact.target.device),
        "build": {
            **manifest["build"],
            "rebuilt": {"edgetrack": edgetrack.__version__, "command": command, "time": utc_now()},
        },
    }


def _typed(artifact: Artifact, entry: GraphEntry, info: TargetInfo, path: Path) -> TypedGraph:
    asked = artifact.precision.asked
    sizes = {symbol: values[0] for symbol, values in entry.dims.items()}
    inputs = {
        tensor.name: np.zeros(concrete_shape(f"input {tensor.name}", tensor.shape, sizes), tensor.dtype)
        for tensor in entry.inputs
    }
    crops = _crops(artifact, entry)
    inputs |= {name: np.zeros((1, 3, *inputs[name].shape[1:3]), np.float32) for name in crops}
    dims = {
        tensor.name: {axis: size for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in entry.inputs
    }
    outputs = tuple(tensor.name for tensor in entry.outputs)
    graph = _Signature(entry.role, inputs, outputs, dims, entry.dims, crops)
    prefix = f"{entry.role}/"
    islands = tuple(name.removeprefix(prefix) for name in artifact.precision.fp32_islands if name.startswith(prefix))
    metadata = {
        "family": artifact.model.family,
        "variant": artifact.model.variant,
        "role": entry.role,
        "checkpoint_sha256": artifact.model.checkpoint_sha256,
    }
    return TypedGraph(graph, path, info.typed.get(asked, asked), asked, metadata, islands)


def _crops(artifact: Artifact, entry: GraphEntry) -> dict[str, Normalisation]:
    """Return the inputs that the graph's files take as uint8 pixels; its source takes them as other graphs do."""
    names = [tensor.name for tensor in entry.inputs if (tensor.dtype, tensor.layout) == ("uint8", "NHWC")]
    how = Normalisation(tuple(artifact.tracker["mean"]), tuple(artifact.tracker["std"]))
    return dict.fromkeys(names, how)


def _same_pixels(artifact: Artifact, source: TypedGraph, writer: TargetWriter) -> None:
    """Refuse options by which files would take crops in another form than the manifest says, which stays."""
    before, now = set(source.graph.crops), set(writer.pixel_inputs(source.graph))
    if before != now:
        raise InputError(
            f"{artifact.path}: graph {source.role} was exported to take {_listed(before)} as uint8 pixels, and would "
            f"be rebuilt to take {_listed(now)}; leave that option as it was, or export again"
        )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no input"


def _unverified(artifact: Artifact) -> dict[str, Any]:
    """Return a verification that says so, and keeps what is accepted, which `edgetrack verify` may need."""
    old = artifact.verification or {}
    thresholds = {"thresholds": old["thresholds"]} if "thresholds" in old else {}
    return {"verdict": _NOT_RUN, "not_run": _WHY, **thresholds}


def _with_old_extras(artifact: Artifact, new: tuple[ExtraFile, ...], folder: Path) -> list[ExtraFile]:
    """Copy the extra files that the build did not make anew (plots, tables, sources) and return all.

    A script stays behind: it told how to make what is made by now.
    """
    extras = list(new)
    for extra in artifact.extras:
        if extra.kind != "script" and not (folder / extra.file).exists():
            shutil.copyfile(artifact.file(extra.file), folder / extra.file)
            extras.append(ExtraFile(extra.file, extra.kind, extra.role))
    return extras


def _try_to_open(artifact: Artifact) -> None:
    """Open every graph once, where this machine has the device; a file that cannot be opened is no result."""
    try:
        load_artifact(artifact).close()
    except (EngineUnavailable, WrongMachine):
        return


def _verify(
    artifact: Artifact, weights: str | Path, clip: Clip | None, threads: int | None, progress: Progress
) -> ParityReport:
    from edgetrack.export.verify import verify_artifact

    report = verify_artifact(artifact.path, weights, clip=clip, threads=threads, progress=progress)
    if report.failed:
        raise ParityError(
            f"{artifact.model.variant} built again does not give its source's results: {'; '.join(report.failures)}; "
            "the artifact was left as it was"
        )
    return report
