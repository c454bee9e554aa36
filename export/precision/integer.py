"""8-bit products in the forms that ONNX Runtime's CPU kernels are fast in, made from a typed graph.

A typed graph has Q/DQ pairs around every product, each head's projection by itself and biases in float32: what all
engines read. ONNX Runtime computes a product whose bias is float32 in float, and one of 64 columns in 8 bits hardly
faster. So products of the same tensor are joined, with one rounding of their input, and then take one of two forms:

- *static*: `Gemm` of Q/DQ inputs and a bias in 32-bit integers, which becomes one `QGemm`; the activation's range is
  the calibrated one;
- *dynamic*: `MatMulInteger` behind `DynamicQuantizeLinear`, which becomes one `DynamicQuantizeMatMul`; the range is
  that of each run, found anew.

Weights and the choice of layers are the typed graph's; results stay float32 in both. Seen with ONNX Runtime 1.32 on a
CPU with AVX-512 VNNI, one thread, FARTrack: all weight products in 8 bits take 1/1.45 of the float32 time as
they are (with biases inside), 1/1.7 joined. Whether activations are signed made no difference. Products of two
activations stay float32: their inner size is a head's 64, and their results are large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.export.onnx_graph import check_types, infer_values

__all__ = ["FORMS", "to_dynamic", "to_static"]

_WIDEST = 192  # columns; a product this wide keeps an 8-bit kernel busy by itself
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class _Product:
    """One 8-bit product: `result` = dequantized `source` times weight, plus bias.

    Attributes:
        name: of its node.
        source: the float32 activation.
        pair: the activation after its Q/DQ pair.
        weight: int8 (inputs, outputs), symmetric.
        scale: float32 (outputs,), of the weight.
        step: float32, of the activation.
        bias: float32 (outputs,); zeros where there is none.
        result: the tensor.
        rank: of the activation.
    """

    name: str
    source: str
    pair: str
    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    step: float
    bias: NDArray[np.float32]
    result: str
    rank: int


def to_static(model: Any) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Join the 8-bit products of a typed int8 graph and give each its bias, in place.

    Raises:
        ArtifactError: the model breaks a rule of ONNX.
    """
    _Forms(model, dynamic=False).run()


def to_dynamic(model: Any) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Join the 8-bit products of a typed int8 graph and let the ranges of activations be found in each run, in place.

    Raises:
        ArtifactError: the model breaks a rule of ONNX.
    """
    _Forms(model, dynamic=True).run()


class _Forms:
    """One typed graph being rewritten."""

    def __init__(self, model: Any, *, dynamic: bool) -> None:  # noqa: ANN401
        import onnx

        self._onnx, self._model, self._graph, self._dynamic = onnx, model, model.graph, dynamic
        self._stored = {item.name: item for item in self._graph.initializer}
        self._producer = {name: node for node in self._graph.node for name in node.output}
        self._users: dict[str, list[Any]] = {}
        for node in self._graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._outputs = {value.name for value in self._graph.output}
        self._ranks = {name: len(value.type.tensor_type.shape.dim) for name, value in infer_values(model).items()}
        self._gone: set[str] = set()

    def run(self) -> None:
        groups = self._groups()
        first = {group[0].name: group for group in groups}
        self._gone.update(product.name for group in groups for product in group)
        nodes: list[Any] = []
        for node in self._graph.node:
            if node.name in first:
                nodes += self._form(first[node.name])
            elif node.name not in self._gone:
                nodes.append(node)
        self._keep(nodes)
        check_types(self._model)

    def _groups(self) -> list[list[_Product]]:
        """Return the products in groups that become one: the narrow ones of one tensor, every wide one alone."""
        narrow: dict[str, list[_Product]] = {}
        groups: list[list[_Product]] = []
        for node in self._graph.node:
            product = self._product(node)
            if product is None or (product.rank != 2 and not self._dynamic):
                continue
            self._use_bias(node)
            if product.weight.shape[1] >= _WIDEST:
                groups.append([product])
            elif product.pair in narrow:
                narrow[product.pair].append(product)
            else:
                narrow[product.pair] = [product]
                groups.append(narrow[product.pair])
        return groups

    def _product(self, node: Any) -> _Product | None:  # noqa: ANN401 (an onnx.NodeProto)
        """Return what is known of an 8-bit product, None of any other node."""
        if node.op_type != "MatMul":
            return None
        pair, weight = (self._producer.get(name) for name in node.input)
        if pair is None or weight is None or {pair.op_type, weight.op_type} != {"DequantizeLinear"}:
            return None
        rounded = self._producer.get(pair.input[0])
        if rounded is None or rounded.op_type != "QuantizeLinear" or weight.input[0] not in self._stored:
            return None
        numbers, scale = (self._array(name) for name in weight.input[:2])
        if numbers.ndim != 2 or scale.dtype != np.float32:
            return None
        bias_node, bias = self._bias_of(node, numbers.shape[1])
        return _Product(
            name=node.name,
            source=rounded.input[0],
            pair=node.input[0],
            weight=numbers,
            scale=np.broadcast_to(scale, (numbers.shape[1],)),
            step=float(self._array(pair.input[1])),
            bias=np.zeros(numbers.shape[1], np.float32) if bias is None else bias,
            result=node.output[0] if bias_node is None else bias_node.output[0],
            rank=self._ranks[rounded.input[0]],
        )

    def _use_bias(self, node: Any) -> None:  # noqa: ANN401
        bias_node, _ = self._bias_of(node, None)
        if bias_node is not None:
            self._gone.add(bias_node.name)

    def _bias_of(self, node: Any, columns: int | None) -> tuple[Any, NDArray[np.float32] | None]:  # noqa: ANN401
        """Return the node that adds a vector to a product that nothing else reads, and the vector; or None, None."""
        result = node.output[0]
        users = self._users.get(result, [])
        if len(users) != 1 or users[0].op_type != "Add" or result in self._outputs:
            return None, None
        other = next((name for name in users[0].input if name != result), "")
        item = self._stored.get(other)
        if item is None or len(item.dims) != 1 or (columns is not None and item.dims[0] != columns):
            return None, None
        return users[0], self._array(other)

    def _form(self, group: Sequence[_Product]) -> list[Any]:
        """Return the nodes that stand for a group."""
        make = self._onnx.helper.make_node
        stem = group[0].name if len(group) == 1 else f"{group[0].name}.joined"
        result = group[0].result if len(group) == 1 else f"{stem}_result"
        made = (self._dynamic_product if self._dynamic else self._static_product)(stem, group, result)
        if len(group) > 1:
            sizes = self._store(f"{stem}_sizes", np.array([item.weight.shape[1] for item in group], np.int64))
            made.append(make("Split", [result, sizes], [item.result for item in group], f"{stem}.split", axis=-1))
        return made

    def _static_product(self, stem: str, group: Sequence[_Product], result: str) -> list[Any]:
        make = self._onnx.helper.make_node
        weight, scale, bias = _joined(group)
        fine = (scale.astype(np.float64) * group[0].step).astype(np.float32)
        whole = np.clip(np.rint(bias / fine.astype(np.float64)), _INT32.min, _INT32.max).astype(np.int32)
        names: dict[str, tuple[NDArray[Any], NDArray[np.float32], NDArray[Any], int]] = {
            "weight": (weight, scale, np.zeros(len(scale), np.int8), 1),
            "bias": (whole, fine, np.zeros(len(scale), np.int32), 0),
        }
        nodes = []
        for part, (numbers, steps, zeros, axis) in names.items():
            stored = [
                self._store(f"{stem}_{part}_{name}", value)
                for name, value in (("int", numbers), ("scale", steps), ("zero", zeros))
            ]
            nodes.append(make("DequantizeLinear", stored, [f"{stem}_{part}"], f"{stem}.{part}", axis=axis))
        return [*nodes, make("Gemm", [group[0].pair, f"{stem}_weight", f"{stem}_bias"], [result], stem)]

    def _dynamic_product(self, stem: str, group: Sequence[_Product], result: str) -> list[Any]:
        make = self._onnx.helper.make_node
        weight, scale, bias = _joined(group)
        rounded = [f"{stem}_{part}" for part in ("uint8", "step", "zero")]
        numbers = self._store(f"{stem}_int", weight)
        zeros = self._store(f"{stem}_zeros", np.zeros(len(scale), np.int8))
        steps, offset = self._store(f"{stem}_scale", scale), self._store(f"{stem}_bias", bias)
        names = {part: f"{stem}_{part}" for part in ("sum", "float", "steps", "product")}
        return [
            make("DynamicQuantizeLinear", [group[0].source], rounded, f"{stem}.round"),
            make("MatMulInteger", [rounded[0], numbers, rounded[2], zeros], [names["sum"]], stem),
            make("Cast", [names["sum"]], [names["float"]], f"{stem}.float", to=self._onnx.TensorProto.FLOAT),
            make("Mul", [rounded[1], steps], [names["steps"]], f"{stem}.steps"),
            make("Mul", [names["float"], names["steps"]], [names["product"]], f"{stem}.scale"),
            make("Add", [names["product"], offset], [result], f"{stem}.bias"),
        ]

    def _keep(self, nodes: list[Any]) -> None:
        """Make these the graph's nodes, without those and the constants that nothing reads any more."""
        wanted = set(self._outputs)
        kept = []
        for node in reversed(nodes):
            if not wanted.isdisjoint(node.output):
                wanted.update(node.input)
                kept.append(node)
        constants = [item for item in self._stored.values() if item.name in wanted]
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(reversed(kept))
        self._graph.initializer.extend(constants)

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self._onnx.numpy_helper.to_array(self._stored[name])
        return array

    def _store(self, name: str, value: NDArray[Any]) -> str:
        self._stored[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name


def _joined(group: Sequence[_Product]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Return weight (inputs, outputs), scale and bias (outputs,) of all products of a group side by side."""
    return (
        np.concatenate([item.weight for item in group], axis=1),
        np.concatenate([item.scale for item in group]),
        np.concatenate([item.bias for item in group]),
    )


FORMS: Mapping[str, Callable[[Any], None]] = {"dynamic": to_dynamic, "static": to_static}
"""The forms by name; each rewrites a typed int8 model in place. The first rounds finer, for its ranges fit each run."""
