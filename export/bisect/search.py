"""The search: blocks first, then every layer of the first block that differs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.artifact import Artifact
from edgetrack.errors import InputError
from edgetrack.export.bisect.inputs import Inputs, recorded_inputs, source_inputs
from edgetrack.export.bisect.probes import Layer, Probe, probe_of
from edgetrack.export.bisect.report import DEFAULT_LIMITS, BisectReport, LayerError, compare_layer
from edgetrack.export.bisect.structure import waists
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.gate import Progress, Silent
from edgetrack.export.precision import write_typed
from edgetrack.export.source import Source

__all__ = ["Found", "bisect_artifacts", "bisect_graph", "bisect_source"]

_DILUTION = 100.0
"""How much larger the tensor of a block may be than what one layer adds to it: an error inside shows the less there."""

_TOGETHER = 24  # tensors that are looked at in one run; those of large networks would not all fit
_ROUGHEST = ("fp32", "fp16", "mixed", "int8")


@dataclass(frozen=True)
class Found:
    """A report and what its picture needs.

    Attributes:
        report: what was found.
        inputs: what the graphs were fed.
        errors: (role, tensor) -> artifact minus reference, for the layers of the report.
    """

    report: BisectReport
    inputs: Inputs
    errors: Mapping[tuple[str, str], NDArray[np.float32]]


def bisect_source(
    source: Source,
    artifact: Artifact,
    clip: Clip,
    frame: int,
    *,
    limit: float | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Found:
    """Compare an artifact with the float32 graphs of its source, run by ONNX Runtime on what the published loop feeds.

    Args:
        source: the network and weights that the artifact was built from.
        artifact: what to look into.
        clip: where inputs come from.
        frame: of the clip, from 1.
        limit: relative error of a layer that is accepted; None: what the precision explains.
        threads: CPU threads.
        progress: told of stages.

    Raises:
        ArtifactError: a file cannot be read or run.
        InputError: the clip has no such frame, or nothing can be compared.
    """
    progress = progress or Silent()
    progress.stage("bisect: record inputs")
    inputs = source_inputs(source, clip, frame)
    with tempfile.TemporaryDirectory(prefix="edgetrack-") as scratch:
        progress.stage("bisect: write the source's graphs")
        told = {"checkpoint_sha256": source.sha256}
        files = {graph.role: write_typed(graph, Path(scratch), "fp32", told).path for graph in source.graphs}
        named = f"float32 graphs of {source.description.removeprefix('published loop of ')}"
        return _Bisection(artifact, clip, frame, inputs, threads, progress).run(
            files, "onnxruntime", named, limit or DEFAULT_LIMITS[artifact.precision.actual]
        )


def bisect_artifacts(
    reference: Artifact,
    artifact: Artifact,
    clip: Clip,
    frame: int,
    *,
    limit: float | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Found:
    """Compare two artifacts on what the reference's own tracker feeds its graphs; see `bisect_source` for the rest.

    Raises:
        EngineUnavailable: the reference's engine or device is not here.
    """
    progress = progress or Silent()
    for side in (reference, artifact):
        probe_of(side.target.engine)
    if reference.model.variant != artifact.model.variant:
        raise InputError(
            f"{reference.path} is of {reference.model.variant}, {artifact.path} of {artifact.model.variant}; "
            "bisect compares builds of one network"
        )
    progress.stage("bisect: record inputs")
    inputs = recorded_inputs(reference, clip, frame, threads)
    files = {entry.role: reference.file(entry.file) for entry in reference.graphs}
    if limit is None:
        coarser = max(reference.precision.actual, artifact.precision.actual, key=_ROUGHEST.index)
        limit = DEFAULT_LIMITS[coarser]
    search = _Bisection(artifact, clip, frame, inputs, threads, progress)
    return search.run(files, reference.target.engine, f"artifact {reference.path}", limit)


@dataclass(frozen=True)
class _Bisection:
    """Goes through the graphs in their order, until one differs."""

    artifact: Artifact
    clip: Clip
    frame: int
    inputs: Inputs
    threads: int | None
    progress: Progress

    def run(self, files: Mapping[str, Path], engine: str, named: str, limit: float) -> Found:
        layers: list[LayerError] = []
        errors: dict[tuple[str, str], NDArray[np.float32]] = {}
        first = None
        described = ("", "")
        for entry in self.artifact.graphs:
            if entry.role not in self.inputs or entry.role not in files:
                continue
            self.progress.stage(f"bisect: {entry.role}")
            feeds = self.inputs[entry.role]
            reference = probe_of(engine)(files[entry.role], feeds, self.threads)
            own = probe_of(self.artifact.target.engine)(self.artifact.file(entry.file), feeds, self.threads)
            described = f"{named} on {reference.describe()}", f"artifact {self.artifact.path} on {own.describe()}"
            compared, differences = bisect_graph(entry.role, reference, own, limit)
            layers += compared
            errors |= {(entry.role, name): array for name, array in differences.items()}
            first = next((item for item in compared if item.diverged), None)
            if first is not None:
                break
        if not layers:
            raise InputError(f"{self.artifact.path}: none of its graphs is one of {named}; nothing was compared")
        report = BisectReport(*described, self.clip.name, self.frame, limit, tuple(layers), first)
        return Found(report, self.inputs, errors)


def bisect_graph(
    role: str, reference: Probe, artifact: Probe, limit: float
) -> tuple[list[LayerError], dict[str, NDArray[np.float32]]]:
    """Compare the blocks of one graph, then the layers before the first block that differs.

    Returns:
        All that was compared, in order, and artifact minus reference by tensor.

    Raises:
        ArtifactError: a file cannot be run.
        InputError: the two sides have no inner tensor of the same name.
    """
    pair = _Pair(role, reference, artifact, limit)
    outputs = [name for name in pair.outputs if name in pair.places]
    blocks = list(dict.fromkeys([*waists(pair.layers, pair.inputs, pair.outputs[0]), *outputs]))
    blocks = sorted((name for name in blocks if name in pair.places), key=pair.places.__getitem__)
    found = pair.compare(blocks, block=True)
    begin, end = _suspicious(found, set(outputs[1:]), limit)
    found += pair.compare([name for name, place in pair.places.items() if begin < place < end], block=False)
    return sorted(found, key=lambda item: item.order), pair.errors


def _suspicious(blocks: Sequence[LayerError], aside: set[str], limit: float) -> tuple[int, int]:
    """Return the places between which the first layer that differs must be; the same twice if nowhere.

    Args:
        blocks: in order.
        aside: outputs that may read any part of the graph, not what the blocks before them give alone.
        limit: accepted relative error of a layer.
    """
    sound = limit / _DILUTION
    first = next((item for item in blocks if item.relative is None or item.relative > sound), None)
    if first is None:
        return 0, 0
    end = next((item.order for item in blocks if item.diverged), blocks[-1].order)
    if first.tensor in aside:
        return -1, end
    before = [item.order for item in blocks if item.order < first.order and item.tensor not in aside]
    return max(before, default=-1), end


class _Pair:
    """One graph of both sides, and the tensors that they have in common."""

    def __init__(self, role: str, reference: Probe, artifact: Probe, limit: float) -> None:
        self.role, self.limit = role, limit
        self._sides = reference, artifact
        shared = reference.names & artifact.names
        inner = shared - set(reference.outputs) - set(artifact.outputs)
        if not inner:
            raise InputError(
                f"{reference.path} and {artifact.path} have no tensor inside with the same name: they do not come from "
                "the same ONNX graph; bisect each of them with --weights instead"
            )
        # The side that still has more of the shared tensors as separate steps tells more about the order.
        told = max(self._sides, key=lambda side: sum(name in shared for layer in side.layers for name in layer.makes))
        self.layers: Sequence[Layer] = told.layers
        self.inputs, self.outputs = tuple(told.feeds), told.outputs
        self.places: dict[str, int] = {
            name: order for order, layer in enumerate(self.layers) for name in layer.makes if name in shared
        }
        self.errors: dict[str, NDArray[np.float32]] = {}

    def compare(self, names: Sequence[str], *, block: bool) -> list[LayerError]:
        """Run both sides for these tensors, those left out that were compared before."""
        left = [name for name in names if name not in self.errors]
        parts = [left[start : start + _TOGETHER] for start in range(0, len(left), _TOGETHER)]
        return [item for part in parts for item in self._compare(part, block=block)]

    def _compare(self, names: Sequence[str], *, block: bool) -> list[LayerError]:
        expected, found = (side.run(names) for side in self._sides)
        compared = []
        for name in names:
            order = self.places[name]
            layer = self.layers[order]
            told = (layer.name, layer.op, name)
            a, b = expected[name], found[name]
            compared.append(compare_layer(self.role, told, a, b, self.limit, block=block, order=order))
            self.errors[name] = b - a if a.shape == b.shape else np.full_like(a, np.nan)
        return compared
