"""Half precision: a float32 graph as one of float16 with islands of float32, every cast written out.

The converters at hand (onnxruntime.transformers.float16, onnxconverter-common) cast every output of a float32 node
back to float16, so that an island of several nodes is rounded on each edge inside it, and logits before they leave. So
the casts are placed here: by the types that ONNX's own inference gives, one cast where a value crosses, none inside.

The result holds for strongly typed engines: all inputs of a node have one type. ONNX Runtime and OpenVINO run it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgetrack.errors import ArtifactError
from edgetrack.export.onnx_graph import infer_types
from edgetrack.export.precision.islands import deciding_nodes, sensitive_nodes

__all__ = ["to_half"]

_LARGEST = float(np.finfo(np.float16).max)
_SMALL = 1024  # elements; an island's smaller constants stay float32, larger ones are stored in half and cast


def to_half(model: Any, features: Sequence[str] = ()) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401 (onnx.ModelProto)
    """Turn a float32 model into one of float16 with float32 inputs and outputs.

    Args:
        model: an onnx.ModelProto with its nodes in order; changed in place.
        features: outputs that no decision is read from, so that their last layer may be of half precision too.

    Returns:
        The model, and the names of the nodes that stayed in float32, in order.

    Raises:
        ArtifactError: a weight does not fit into float16, or types cannot be inferred.
    """
    conversion = _Conversion(model, features)
    conversion.run()
    return model, tuple(conversion.islands)


class _Conversion:
    """One graph on its way."""

    def __init__(self, model: Any, features: Sequence[str]) -> None:  # noqa: ANN401
        import onnx

        self._onnx = onnx
        self._float, self._half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
        self._graph = model.graph
        self._types = infer_types(model)
        self._stored = {item.name: item for item in self._graph.initializer}
        small = {name: onnx.numpy_helper.to_array(item) for name, item in self._stored.items() if not any(item.dims)}
        small |= {
            name: onnx.numpy_helper.to_array(item)
            for name, item in self._stored.items()
            if item.data_type == self._float and np.prod(item.dims, dtype=np.int64) == 1
        }
        kept = sensitive_nodes(self._graph, small) | deciding_nodes(self._graph, features)
        self._kept = kept | _coarse_scales(self._graph, self._stored)
        self._nodes: list[Any] = []
        self._now: dict[str, int] = {}  # value -> its type in the new graph
        self._cast: dict[tuple[str, int], str] = {}  # value and type -> the value of that type
        self.islands: list[str] = []

    def run(self) -> None:
        """Convert all nodes, then the constants that they use, then the outputs."""
        self._now = {value.name: value.type.tensor_type.elem_type for value in self._graph.input}
        wanted: dict[str, set[int]] = {}
        for node in list(self._graph.node):
            kind = self._float if node.name in self._kept else self._half
            if kind == self._float and any(map(self._is_float, (*node.input, *node.output))):
                self.islands.append(node.name)
            self._convert(node, kind, wanted)
        self._constants(wanted)
        self._outputs()
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        del self._graph.value_info[:]

    def _is_float(self, name: str) -> bool:
        return bool(name) and self._types.get(name) == self._float

    def _convert(self, node: Any, kind: int, wanted: dict[str, set[int]]) -> None:  # noqa: ANN401
        if node.op_type != "Cast":  # which takes any type
            for index, name in enumerate(node.input):
                if not self._is_float(name):
                    continue
                if name in self._stored:
                    wanted.setdefault(name, set()).add(kind)
                    node.input[index] = _constant_name(name, kind, self._float)
                elif self._now[name] != kind:
                    node.input[index] = self._as(name, kind)
        made = [name for name in node.output if self._is_float(name)]
        for attribute in node.attribute if made and kind == self._half else ():
            if node.op_type == "Cast" and attribute.name == "to":
                attribute.i = self._half
            elif attribute.HasField("t") and attribute.t.data_type == self._float:
                attribute.t.CopyFrom(self._halved(attribute.t, attribute.t.name))
        self._now.update(dict.fromkeys(made, kind))
        self._nodes.append(node)

    def _as(self, name: str, kind: int) -> str:
        """Return the name of a value cast to `kind`, made once."""
        if (name, kind) not in self._cast:
            made = f"{name}_{'fp32' if kind == self._float else 'fp16'}"
            self._nodes.append(self._onnx.helper.make_node("Cast", [name], [made], f"cast_{made}", to=kind))
            self._cast[name, kind] = made
        return self._cast[name, kind]

    def _constants(self, wanted: Mapping[str, set[int]]) -> None:
        """Replace the float32 constants by what the nodes want of them."""
        kept = [item for item in self._graph.initializer if item.data_type != self._float]
        casts = []
        for name, kinds in wanted.items():
            item, large = self._stored[name], np.prod(self._stored[name].dims, dtype=np.int64) > _SMALL
            whole = _constant_name(name, self._float, self._float)
            if self._half in kinds or large:
                kept.append(self._halved(item, name))
            if self._float in kinds and large:
                casts.append(self._onnx.helper.make_node("Cast", [name], [whole], f"cast_{whole}", to=self._float))
            elif self._float in kinds:
                item.name = whole
                kept.append(item)
        self._nodes[:0] = casts
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _halved(self, item: Any, name: str) -> Any:  # noqa: ANN401 (an onnx.TensorProto)
        """Return a constant rounded to float16; single numbers beyond its range, as masks have, become its largest."""
        value = self._onnx.numpy_helper.to_array(item)
        beyond = np.isfinite(value) & (np.abs(value) > _LARGEST)
        if beyond.any() and value.size > 1:
            raise ArtifactError(
                f"{name} has values up to {np.abs(value[beyond]).max():g}, float16 ends at {_LARGEST:g}; "
                "choose --precision fp32"
            )
        rounded = np.where(beyond, np.sign(value) * _LARGEST, value).astype(np.float16)
        return self._onnx.numpy_helper.from_array(rounded, name)

    def _outputs(self) -> None:
        """Give the graph's outputs back their type under their names."""
        for value in self._graph.output:
            name = value.name
            if not self._is_float(name) or self._now[name] == self._float:
                continue
            inner = f"{name}_fp16"
            for node in self._nodes:
                for ports in (node.input, node.output):
                    ports[:] = [inner if port == name else port for port in ports]
            self._nodes.append(self._onnx.helper.make_node("Cast", [inner], [name], f"cast_{name}", to=self._float))


def _constant_name(name: str, kind: int, whole: int) -> str:
    return f"{name}_fp32" if kind == whole else name


def _coarse_scales(graph: Any, stored: Mapping[str, Any]) -> set[str]:  # noqa: ANN401
    """Return the Q/DQ nodes whose scale float16 would round by more than its usual half of a thousandth."""
    from onnx import numpy_helper

    found = set()
    for node in graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and node.input[1] in stored:
            scale = numpy_helper.to_array(stored[node.input[1]])
            if scale.min() < np.finfo(np.float16).tiny or scale.max() > _LARGEST:
                found.add(node.name)
    return found
