"""The seam of bisection: a probe opens one graph file and gives any tensor inside it. One class for each engine."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError, InputError
from edgetrack.registry import Registry

__all__ = ["MAX_ELEMENTS", "PROBES", "Feeds", "Layer", "Probe", "check_sizes", "probe_of"]

Feeds = Mapping[str, NDArray[np.float32]]

MAX_ELEMENTS = 1 << 28
"""Of all tensors that are looked at in one run: 1 GiB of float32. A file from elsewhere may say anything."""


@dataclass(frozen=True)
class Layer:
    """One operation of a graph: its name, operator, and the names of the tensors it reads and makes.

    Constants are not among what it reads.
    """

    name: str
    op: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


class Probe(ABC):
    """One graph file whose tensors can be looked at, at the shapes of the inputs it was opened for."""

    def __init__(self, path: Path, feeds: Feeds, threads: int | None = None) -> None:
        """Open `path` at the shapes of `feeds` (input name -> float32 array).

        Raises:
            ArtifactError: the file is damaged, or has other inputs.
            EngineUnavailable: the engine is not installed.
        """
        self.path = path
        self.feeds = feeds
        self.threads = threads

    @property
    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """All operations, in an order in which they can run."""

    @property
    @abstractmethod
    def outputs(self) -> Sequence[str]:
        """Names of the graph's outputs, in order."""

    @property
    @abstractmethod
    def names(self) -> frozenset[str]:
        """Names of all tensors that `run` can give, those that have a second name under both."""

    @abstractmethod
    def run(self, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Run the graph on the inputs it was opened for and return the wanted tensors, as float32.

        Raises:
            ArtifactError: the engine refuses the file, or a wanted tensor is larger than `MAX_ELEMENTS`.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return engine and version."""


PROBES: Registry[type[Probe]] = Registry("bisection of engine", InputError)
PROBES.register("onnxruntime", "edgetrack.export.bisect.onnx_probe:OnnxProbe")
PROBES.register("openvino", "edgetrack.export.bisect.openvino_probe:OpenVinoProbe")


def probe_of(engine: str) -> type[Probe]:
    """Return the probe for files of `engine`.

    Raises:
        InputError: files of this engine cannot be looked into.
    """
    if engine not in PROBES:
        raise InputError(
            f"files of {engine} give nothing but their outputs; bisect works for {', '.join(PROBES)}: export "
            "the same precision for one of these and bisect that"
        )
    return PROBES.get(engine)


def check_sizes(path: Path, shapes: Iterable[tuple[str, Sequence[Any] | None]]) -> None:
    """Raise ArtifactError if the tensors (name, shape) that a run would give are too large or of unknown size."""
    total = 0
    for name, shape in shapes:
        if shape is None or not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ArtifactError(f"{path}: the size of tensor {name!r} cannot be told before it runs; export it again")
        total += math.prod(shape)
    if total > MAX_ELEMENTS:
        raise ArtifactError(f"{path}: the tensors to compare have {total} elements, at most {MAX_ELEMENTS} are read")
