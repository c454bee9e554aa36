"""What the blocks of a graph are: where all that is computed goes through one tensor.

Residual networks have such a waist after every addition to the stream. It is found from the graph alone: no name of a
module and no family of trackers is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgetrack.export.bisect.probes import Layer

__all__ = ["waists"]


def waists(layers: Sequence[Layer], inputs: Iterable[str], output: str) -> list[str]:
    """Return the tensors, in order, that alone connect what is before them with `output`.

    Args:
        layers: in an order in which they can run.
        inputs: of the graph.
        output: of the graph; what it does not depend on is left out of consideration.
    """
    needed = _needed(layers, output)
    last = {name: index for index, layer in enumerate(layers) if layer.makes and needed[index] for name in layer.reads}
    last[output] = len(layers)
    alive = {name for name in inputs if name in last}
    found: list[str] = []
    for index, layer in enumerate(layers):
        if not needed[index]:
            continue
        alive |= {name for name in layer.makes if name in last}
        alive = {name for name in alive if last[name] > index}
        if len(alive) == 1:
            found += alive
    return list(dict.fromkeys(found))


def _needed(layers: Sequence[Layer], output: str) -> list[bool]:
    """Return which layers `output` depends on."""
    wanted, needed = {output}, [False] * len(layers)
    for index in range(len(layers) - 1, -1, -1):
        if not wanted.isdisjoint(layers[index].makes):
            needed[index] = True
            wanted.update(layers[index].reads)
    return needed
