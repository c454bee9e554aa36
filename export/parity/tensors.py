"""Parity of tensors: each deployment graph in PyTorch against the artifact's file, on real inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgetrack.artifact import Artifact
from edgetrack.errors import ArtifactError, InputError
from edgetrack.export.models.base import DeployGraph, ParityInput
from edgetrack.export.parity.report import TensorReport
from edgetrack.runtime.engine import Engine, Session

__all__ = ["compare_tensors"]

_MOST_PIXEL_ERROR = 1e-3
"""Grey levels; rounding in float32 is a twentieth of that."""

_Dims = tuple[tuple[str, int], ...]


class _Worst:
    """The worst of one output over all inputs, and the sizes that it was run at."""

    def __init__(self) -> None:
        self.samples = 0
        self.max_abs = 0.0
        self.scale = 0.0
        self.cosine = 1.0
        self.finite = True
        self.sizes: set[_Dims] = set()

    def add(self, expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        a, b = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        self.samples += 1
        self.scale = max(self.scale, float(np.abs(a).max(initial=0.0)))
        if not np.isfinite(b).all() or not np.isfinite(a).all():
            self.finite = False
            return
        self.max_abs = max(self.max_abs, float(np.abs(a - b).max(initial=0.0)))
        norms = float(np.linalg.norm(a) * np.linalg.norm(b))
        if norms > 0:
            self.cosine = min(self.cosine, float(a @ b) / norms)

    def report(self, graph: DeployGraph, output: str, limit: float | None, stated: float | None) -> TensorReport:
        """Judge by `limit`, which was stated for values up to `stated`; larger ones may differ more in proportion."""
        if limit is not None and stated is not None and np.isfinite(self.scale):
            limit *= max(1.0, self.scale / stated)
        return TensorReport(
            role=graph.role,
            output=output,
            samples=self.samples,
            max_abs=self.max_abs if self.finite else None,
            scale=self.scale if np.isfinite(self.scale) else 0.0,
            cosine=self.cosine if self.finite else None,
            finite=self.finite,
            limit=limit,
            unproven=tuple(_in_words(size) for size in _all_sizes(graph) if size not in self.sizes),
        )


def compare_tensors(
    graphs: Iterable[DeployGraph],
    artifact: Artifact,
    engine: Engine,
    inputs: Iterable[ParityInput],
    limits: Mapping[str, float],
    *,
    stated: Mapping[str, float] | None = None,
    on_input: Callable[[], None] = lambda: None,
) -> tuple[TensorReport, ...]:
    """Run both on every input and return the worst of each output, in the order of graphs and outputs.

    Args:
        graphs: the PyTorch side.
        artifact: the files to compare, read.
        engine: what runs them.
        inputs: real inputs; sizes of symbolic dimensions are taken from their shapes.
        limits: output name -> largest absolute difference that is accepted.
        stated: output name -> largest absolute value that its limit was stated for, see `Thresholds.tensor_scale`.
        on_input: called after each input, for progress.

    Raises:
        ArtifactError: an output's shape differs.
    """
    by_role = {graph.role: graph for graph in graphs}
    sessions: dict[tuple[str, _Dims], Session] = {}
    worst = {(role, name): _Worst() for role, graph in by_role.items() for name in graph.outputs}
    for role, arrays in inputs:
        graph = by_role[role]
        dims = _dims_of(graph, arrays)
        size = tuple(sorted(dims.items()))
        key = (role, size)
        if key not in sessions:
            sessions[key] = engine.open(_file_of(artifact, role), dims)
        for name, expected in _run_torch(graph, arrays).items():
            found = _run_engine(sessions[key], graph, arrays)[name]
            if found.shape != expected.shape:
                raise ArtifactError(
                    f"{artifact.path}: {role}.{name} has shape {found.shape}, its source {expected.shape}; "
                    "export the artifact again"
                )
            worst[role, name].add(expected, found)
            worst[role, name].sizes.add(size)
        on_input()
    scales = stated or {}
    return tuple(
        item.report(by_role[role], name, limits.get(name), scales.get(name)) for (role, name), item in worst.items()
    )


def _all_sizes(graph: DeployGraph) -> list[_Dims]:
    """Return every combination of sizes that the graph is built for; one empty combination if it has one size."""
    symbols = sorted(graph.values)
    return [tuple(zip(symbols, sizes, strict=True)) for sizes in product(*(graph.values[name] for name in symbols))]


def _in_words(size: _Dims) -> str:
    return ", ".join(f"{symbol}={value}" for symbol, value in size) or "any size"


def _file_of(artifact: Artifact, role: str) -> Path:
    return artifact.file(artifact.graph(role).file)


def _dims_of(graph: DeployGraph, arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, int]:
    return {symbol: int(arrays[name].shape[axis]) for name, axes in graph.dims.items() for axis, symbol in axes.items()}


@torch.no_grad()
def _run_torch(graph: DeployGraph, arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    results = graph.module(*(torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in graph.inputs))
    results = results if isinstance(results, tuple | list) else (results,)
    return {name: result.numpy() for name, result in zip(graph.outputs, results, strict=True)}


def _run_engine(
    session: Session, graph: DeployGraph, arrays: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    for name, array in arrays.items():
        buffer = session.inputs[name]
        takes_pixels = name in graph.crops and buffer.dtype == np.uint8
        buffer[...] = _pixels(graph, name, array) if takes_pixels else array
    session.run()
    return {name: np.array(array) for name, array in session.outputs.items()}


def _pixels(graph: DeployGraph, name: str, planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the uint8 pixels (1, S, S, 3) that a normalised crop (1, 3, S, S) was made of.

    Raises:
        InputError: it was not made of such.
    """
    mean, std = (np.array(numbers).reshape(3, 1, 1) for numbers in graph.crops[name])
    values = (planes.astype(np.float64) * std + mean) * 255
    whole = np.rint(values)
    if np.abs(values - whole).max() > _MOST_PIXEL_ERROR or whole.min() < 0 or whole.max() > 255:
        raise InputError(
            f"the reference's {graph.role}.{name} is not a normalised crop of 8-bit pixels, which the artifact takes; "
            "export it without --aipp"
        )
    pixels: NDArray[np.uint8] = whole.astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels
