"""Which types a network computes in: before the build from its layers, after it from what TensorRT says of the engine.

The engine inspector would say the latter too, but needs the GPU; with detailed profiling verbosity a build says it
itself, on any machine.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["built_layers", "network_types"]

_MATRIX_KINDS = ("MATRIX_MULTIPLY", "CONVOLUTION", "SOFTMAX", "NORMALIZATION", "REDUCE", "QUANTIZE", "DEQUANTIZE")
_HEADINGS = ("Layers:", "Engine Layer Information:")
_LAYER = re.compile(r"Name: (?P<name>[^,]*), LayerType: (?P<kind>[^,]*),")
_TYPE = re.compile(r"Datatype: (\w+)")


def network_types(network: Any) -> Mapping[str, Mapping[str, int]]:  # noqa: ANN401 (an INetworkDefinition)
    """Return kind of layer -> type of its first output -> how many, of the kinds that decide about precision."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type.name in _MATRIX_KINDS:
            found[layer.type.name][layer.get_output(0).dtype.name] += 1
    return {kind: dict(found[kind]) for kind in _MATRIX_KINDS if kind in found}


def built_layers(messages: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return one line per layer of the engine out of the messages of its build: kind, name, types in and out.

    TensorRT prints tables of several forms; a line that is not known is kept as it is, up to 200 characters.
    """
    for _, text in messages:
        if text.startswith(_HEADINGS):
            lines = text.partition("I/O Tensors")[0].splitlines()[1:]
            return tuple(_line(line) for line in lines if line.strip())
    return ()


def _line(text: str) -> str:
    layer = _LAYER.match(text.strip())
    if layer is None:
        return text.strip()[:200]
    read, _, rest = text.partition("Outputs: [")
    read = read.partition("Constants: [")[0]
    types = [",".join(_TYPE.findall(part)) or "-" for part in (read, rest.partition("TacticName")[0])]
    return f"{layer['kind']} {layer['name']}: {types[0]} -> {types[1]}"
