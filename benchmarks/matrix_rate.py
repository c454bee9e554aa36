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
from edgetrack.runtime.engine import Engine

__all__ = ["CHAIN", "ROWS", "measure_matrix_rate"]

ROWS = 397
"""Tokens of a steady-state frame: 4 x 37 + 49 of templates, 196 of the search crop, 4 of the box."""

CHAIN = (192, 576, 192, 768, 192)
"""Widths that one link of the chain passes through: a transformer block's products, without its attention."""

_LINKS = 6
_WARMUP = 10


@dataclass(frozen=True)
class MatrixRate:
    """Median time of the chain and what it comes to."""

    ms: float
    gflops: float


def measure_matrix_rate(engine: Engine, runs: int) -> MatrixRate:
    """Run the chain on `engine` and return the rate.

    Raises:
        EngineUnavailable: the package onnx, which writes the chain, is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="edgetrack-bench-") as folder:
        path = Path(folder) / "chain.onnx"
        path.write_bytes(_chain())
        session = engine.open(path, {})
        session.inputs["x"][...] = np.random.default_rng(0).standard_normal((ROWS, CHAIN[0]))
        times = []
        for _ in range(_WARMUP + runs):
            began = time.perf_counter()
            session.run()
            times.append(time.perf_counter() - began)
    seconds = float(np.median(times[_WARMUP:]))
    operations = 2 * ROWS * _LINKS * sum(a * b for a, b in pairwise(CHAIN))
    return MatrixRate(1e3 * seconds, operations / seconds / 1e9)


def _chain() -> bytes:
    """Return the ONNX file: `x` [397,192] -> `y` [397,192] through constant matrices that keep its scale."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise EngineUnavailable(f"this needs onnx ({error}): pip install 'edgetrack[export]'") from error
    generator = np.random.default_rng(1)
    nodes: list[Any] = []
    weights: list[Any] = []
    value, last = "x", _LINKS * (len(CHAIN) - 1) - 1
    for index in range(last + 1):
        step = index % (len(CHAIN) - 1)
        rows, columns = CHAIN[step], CHAIN[step + 1]
        matrix = (generator.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        result = "y" if index == last else f"v{index}"
        nodes.append(helper.make_node("MatMul", [value, f"w{index}"], [result]))
        value = result
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, CHAIN[0]]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    content: bytes = model.SerializeToString()
    return content
