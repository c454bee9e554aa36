"""The machine's fp32 matrix rate, as one engine reaches it: a chain of plain products of the networks' shapes."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgetrack.errors import EngineUnavailable
from edgetrack.export.models.base import Variant
from edgetrack.runtime.engine import Engine

__all__ = ["Chain", "chain_of", "measure_matrix_rate"]

_DEFAULT_ROWS, _DEFAULT_CHANNELS = 397, 192
"""FARTrack's."""

_RUN_OPERATIONS = 2.5e9
_MOST_LINKS = 6
_WARMUP = 0.15
_FEWEST_RUNS = 5


@dataclass(frozen=True)
class Chain:
    """Matrix products one after the other.

    Attributes:
        rows: of the matrix that passes through; the tokens of a network.
        channels: width of the network; a link passes through the widths of a transformer block's products, without its
            attention.
    """

    rows: int
    channels: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths that one link passes through."""
        channels = self.channels
        return (channels, 3 * channels, channels, 4 * channels, channels)

    @property
    def link_operations(self) -> int:
        """Additions and multiplications of one link."""
        return 2 * self.rows * sum(a * b for a, b in pairwise(self.widths))

    @property
    def links(self) -> int:
        """Links of the chain: as many as make a run of a few milliseconds."""
        return max(1, min(_MOST_LINKS, round(_RUN_OPERATIONS / self.link_operations)))

    def __str__(self) -> str:
        """Return what is said about it in reports."""
        return f"{self.rows} rows through widths {' '.join(map(str, self.widths))}"


def chain_of(variant: Variant | None) -> Chain:
    """Return the chain of a network's shapes; FARTrack's for one that does not say its shapes."""
    if variant is None or not variant.tokens or not variant.channels:
        return Chain(_DEFAULT_ROWS, _DEFAULT_CHANNELS)
    return Chain(variant.tokens, variant.channels)


@dataclass(frozen=True)
class MatrixRate:
    """Median time of the chain and what it comes to."""

    ms: float
    gflops: float


def measure_matrix_rate(engine: Engine, chain: Chain, operations: float) -> MatrixRate:
    """Run the chain on `engine` until so many operations are done (at least five times) and return the rate.

    Raises:
        EngineUnavailable: the package onnx, which writes the chain, is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="edgetrack-bench-") as folder:
        path = Path(folder) / "chain.onnx"
        path.write_bytes(_file(chain))
        session = engine.open(path, {})
        session.inputs["x"][...] = np.random.default_rng(0).standard_normal((chain.rows, chain.channels))
        once = chain.links * chain.link_operations
        runs = max(_FEWEST_RUNS, round(operations / once))
        warmup = max(1, round(_WARMUP * runs))
        times = []
        for _ in range(warmup + runs):
            began = time.perf_counter()
            session.run()
            times.append(time.perf_counter() - began)
    seconds = float(np.median(times[warmup:]))
    return MatrixRate(1e3 * seconds, once / seconds / 1e9)


def _file(chain: Chain) -> bytes:
    """Return the ONNX file: `x` [rows, channels] -> `y` of that shape through constant matrices that keep its scale."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise EngineUnavailable(f"this needs onnx ({error}): pip install 'edgetrack[export]'") from error
    generator = np.random.default_rng(1)
    nodes: list[Any] = []
    weights: list[Any] = []
    widths = chain.widths
    value, last = "x", chain.links * (len(widths) - 1) - 1
    for index in range(last + 1):
        step = index % (len(widths) - 1)
        rows, columns = widths[step], widths[step + 1]
        matrix = (generator.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        result = "y" if index == last else f"v{index}"
        nodes.append(helper.make_node("MatMul", [value, f"w{index}"], [result]))
        value = result
    shape = [chain.rows, chain.channels]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    content: bytes = model.SerializeToString()
    return content
