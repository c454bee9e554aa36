"""A typed graph as ATC documents its input: fixed sizes, opset 13, and operators of that opset alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetrack.errors import ArtifactError
from edgetrack.runtime.engine import first_line

__all__ = ["OPSET", "Typed", "input_shapes", "light_copy", "lower", "tensor_types"]

OPSET = 13
"""What every edition of ATC reads (CANN 5 lists opsets 9 to 13, ReduceMean ends at 16 in CANN 9's list)."""

_IR_VERSION = 8  # ONNX 1.12, which CANN 7 to 9 name
_SMALL_BYTES = 1024

Typed = Mapping[str, tuple[int, tuple[int, ...]]]
"""Tensor name -> element type (TensorProto.DataType) and shape; an unknown size is 0."""


def lower(model: onnx.ModelProto, dims: Mapping[str, int]) -> onnx.ModelProto:
    """Return a copy of `model` (opset 20) at opset 13 with its symbolic dimensions fixed.

    What newer opsets brought is written in older operators, in the forms that PyTorch gave them before those opsets;
    Gemm loses its bias to an Add, because ATC's list says that it takes none.

    Args:
        model: a typed graph.
        dims: value of every symbolic dimension.

    Raises:
        ArtifactError: a size stays unknown, or a node has a form that is not written so.
    """
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    for value in (*lowered.graph.input, *lowered.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in dims:
                size.dim_value = dims[size.dim_param]
    writer = _Writer(tensor_types(lowered), lowered.graph.initializer)
    for node in lowered.graph.node:
        _LOWERINGS.get(node.op_type, _keep)(writer, node)
    del lowered.graph.node[:]
    lowered.graph.node.extend(writer.nodes)
    used = {name for node in writer.nodes for name in node.input}
    kept = [item for item in lowered.graph.initializer if item.name in used]
    del lowered.graph.initializer[:]
    lowered.graph.initializer.extend([*kept, *writer.constants])
    del lowered.opset_import[:]
    lowered.opset_import.append(helper.make_opsetid("", OPSET))
    lowered.ir_version = _IR_VERSION
    try:
        onnx.checker.check_model(light_copy(lowered), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArtifactError(
            f"the graph cannot be written at opset {OPSET}, which ATC reads ({first_line(error)}); write it in older "
            "operators"
        ) from error
    return lowered


def tensor_types(model: onnx.ModelProto) -> Typed:
    """Return type and shape of every tensor of a model."""
    graph = onnx.shape_inference.infer_shapes(light_copy(model), check_type=True, data_prop=True).graph
    types = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        types[value.name] = tensor.elem_type, tuple(size.dim_value for size in tensor.shape.dim)
    for item in model.graph.initializer:
        types[item.name] = item.data_type, tuple(item.dims)
    return types


def input_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a lowered graph's inputs by name."""
    return {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim) for value in model.graph.input
    }


def light_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that takes its large constants as inputs: checking and inference copy all that they are given."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for item in model.graph.initializer:
        if item.ByteSize() <= _SMALL_BYTES:
            light.graph.initializer.append(item)
        else:
            light.graph.input.append(helper.make_tensor_value_info(item.name, item.data_type, item.dims))
    return light


class _Writer:
    """Collects nodes and constants of the lowered graph."""

    def __init__(self, types: Typed, initializers: Sequence[onnx.TensorProto]) -> None:
        self.types = types
        self.initializers = {item.name: item for item in initializers}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def value(self, node: onnx.NodeProto, index: int) -> NDArray[Any] | None:
        """Return the value of a node's input if that is a constant; None if not, or if there is no such input."""
        name = node.input[index] if index < len(node.input) else ""
        item = self.initializers.get(name)
        return None if item is None else numpy_helper.to_array(item)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; ArtifactError if a size is not known."""
        _, shape = self.types.get(name, (0, (0,)))
        if 0 in shape:
            raise ArtifactError(f"tensor {name} has no fixed shape ({list(shape)}); ATC needs one: write it without")
        return shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return a tensor's dtype."""
        found: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(self.types[name][0])
        return found

    def add(self, op_type: str, inputs: Sequence[str], output: str, name: str, **attributes: object) -> str:
        """Add a node and return its output."""
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=name, **attributes))
        return output

    def chain(self, node: onnx.NodeProto) -> Callable[..., str]:
        """Return a function that adds a step of `node`'s lowering and returns its output, named after the step."""

        def step(label: str, op_type: str, *inputs: str, last: bool = False, **attributes: object) -> str:
            output = node.output[0] if last else f"{node.output[0]}.{label}"
            return self.add(op_type, inputs, output, f"{node.name}.{label}", **attributes)

        return step


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _refuse(node: onnx.NodeProto, what: str) -> ArtifactError:
    return ArtifactError(f"{node.op_type} {node.name!r} {what}; ATC has no such form: write the graph without it")


def _keep(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.nodes.append(node)


def _without(*names: str) -> Callable[[_Writer, onnx.NodeProto], None]:
    """Return a lowering that only drops attributes that older opsets do not have."""

    def lowering(writer: _Writer, node: onnx.NodeProto) -> None:
        kept = [item for item in node.attribute if item.name not in names]
        del node.attribute[:]
        node.attribute.extend(kept)
        writer.nodes.append(node)

    return lowering


def _layer_norm(writer: _Writer, node: onnx.NodeProto) -> None:
    """Nine operators in float32: ATC's list has LayerNormalization from opset 17 on, and for float16 alone."""
    axis = _attributes(node).get("axis", -1)
    if axis not in (-1, len(writer.shape(node.input[0])) - 1) or len(node.output) > 1:
        raise _refuse(node, "normalises more than the last axis or gives its mean")
    dtype = writer.dtype(node.input[0])
    step = writer.chain(node)

    def wide(label: str, name: str) -> str:
        return name if dtype == np.float32 else step(label, "Cast", name, to=TensorProto.FLOAT)

    def number(label: str, value: float) -> str:
        return writer.constant(f"{node.output[0]}.{label}", np.array(value, np.float32))

    x = wide("wide", node.input[0])
    centred = step("centred", "Sub", x, step("mean", "ReduceMean", x, axes=[-1], keepdims=1))
    squared = step("squared", "Pow", centred, number("two", 2.0))
    variance = step("variance", "ReduceMean", squared, axes=[-1], keepdims=1)
    epsilon = number("epsilon", _attributes(node).get("epsilon", 1e-5))
    deviation = step("deviation", "Sqrt", step("positive", "Add", variance, epsilon))
    scaled = step("normal", "Div", centred, deviation)
    terms = [wide(f"wide_{place}", name) for place, name in enumerate(node.input[1:])]
    narrow = dtype != np.float32
    for place, (label, op_type, term) in enumerate(zip(("scaled", "shifted"), ("Mul", "Add"), terms, strict=False), 1):
        scaled = step(label, op_type, scaled, term, last=place == len(terms) and not narrow)
    if narrow:
        step("narrow", "Cast", scaled, to=writer.types[node.input[0]][0], last=True)


def _gelu(writer: _Writer, node: onnx.NodeProto) -> None:
    """Five operators, with the error function."""
    if _attributes(node).get("approximate", b"none") != b"none":
        raise _refuse(node, "is the approximation by tanh")
    dtype = writer.dtype(node.input[0])
    step = writer.chain(node)

    def number(label: str, value: float) -> str:
        return writer.constant(f"{node.output[0]}.{label}", np.array(value, dtype))

    x = node.input[0]
    error = step("error", "Erf", step("over_root", "Div", x, number("root", math.sqrt(2.0))))
    doubled = step("product", "Mul", x, step("plus_one", "Add", error, number("one", 1.0)))
    step("half", "Mul", doubled, number("half_of", 0.5), last=True)


def _gemm(writer: _Writer, node: onnx.NodeProto) -> None:
    """The bias in an Add of its own."""
    given = _attributes(node)
    if given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
        raise _refuse(node, "has factors alpha or beta")
    turned = {name: given[name] for name in ("transA", "transB") if given.get(name)}
    step = writer.chain(node)
    biased = len(node.input) > 2
    product = step("product", "Gemm", *node.input[:2], last=not biased, **turned)
    if biased:
        step("biased", "Add", product, node.input[2], last=True)


def _matmul(writer: _Writer, node: onnx.NodeProto) -> None:
    """A product of two matrices as Gemm, whose list has float32 where that of MatMul has float16 alone."""
    if all(len(writer.types[name][1]) == 2 for name in node.input):
        writer.chain(node)("product", "Gemm", *node.input, last=True)
    else:
        _keep(writer, node)


def _reshape(writer: _Writer, node: onnx.NodeProto) -> None:
    """A Reshape to the shape that is known by now."""
    shape = np.array(writer.shape(node.output[0]), np.int64)
    target = writer.constant(f"{node.output[0]}.shape", shape)
    writer.add("Reshape", [node.input[0], target], node.output[0], node.name)


def _reduce(writer: _Writer, node: onnx.NodeProto) -> None:
    """Axes in an attribute; all of them where none is named."""
    named = len(node.input) > 1 and bool(node.input[1])
    axes = writer.value(node, 1) if named else np.arange(len(writer.shape(node.input[0])))
    if axes is None or axes.size == 0:
        raise _refuse(node, "computes its axes, or has none")
    keepdims = int(_attributes(node).get("keepdims", 1))
    step = writer.chain(node)
    step("reduced", node.op_type, node.input[0], last=True, axes=[int(axis) for axis in axes], keepdims=keepdims)


def _split(writer: _Writer, node: onnx.NodeProto) -> None:
    """The parts' sizes named."""
    axis = int(_attributes(node).get("axis", 0))
    sizes = np.array([writer.shape(name)[axis] for name in node.output], np.int64)
    parts = writer.constant(f"{node.output[0]}.sizes", sizes)
    writer.nodes.append(helper.make_node("Split", [node.input[0], parts], list(node.output), name=node.name, axis=axis))


def _gather(writer: _Writer, node: onnx.NodeProto) -> None:
    """Constant indices counted from the front: ATC's list takes no negative ones."""
    indices = writer.value(node, 1)
    if indices is not None and (indices < 0).any():
        axis = int(_attributes(node).get("axis", 0))
        size = writer.shape(node.input[0])[axis]
        node.input[1] = writer.constant(f"{node.output[0]}.indices", np.where(indices < 0, indices + size, indices))
    writer.nodes.append(node)


_LOWERINGS: dict[str, Callable[[_Writer, onnx.NodeProto], None]] = {
    "Cast": _without("saturate", "round_mode"),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "ReduceL2": _reduce,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceMin": _reduce,
    "Reshape": _reshape,
    "Split": _split,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
}
