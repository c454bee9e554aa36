"""Which nodes of a graph stay in float32 where the rest is computed in half precision, or whose products in 8 bits.

What normalises, sums or takes exponentials loses most by rounding, and where a decision is read from a tensor (a box
from logits or maps, which tokens stay from a score) rounding may turn it. Both are little of the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["DECISIONS", "PRODUCTS", "deciding_nodes", "sensitive_nodes"]

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
"""Operators that do the work of a network."""

DECISIONS = frozenset({"TopK", "ArgMax", "ArgMin", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Sign"})
"""Operators whose result jumps when their input changes a little."""

_NORMALISERS = frozenset(
    {
        "LayerNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "RMSNormalization",
        "Softmax",
        "LogSoftmax",
    }
)
_SENSITIVE = _NORMALISERS | {
    "Exp",
    "Log",
    "Pow",
    "Sqrt",
    "Reciprocal",
    "ReduceMean",
    "ReduceSum",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
    "CumSum",
    "Resize",
    "Range",
}
_SMALLEST_NORMAL = float(np.finfo(np.float16).tiny)


def deciding_nodes(graph: Any, features: Iterable[str]) -> set[str]:  # noqa: ANN401 (an onnx.GraphProto)
    """Return the names of the nodes on the last stretch before a decision, the last product included.

    Decisions are read from the graph's outputs, those named in `features` excepted, and from what `DECISIONS` read.
    Going back from there it ends at the first product or normalisation, softmax among them.
    """
    producer = {name: node for node in graph.node for name in node.output}
    aside = set(features)
    pending = [value.name for value in graph.output if value.name not in aside]
    pending += [name for node in graph.node if node.op_type in DECISIONS for name in node.input]
    found: set[str] = set()
    while pending:
        node = producer.get(pending.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        if node.op_type not in PRODUCTS | _NORMALISERS:
            pending.extend(node.input)
    return found


def sensitive_nodes(graph: Any, constants: dict[str, Any]) -> set[str]:  # noqa: ANN401 (an onnx.GraphProto)
    """Return the names of the nodes that need float32 for what they compute, whatever becomes of it.

    These are normalisations, sums and exponentials, what decides, and what is fed a constant (`constants`: name ->
    array) so small that half precision would make it 0 or leave it few digits, as the epsilon of a division.
    """
    tiny = {name for name, value in constants.items() if _is_tiny(value)}
    return {
        node.name
        for node in graph.node
        if node.op_type in _SENSITIVE or node.op_type in DECISIONS or not tiny.isdisjoint(node.input)
    }


def _is_tiny(value: Any) -> bool:  # noqa: ANN401 (a numpy array of any type)
    if value.dtype != np.float32 or value.size != 1:
        return False
    return 0 < abs(float(value.reshape(-1)[0])) < _SMALLEST_NORMAL
