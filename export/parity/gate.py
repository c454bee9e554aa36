"""The gate itself: runs the comparisons with the engine and device that an artifact was built for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from edgetrack.artifact import Artifact
from edgetrack.errors import EngineUnavailable
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.loop import ArtifactLoop, ClosedLoop, compare_loops
from edgetrack.export.parity.report import Limits, LoopReport, ParityReport
from edgetrack.fields import Fields
from edgetrack.loading import load_artifact, open_engine

if TYPE_CHECKING:
    from edgetrack.export.source import Source
    from edgetrack.runtime.tracker import Tracker

__all__ = [
    "TENSOR_FRAMES",
    "Progress",
    "Silent",
    "check_against_artifact",
    "check_against_source",
    "torch_threads",
]

TENSOR_FRAMES = 8
"""Frames from the clip's start whose network inputs are compared; sizes change only in the first two."""


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
        InputError: the clip cannot be used.
    """
    from edgetrack.export.parity.tensors import compare_tensors

    progress = progress or Silent()
    given = source.family.thresholds(artifact.precision.actual)
    limits = Limits(dict(given.tensor_max_abs), given.box_px, given.min_iou, given.mean_iou)
    try:
        engine = open_engine(artifact, device=device, threads=threads)
    except EngineUnavailable as error:
        return ParityReport(source.description, limits, not_run=str(error))
    with torch_threads(threads):
        progress.stage("verify: tensors")
        inputs = source.family.parity_inputs(source.variant.name, source.net, clip.head(TENSOR_FRAMES), clip.box)
        try:
            tensors = compare_tensors(source.graphs, artifact, engine, inputs, limits.tensor_max_abs)
        finally:
            engine.close()
        progress.advance()
        reference = source.family.reference(source.variant.name, source.net)
        with load_artifact(artifact, device=device, threads=threads) as tracker:
            loop = _loop(reference, tracker, clip, limits, progress)
    return ParityReport(source.description, limits, tensors, loop)


def check_against_artifact(
    reference: Artifact,
    artifact: Artifact,
    clip: Clip,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare the boxes of two artifacts in the closed loop, each on its own engine; needs no PyTorch.

    Accepted is what either manifest accepts, the looser of the two. `device` is for `artifact`.

    Raises:
        ArtifactError: an artifact cannot be loaded or names no thresholds.
        EngineUnavailable: an engine or device is not here.
        InputError: the clip cannot be used.
    """
    progress = progress or Silent()
    limits = _looser(_limits_of(reference), _limits_of(artifact))
    with (
        load_artifact(reference, threads=threads) as expected,
        load_artifact(artifact, device=device, threads=threads) as tracker,
    ):
        loop = _loop(ArtifactLoop(expected), tracker, clip, limits, progress)
    target = reference.target
    name = f"artifact {reference.path.name} on {target.engine} {target.version}"
    return ParityReport(name, limits, loop=loop)


def _loop(reference: ClosedLoop, tracker: Tracker, clip: Clip, limits: Limits, progress: Progress) -> LoopReport:
    progress.stage("verify: boxes on the clip")
    return compare_loops(
        reference,
        ArtifactLoop(tracker),
        clip.frames(),
        clip.box,
        clip=clip.name,
        box_px=limits.box_px,
        on_frame=progress.advance,
    )


def _limits_of(artifact: Artifact) -> Limits:
    fields = Fields(artifact.manifest, str(artifact.path)).section("verification").section("thresholds")
    return Limits(
        {},
        math.inf if fields.value.get("box_px") is None else fields.number("box_px", 0.0, 1e9),
        fields.number("min_iou", 0.0, 1.0),
        fields.number("mean_iou", 0.0, 1.0),
    )


def _looser(a: Limits, b: Limits) -> Limits:
    return Limits({}, max(a.box_px, b.box_px), min(a.min_iou, b.min_iou), min(a.mean_iou, b.mean_iou))


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
