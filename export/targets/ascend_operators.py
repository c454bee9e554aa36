"""What ATC's documentation says it takes, and a check of a graph against it.

Sources, both Huawei's public "Supported ONNX Operators" of the ATC manual:

- edition canncommercial 8.5.0, a page for each operator:
  https://www.hiascend.com/document/detail/en/canncommercial/850/API/aolapi/atlasoxol_09_0092.html (MatMul) and so on;
  the number in a row of `OPERATORS` is the page's;
- edition canncommercial 5.0.4 for rows without a number, one list of what opset 13 has:
  https://www.hiascend.com/doc_center/source/zh/canncommercial/5046/reference/fwoperatorlist/operatorlist_0071.html

What the graphs here can come out with is listed, not all there is. QuantizeLinear and DequantizeLinear are not in ATC's
list: int8 models come from Huawei's own tool (AMCT).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from edgetrack.errors import ArtifactError
from edgetrack.export.targets.ascend_graph import OPSET, Typed, tensor_types

__all__ = ["KEEP_PRECISION", "OPERATORS", "Operator", "check_operators"]

KEEP_PRECISION = "must_keep_origin_dtype"
"""The one precision mode of ATC in which it computes in the types that the graph has."""

_HALF = frozenset({"FLOAT16"})
_FLOATS = frozenset({"FLOAT16", "FLOAT"})
_INTS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8"})
_ANY = _FLOATS | _INTS | {"BOOL"}

Constants = Mapping[str, onnx.TensorProto]
Limit = Callable[[onnx.NodeProto, Typed, Constants], "str | None"]


@dataclass(frozen=True)
class Operator:
    """One row of the list.

    Attributes:
        types: element types that the first input, and all others of its type, may have.
        page: number of its page in the edition 8.5.0; None: the list of 5.0.4.
        since: first opset in the list; the last is `OPSET` or later everywhere here.
        kept: whether float32 may stay under `KEEP_PRECISION`, where the list says something of it.
        limit: returns what the list forbids of a node besides, or None.
    """

    types: frozenset[str]
    page: int | None = None
    since: int = 8
    kept: bool = True
    limit: Limit = lambda _node, _types, _constants: None


def check_operators(model: onnx.ModelProto, role: str, precision_mode: str) -> int:
    """Compare every node of a lowered graph with the list and return how many there are.

    Args:
        model: from `lower`.
        role: the graph's, for messages.
        precision_mode: ATC's. In all but `KEEP_PRECISION` it may compute float32 operators in float16, so that an
            operator whose list has float16 alone takes float32 too.

    Raises:
        ArtifactError: names the first node that ATC would not convert, and how many more there are.
    """
    for item in model.opset_import:
        if item.domain not in ("", "ai.onnx") or item.version != OPSET:
            raise ArtifactError(f"graph {role} has opset {item.domain or 'ai.onnx'} {item.version}, must be {OPSET}")
    types = tensor_types(model)
    constants = {item.name: item for item in model.graph.initializer}
    problems = [told for node in model.graph.node if (told := _problem(node, types, constants, precision_mode))]
    if problems:
        more = f" (and {len(problems) - 1} nodes more)" if len(problems) > 1 else ""
        raise ArtifactError(f"graph {role} would not convert: {problems[0]}{more}")
    return len(model.graph.node)


def _problem(node: onnx.NodeProto, types: Typed, constants: Constants, precision_mode: str) -> str | None:
    what = f"{node.op_type} {node.name!r}"
    row = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if row is None:
        return f"ATC's list of ONNX operators has no {what}; write the graph without it, or use another precision"
    if row.since > OPSET:
        return f"{what} is in ATC's list from opset {row.since} on, the graph has {OPSET}; write it in older operators"
    sizes = [types.get(name, (0, (0,)))[1] for name in (*node.input, *node.output) if name]
    if any(0 in size for size in sizes):
        return f"{what} has a tensor without a fixed shape"
    for name in node.input[:1]:
        found = TensorProto.DataType.Name(types[name][0])
        lowered = precision_mode != KEEP_PRECISION and row.types & _HALF
        if found == "FLOAT" and (found not in row.types or not row.kept) and not lowered:
            return (
                f"{what} takes float32, which ATC's list does not have at {KEEP_PRECISION}; export with "
                "--precision fp16 --precision-mode allow_fp32_to_fp16"
            )
        if found not in row.types and found != "FLOAT":
            listed = ", ".join(sorted(kind.lower() for kind in row.types))
            return f"{what} takes {found.lower()}, ATC's list has {listed}; write the graph with one of these"
    limited = row.limit(node, types, constants)
    return f"{what} {limited}, which ATC's list excludes; write the graph without that" if limited else None


def _attribute(node: onnx.NodeProto, name: str, default: object) -> Any:  # noqa: ANN401 (whatever it is)
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def _conv(node: onnx.NodeProto, types: Typed, _constants: Constants) -> str | None:
    (*_, width), kernel = types[node.input[0]][1], types[node.input[1]][1][2:]
    strides, pads = _attribute(node, "strides", [1]), _attribute(node, "pads", [0])
    limits = {
        "is in groups": _attribute(node, "group", 1) != 1,
        f"has a kernel of {list(kernel)}": max(kernel) > 255,
        f"has strides {list(strides)}": max(strides) > 63,
        f"has pads {list(pads)}": max(pads) > 255,
        f"has an input {width} wide": width > 4096,
    }
    return next((told for told, broken in limits.items() if broken), None)


def _gemm(node: onnx.NodeProto, _types: Typed, _constants: Constants) -> str | None:
    factors = (_attribute(node, name, 1.0) for name in ("alpha", "beta"))
    return "has a bias or factors" if len(node.input) > 2 or any(factor != 1.0 for factor in factors) else None


def _gather(node: onnx.NodeProto, _types: Typed, constants: Constants) -> str | None:
    indices = constants.get(node.input[1])
    negative = indices is not None and (numpy_helper.to_array(indices) < 0).any()
    return "has negative indices" if negative else None


def _slice(node: onnx.NodeProto, types: Typed, constants: Constants) -> str | None:
    steps = constants.get(node.input[4]) if len(node.input) > 4 else None
    axes = constants.get(node.input[3]) if len(node.input) > 3 else None
    if steps is None:
        return None
    rank = len(types[node.input[0]][1])
    values = numpy_helper.to_array(steps).tolist()
    named = range(len(values)) if axes is None else numpy_helper.to_array(axes).tolist()
    strided = any(axis % rank == rank - 1 and step != 1 for axis, step in zip(named, values, strict=True))
    return "takes every so many of the last axis" if strided else None


def _constant(index: int) -> Limit:
    """Return a limit for operators whose input `index` has to be a constant."""

    def limit(node: onnx.NodeProto, _types: Typed, constants: Constants) -> str | None:
        return None if node.input[index] in constants else f"computes its input {index}"

    return limit


OPERATORS: Mapping[str, Operator] = {
    "Add": Operator(_FLOATS | _INTS),
    "Cast": Operator(_ANY),
    "Clip": Operator(_FLOATS | {"INT32"}),
    "Concat": Operator(_FLOATS | _INTS),
    "Conv": Operator(_FLOATS, 40, since=9, kept=False, limit=_conv),
    "Div": Operator(_FLOATS | {"INT32", "INT64"}),
    "Equal": Operator(_ANY),
    "Erf": Operator(_FLOATS, 56, since=9),
    "Expand": Operator(_FLOATS, limit=_constant(1)),
    "Gather": Operator(_ANY, limit=_gather),
    "Gemm": Operator(_FLOATS, 65, limit=_gemm),
    "Greater": Operator(_FLOATS | {"INT32", "INT8", "UINT8"}),
    "LayerNormalization": Operator(_HALF, 76, since=17),
    "MatMul": Operator(_HALF, 92),
    "Max": Operator(_FLOATS | {"INT32"}, 93),
    "Mul": Operator(_FLOATS | {"INT8", "INT16", "INT32", "UINT8"}),
    "Pow": Operator(_FLOATS | {"INT8", "INT32", "UINT8"}),
    "ReduceL2": Operator(_FLOATS, 120),
    "ReduceMax": Operator(_FLOATS | {"INT32"}),
    "ReduceMean": Operator(_FLOATS, 123),
    "ReduceMin": Operator(_FLOATS),
    "ReduceSum": Operator(_FLOATS),
    "Relu": Operator(_FLOATS | {"INT8", "INT16", "INT32", "UINT8"}),
    "Reshape": Operator(_ANY, limit=_constant(1)),
    "Sigmoid": Operator(_FLOATS),
    "Slice": Operator(_ANY, 150, limit=_slice),
    "Softmax": Operator(_FLOATS, 151),
    "Split": Operator(_FLOATS | _INTS),
    "Sqrt": Operator(_FLOATS),
    "Sub": Operator(_FLOATS | {"INT32"}),
    "Tanh": Operator(_FLOATS),
    "TopK": Operator(_FLOATS, 166, limit=_constant(1)),
    "Transpose": Operator(_FLOATS | _INTS),
    "Where": Operator(frozenset({"BOOL"})),
}
"""ATC's list by operator; see the module."""
