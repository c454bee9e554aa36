"""The gate itself: runs the comparisons with the engine and device that an artifact was built for."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetrack.artifact import Artifact
from edgetrack.errors import EngineUnavailable, InputError, WrongMachine
from edgetrack.export.models.base import ForcedTracker
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.forced import compare_forced
from edgetrack.export.parity.loop import ArtifactLoop, ClosedLoop, compare_loops
from edgetrack.export.parity.report import ForcedReport, Limits, LoopReport, ParityReport, TensorReport
from edgetrack.fields import Fields
from edgetrack.loading import load_artifact, open_engine

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph, Thresholds
    from edgetrack.export.source import Source
    from edgetrack.runtime.engine import Engine

__all__ = [
    "MIN_TRACKED",
    "Progress",
    "Silent",
    "check_against_artifact",
    "check_against_source",
    "checked_head",
    "torch_threads",
]

_SILENCE_S = 10.0

MIN_TRACKED = 8
"""Tracked frames that a clip must have; the network inputs of as many are compared, for sizes change in the first two.
"""


class Progress(Protocol):
    """Where long work reports to; `edgetrack.cli.console.progress` yields one."""

    def stage(self, label: str) -> None:
        """Say what is being done now."""

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""


class Silent:
    """A `Progress` that tells nobody."""

    def stage(self, label: str) -> None:
        """Do nothing."""

    def advance(self, steps: int = 1) -> None:
        """Do nothing."""


def checked_head(clip: Clip) -> list[NDArray[np.uint8]]:
    """Return the frames whose tensors are compared, RGB; the same call beforehand refuses a clip that is too short.

    Raises:
        InputError: the clip cannot be read, or has fewer than `MIN_TRACKED` frames behind the first.
    """
    head = clip.head(MIN_TRACKED + 1)
    if len(head) <= MIN_TRACKED:
        raise InputError(
            f"clip {clip.name} has {len(head)} frames, fewer than the {MIN_TRACKED + 1} that prove something; "
            "give a longer one with --clip"
        )
    return head


def check_against_source(
    source: Source,
    artifact: Artifact,
    clip: Clip,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare an artifact with the network it was built from: tensors, then boxes in the closed loop.

    Where the artifact's engine or device is not on this machine the report says so and has no findings.

    Raises:
        ArtifactError: a file cannot be loaded or gives other shapes.
        InputError: the clip cannot be used, or the family's limits do not fit the precision or the graphs.
    """
    progress = progress or Silent()
    precision = artifact.precision.actual
    limits = _as_limits(_of_graphs(source.family.thresholds(source.variant.name, precision), source.graphs))
    _check_limits(limits.tensor_max_abs, source.graphs, precision)
    head = checked_head(clip)
    try:
        with torch_threads(threads):
            engine = open_engine(artifact, device=device, threads=threads)
            try:
                ran_on = engine.describe()
                tensors = _tensors(source, artifact, engine, head, clip, limits, progress)
            finally:
                engine.close()
            reference = source.family.reference(source.variant.name, source.net)
            with load_artifact(artifact, device=device, threads=threads) as tracker:
                prompt = None if source.text is None else source.text.side.prompt
                candidate = ArtifactLoop(tracker, artifact.tracker, prompt)
                forced, loop = _boxes(reference, candidate, artifact, clip, limits, progress)
    except EngineUnavailable as error:
        return ParityReport(source.description, limits, not_run=str(error))
    except WrongMachine as error:  # its cause says it without the path, which an export has yet to change
        return ParityReport(source.description, limits, not_run=str(error.__cause__ or error))
    return ParityReport(source.description, limits, tensors, loop, forced=forced, engine=ran_on, threads=threads)


def check_against_artifact(
    reference: Artifact,
    artifact: Artifact,
    clip: Clip,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare the boxes of two artifacts, each on its own engine; needs no PyTorch.

    Accepted is what the family accepts at the coarser of the two precisions; where PyTorch, and so the family, is not
    installed, what both manifests accept. `device` is for `artifact`.

    Raises:
        ArtifactError: an artifact cannot be loaded or names no thresholds.
        EngineUnavailable: an engine or device is not here.
        InputError: the clip cannot be used, or both are the same artifact.
    """
    _refuse_same(reference, artifact)
    progress = progress or Silent()
    limits = _pair_limits(reference, artifact)
    checked_head(clip)
    with (
        load_artifact(reference, threads=threads) as expected,
        load_artifact(artifact, device=device, threads=threads) as tracker,
    ):
        sides = ArtifactLoop(expected, reference.tracker), ArtifactLoop(tracker, artifact.tracker)
        forced, loop = _boxes(*sides, artifact, clip, limits, progress)
        ran_on = tracker.engine.describe()
    target = reference.target
    name = f"artifact {reference.path.name} on {target.engine} {target.version}"
    own = (reference.verification or {}).get("verdict", "not verified")
    notes = () if own == "passed" else (f"the reference artifact {reference.path} is itself not proven: {own}",)
    return ParityReport(name, limits, loop=loop, forced=forced, engine=ran_on, threads=threads, notes=notes)


def _tensors(  # noqa: PLR0917 (private, called once)
    source: Source,
    artifact: Artifact,
    engine: Engine,
    head: list[NDArray[np.uint8]],
    clip: Clip,
    limits: Limits,
    progress: Progress,
) -> tuple[TensorReport, ...]:
    from edgetrack.export.parity.tensors import compare_tensors

    stage = "verify: tensors"
    progress.stage(stage)
    inputs = source.family.parity_inputs(source.variant.name, source.net, head, clip.box)
    found = compare_tensors(
        source.graphs,
        artifact,
        engine,
        inputs,
        limits.tensor_max_abs,
        stated=limits.tensor_scale,
        on_input=_now_and_then(progress, stage, "input"),
    )
    progress.advance()
    return found


def _boxes(  # noqa: PLR0917 (private, called twice)
    reference: ClosedLoop, candidate: ArtifactLoop, artifact: Artifact, clip: Clip, limits: Limits, progress: Progress
) -> tuple[ForcedReport | None, LoopReport]:
    """Compare decoded corners from forced states, where both sides can be forced, and boxes in the closed loop."""
    forced = None
    if isinstance(reference, ForcedTracker) and reference.forcible and candidate.forcible:
        stage = "verify: decoding from forced states"
        progress.stage(stage)
        forced = compare_forced(
            reference,
            candidate,
            clip.frames(),
            clip,
            margin=limits.margin,
            near_px=limits.near_px,
            on_frame=_now_and_then(progress, stage, "frame", None if clip.count is None else clip.count - 1),
        )
    progress.advance()
    progress.stage("verify: boxes on the clip")
    loop = compare_loops(
        reference,
        candidate,
        clip.frames(),
        clip.box,
        clip=clip.name,
        box_px=limits.box_px,
        minimum_px=_minimum_px(artifact.tracker),
        truth=clip.truth,
        on_frame=progress.advance,
    )
    return forced, loop


def _now_and_then(progress: Progress, stage: str, what: str, count: int | None = None) -> Callable[[], None]:
    """Return what counts things of a stage, and on slow devices says every ten seconds how far that is."""
    started = said = time.monotonic()
    done = 0
    of = "" if count is None else f" of {count}"

    def one_more() -> None:
        nonlocal said, done
        done += 1
        now = time.monotonic()
        if now - said >= _SILENCE_S:
            said = now
            progress.stage(f"{stage}: {what} {done}{of}, {(now - started) / done:.1f} s each")

    return one_more


def _minimum_px(spec: Mapping[str, Any]) -> float | None:
    margin = spec.get("clip_margin_px")
    return float(margin) if isinstance(margin, int | float) else None


def _of_graphs(given: Thresholds, graphs: Sequence[DeployGraph]) -> Thresholds:
    """Return limits without those of optional outputs that no graph gives."""
    outputs = {name for graph in graphs for name in graph.outputs}
    absent = set(given.optional) - outputs
    return replace(given, tensor_max_abs={k: v for k, v in given.tensor_max_abs.items() if k not in absent})


def _as_limits(given: Thresholds) -> Limits:
    return Limits(
        dict(given.tensor_max_abs),
        given.box_px,
        given.min_iou,
        given.mean_iou,
        given.swapped,
        given.margin,
        given.corner_px,
        given.forced_iou,
        dict(given.tensor_scale),
        given.near_px,
        given.followed_iou,
    )


def _check_limits(limits: Mapping[str, float], graphs: Sequence[DeployGraph], precision: str) -> None:
    """Raise InputError for a limit that judges nothing and, at fp32, for an output that nothing judges."""
    outputs = {name for graph in graphs for name in graph.outputs}
    if unknown := sorted(set(limits) - outputs):
        raise InputError(f"the family limits {', '.join(unknown)}, which no graph gives; it gives {sorted(outputs)}")
    if precision == "fp32" and (missing := sorted(outputs - set(limits))):
        raise InputError(f"the family states no fp32 limit for {', '.join(missing)}; add it to its thresholds")


def _refuse_same(reference: Artifact, artifact: Artifact) -> None:
    """Raise InputError where a comparison would prove nothing."""
    sums = [{entry.role: sorted(entry.sha256.values()) for entry in side.graphs} for side in (reference, artifact)]
    if reference.path.resolve() == artifact.path.resolve() or sums[0] == sums[1]:
        raise InputError(
            f"{reference.path} and {artifact.path} are the same artifact, so comparing them proves nothing; "
            "give another one, or none to compare with the published loop"
        )


def _pair_limits(reference: Artifact, artifact: Artifact) -> Limits:
    """Return what is accepted between two artifacts; the family's own table cannot be edited like a manifest."""
    pair = (reference, artifact)
    if importlib.util.find_spec("torch") is None:
        return _merge([_limits_of(side) for side in pair], stricter=True)
    from edgetrack.export.models import family_of

    given = [family_of(side.model.variant).thresholds(side.model.variant, side.precision.actual) for side in pair]
    return _merge([_as_limits(item) for item in given], stricter=False)


def _limits_of(artifact: Artifact) -> Limits:
    fields = Fields(artifact.manifest, str(artifact.path)).section("verification").section("thresholds")
    return Limits(
        {},
        math.inf if fields.value.get("box_px") is None else fields.number("box_px", 0.0, 1e9),
        fields.number("min_iou", 0.0, 1.0),
        fields.number("mean_iou", 0.0, 1.0),
        None if fields.value.get("swapped") is None else int(fields.number("swapped", 0, 1e6)),
        0.0 if fields.value.get("margin") is None else fields.number("margin", 0.0, 1e9),
        math.inf if fields.value.get("corner_px") is None else fields.number("corner_px", 0.0, 1e9),
        0.0 if fields.value.get("forced_iou") is None else fields.number("forced_iou", 0.0, 1.0),
        near_px=0.0 if fields.value.get("near_px") is None else fields.number("near_px", 0.0, 1e9),
        followed_iou=0.0 if fields.value.get("followed_iou") is None else fields.number("followed_iou", 0.0, 1.0),
    )


def _merge(limits: Sequence[Limits], *, stricter: bool) -> Limits:
    least, most = (min, max) if stricter else (max, min)
    swapped = [math.inf if item.swapped is None else item.swapped for item in limits]
    bound = least(swapped)
    return Limits(
        {},
        least(item.box_px for item in limits),
        most(item.min_iou for item in limits),
        most(item.mean_iou for item in limits),
        None if math.isinf(bound) else int(bound),
        least(item.margin for item in limits),
        least(item.decoded_px for item in limits),
        most(item.forced_iou for item in limits),
        near_px=least(item.near_px for item in limits),
        followed_iou=most(item.followed_iou for item in limits),
    )


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use `count` threads inside the block; None leaves it alone."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
