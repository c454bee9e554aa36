"""Products in the form that 8-bit kernels want: joined where several read the same tensor, each with its bias.

The float graphs project every attention head by itself, which costs float kernels nothing. 8-bit ones want wider
products, and every product that is a node of its own rounds its input again. Seen with ONNX Runtime 1.32 on a CPU with
AVX-512 VNNI, one thread: FARTrack's graphs with all weight products in 8 bits take 1/1.45 of their float32 time as
they are and 1/1.7 joined; in float32 joining changes nothing. What helped besides:

- a product's result stays float32 (no Q/DQ behind it): a `Gemm` with Q/DQ inputs becomes one `QGemm`, its bias inside;
- whether activations are signed makes no difference to the speed;
- products of two activations (attention) stay float32: their inner size is a head's 64, their results are large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.export.onnx_graph import infer_values

__all__ = ["join_products"]

_WIDEST = 192  # columns; a product this wide keeps an 8-bit kernel busy by itself


@dataclass
class _Branch:
    """One of several products of the same tensor: its node, weight (inputs, outputs), and the node of its bias."""

    node: Any
    weight: NDArray[np.float32]
    flipped: bool
    bias_node: Any = None
    bias: NDArray[np.float32] | None = None

    @property
    def result(self) -> str:
        """What the rest of the graph reads: the product, or the product with its bias."""
        return str((self.bias_node or self.node).output[0])


def join_products(model: Any) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Rewrite the products of matrices (tokens, channels) with constant weights; all other names stay.

    Products of one tensor with narrow weights become one `Gemm` and a `Split`, also those that have their weight on the
    left and the transposed tensor on the right; a `MatMul` becomes a `Gemm`, with the bias that is added to it; the
    weights of every `Gemm` come to stand as (inputs, outputs).

    Args:
        model: float32, its nodes in order; changed in place. The values are the same but for rounding.

    Raises:
        ArtifactError: the model breaks a rule of ONNX.
    """
    rewrite = _Rewrite(model)
    rewrite.run()


class _Rewrite:
    """One graph being rewritten."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        import onnx

        self._onnx = onnx
        self._graph = model.graph
        values = infer_values(model)
        self._ranks = {name: len(value.type.tensor_type.shape.dim) for name, value in values.items()}
        self._stored = {item.name: item for item in self._graph.initializer}
        self._users: dict[str, list[Any]] = {}
        for node in self._graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._outputs = {value.name for value in self._graph.output}
        self._gone: set[str] = set()  # names of nodes that others now stand for

    def run(self) -> None:
        groups = {source: found for source, found in self._groups().items() if len(found) > 1}
        first = {found[0].node.name: source for source, found in groups.items()}
        for found in groups.values():
            self._gone.update(branch.node.name for branch in found)
            self._gone.update(branch.bias_node.name for branch in found if branch.bias_node is not None)
        nodes: list[Any] = []
        for node in self._graph.node:
            if node.name in first:
                nodes += self._joined(first[node.name], groups[first[node.name]])
            elif node.name not in self._gone:
                nodes.append(self._with_bias(node))
        used = {name for node in nodes for name in node.input} | self._outputs
        nodes = [node for node in nodes if not used.isdisjoint(node.output)]  # a transposition nobody reads any more
        kept = [item for item in self._graph.initializer if item.name in used]
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(nodes)
        self._graph.initializer.extend(kept)

    def _groups(self) -> dict[str, list[_Branch]]:
        """Return narrow products by the tensor that they read."""
        flips = {
            node.output[0]: node.input[0]
            for node in self._graph.node
            if node.op_type == "Transpose" and self._ranks.get(node.input[0]) == 2
        }
        found: dict[str, list[_Branch]] = {}
        for node in self._graph.node:
            if node.op_type != "MatMul":
                continue
            left, right = node.input
            if self._is_weight(right) and self._ranks.get(left) == 2:
                branch, source = _Branch(node, self._array(right), flipped=False), left
                branch.bias_node, branch.bias = self._bias_of(node)
            elif self._is_weight(left) and right in flips:
                branch, source = _Branch(node, self._array(left).T, flipped=True), flips[right]
            else:
                continue
            if branch.weight.shape[1] < _WIDEST:
                found.setdefault(source, []).append(branch)
        return found

    def _joined(self, source: str, branches: Sequence[_Branch]) -> list[Any]:
        """Return one product, the split of its columns, and the transpositions that those on the left had."""
        make, stem = self._onnx.helper.make_node, f"{branches[0].node.name}.joined"
        sizes = [branch.weight.shape[1] for branch in branches]
        bias = [
            np.zeros(size, np.float32) if branch.bias is None else branch.bias
            for branch, size in zip(branches, sizes, strict=True)
        ]
        weight = self._store(f"{stem}.weight", np.concatenate([branch.weight for branch in branches], axis=1))
        offset = self._store(f"{stem}.bias", np.concatenate(bias))
        parts = [f"{branch.result}.rows" if branch.flipped else branch.result for branch in branches]
        nodes = [
            make("Gemm", [source, weight, offset], [stem], name=stem),
            make(
                "Split", [stem, self._store(f"{stem}.sizes", np.array(sizes, np.int64))], parts, f"{stem}.split", axis=1
            ),
        ]
        for branch, part in zip(branches, parts, strict=True):
            if branch.flipped:
                nodes.append(make("Transpose", [part], [branch.result], f"{branch.node.name}.flip", perm=[1, 0]))
        return nodes

    def _with_bias(self, node: Any) -> Any:  # noqa: ANN401 (an onnx.NodeProto)
        """Return a product of a matrix and a constant as a Gemm, any other node as it is."""
        make = self._onnx.helper.make_node
        if node.op_type == "Gemm" and self._is_weight(node.input[1]):
            given = {item.name: self._onnx.helper.get_attribute_value(item) for item in node.attribute}
            if given.pop("transB", 0):
                weight = self._store(f"{node.name}.weight", self._array(node.input[1]).T)
                return make("Gemm", [node.input[0], weight, *node.input[2:]], list(node.output), node.name, **given)
        if node.op_type != "MatMul" or not self._is_weight(node.input[1]) or self._ranks.get(node.input[0]) != 2:
            return node
        # Without a bias of its own too: ONNX Runtime would make what is added behind it a part of the product, and if
        # that is no vector there is no 8-bit kernel for both.
        bias_node, bias = self._bias_of(node)
        columns = self._stored[node.input[1]].dims[1]
        offset = self._store(f"{node.name}.bias", np.zeros(columns, np.float32) if bias is None else bias)
        if bias_node is not None:
            self._gone.add(bias_node.name)
        return make("Gemm", [*node.input, offset], [(bias_node or node).output[0]], node.name)

    def _bias_of(self, node: Any) -> tuple[Any, NDArray[np.float32] | None]:  # noqa: ANN401
        """Return the node that adds a vector to a product that nothing else reads, and the vector; or None, None."""
        result = node.output[0]
        users = self._users.get(result, [])
        if len(users) != 1 or users[0].op_type != "Add" or result in self._outputs:
            return None, None
        other = next((name for name in users[0].input if name != result), "")
        item = self._stored.get(other)
        if item is None or len(item.dims) != 1 or item.dims[0] != self._stored[node.input[1]].dims[1]:
            return None, None
        return users[0], self._array(other)

    def _is_weight(self, name: str) -> bool:
        item = self._stored.get(name)
        return item is not None and len(item.dims) == 2 and item.data_type == self._onnx.TensorProto.FLOAT

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self._onnx.numpy_helper.to_array(self._stored[name])
        return array

    def _store(self, name: str, value: NDArray[Any]) -> str:
        item = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._graph.initializer.append(item)
        return name
