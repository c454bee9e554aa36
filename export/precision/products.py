"""The products of a graph as layers: written alike, named, and counted.

Quantizers and engines know one pattern best: an activation times a constant from the right. So what the exporter wrote
otherwise is rewritten, exactly: Gemm as a product and an addition, a constant on the left as one on the right between
two transpositions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetrack.errors import ArtifactError
from edgetrack.export.onnx_graph import infer_values

__all__ = ["Layer", "layers_of", "plain_products", "refuse_quantized", "total_macs"]

_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})


@dataclass(frozen=True)
class Layer:
    """One product of an activation with a constant.

    Attributes:
        role: of its graph.
        node: the node's name, unique there.
        weight: the name of the constant.
        macs: multiply-accumulates of one run, at the smallest values of the symbolic dimensions.
    """

    role: str
    node: str
    weight: str
    macs: int

    @property
    def name(self) -> str:
        """The name in manifests and reports: role/node."""
        return f"{self.role}/{self.node}"


def refuse_quantized(model: Any) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Raise ArtifactError if a graph has 8-bit operators already: quantizing it again would only lose more."""
    for node in model.graph.node:
        if node.op_type in _QUANTIZED:
            raise ArtifactError(
                f"graph {model.graph.name} is quantized already ({node.op_type} {node.name}); quantize the float32 one"
            )


def plain_products(model: Any) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Write all products with a constant as MatMul with the constant on the right, in place.

    Raises:
        ArtifactError: the graph is quantized already.
    """
    refuse_quantized(model)
    stored = {item.name: item for item in model.graph.initializer}
    producer = {name: node for node in model.graph.node for name in node.output}
    nodes: list[Any] = []
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in stored and _plain_gemm(node):
            nodes += _from_gemm(model, node, stored)
        elif node.op_type == "MatMul" and node.input[0] in stored and node.input[1] not in stored:
            nodes += _from_left(model, node, stored, producer)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model)


def layers_of(model: Any, role: str, sizes: Mapping[str, int]) -> tuple[Layer, ...]:  # noqa: ANN401
    """Return the products with constants of a graph that `plain_products` wrote, in order.

    Args:
        model: an onnx.ModelProto.
        role: of the graph.
        sizes: a value for each symbolic dimension.
    """
    stored = {item.name: tuple(item.dims) for item in model.graph.initializer}
    shapes = _shapes(model, sizes)
    return tuple(
        Layer(role, node.name, node.input[1], _macs(shapes[node.output[0]], stored[node.input[1]]))
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in stored and node.input[0] not in stored
    )


def total_macs(model: Any, sizes: Mapping[str, int]) -> int:  # noqa: ANN401 (an onnx.ModelProto)
    """Return the multiply-accumulates of all products of a graph, attention and convolutions included."""
    shapes = _shapes(model, sizes)
    total = 0
    for node in model.graph.node:
        if node.op_type in {"MatMul", "Gemm"}:
            total += _macs(shapes[node.output[0]], shapes[node.input[0]][-2:][::-1])
        elif node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(shapes[node.input[1]][1:]))
    return total


def _macs(out: tuple[int, ...], weight: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of a product with the result `out`; `weight` is (inner, outer)."""
    return int(np.prod(out, dtype=np.int64)) * int(weight[0])


def _shapes(model: Any, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:  # noqa: ANN401
    """Return value -> shape with numbers in the place of symbols."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = sizes[dim.dim_param]
    del fixed.graph.value_info[:]
    return {
        name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for name, value in infer_values(fixed).items()
    }


def _plain_gemm(node: Any) -> bool:  # noqa: ANN401 (an onnx.NodeProto)
    given = {item.name: item for item in node.attribute}
    scaled = any(name in given and given[name].f != 1.0 for name in ("alpha", "beta"))
    return not scaled and not ("transA" in given and given["transA"].i)


def _from_gemm(model: Any, node: Any, stored: dict[str, Any]) -> list[Any]:  # noqa: ANN401
    from onnx import helper

    weight = node.input[1]
    if any(item.name == "transB" and item.i for item in node.attribute):
        weight = _transposed(model, weight, stored)
    biased = len(node.input) > 2 and bool(node.input[2])
    product = f"{node.output[0]}_product" if biased else node.output[0]
    made = [helper.make_node("MatMul", [node.input[0], weight], [product], node.name)]
    if biased:
        made.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], f"{node.name}.bias"))
    return made


def _from_left(model: Any, node: Any, stored: dict[str, Any], producer: Mapping[str, Any]) -> list[Any]:  # noqa: ANN401
    """Turn W @ x into (x^T @ W^T)^T; where x is itself a transposition, what it transposes is x^T."""
    from onnx import helper

    if len(stored[node.input[0]].dims) != 2:
        return [node]
    weight, right, before = _transposed(model, node.input[0], stored), node.input[1], []
    source = producer.get(right)
    if source is not None and source.op_type == "Transpose" and list(source.attribute[0].ints) == [1, 0]:
        turned = source.input[0]
    else:
        turned = f"{node.output[0]}_in"
        before = [helper.make_node("Transpose", [right], [turned], f"{node.name}.in", perm=[1, 0])]
    product = f"{node.output[0]}_t"
    return [
        *before,
        helper.make_node("MatMul", [turned, weight], [product], node.name),
        helper.make_node("Transpose", [product], [node.output[0]], f"{node.name}.out", perm=[1, 0]),
    ]


def _transposed(model: Any, name: str, stored: dict[str, Any]) -> str:  # noqa: ANN401
    """Return the name of a constant's transposition, made once."""
    from onnx import numpy_helper

    turned = f"{name}.t"
    if turned not in stored:
        value = np.ascontiguousarray(numpy_helper.to_array(stored[name]).T)
        stored[turned] = numpy_helper.from_array(value, turned)
        model.graph.initializer.append(stored[turned])
    return turned


def _drop_unused(model: Any) -> None:  # noqa: ANN401
    """Remove nodes and constants that nothing reads any more."""
    wanted = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    constants = [item for item in model.graph.initializer if item.name in wanted]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(kept))
    model.graph.initializer.extend(constants)
