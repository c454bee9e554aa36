"""Writes a deployment graph as an ONNX file in the precision that a target builds from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetrack.errors import InputError
from edgetrack.export.onnx_graph import write_onnx

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph

__all__ = ["TypedGraph", "write_typed"]


@dataclass(frozen=True)
class TypedGraph:
    """A deployment graph in an ONNX file; its inputs and outputs are float32 at every precision.

    Attributes:
        graph: names, example inputs, symbolic dimensions and all their values.
        path: the self-contained .onnx file, in a folder that goes once the artifact is written.
        precision: what the file's types carry.
        asked: what the artifact is to have; differs from `precision` where the target itself makes the rest.
        metadata: what the file's metadata_props say.
        islands: names of the layers that were left in float32.
    """

    graph: DeployGraph
    path: Path
    precision: str
    asked: str
    metadata: Mapping[str, str]
    islands: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """The graph's role, after which files are named."""
        return self.graph.role


def write_typed(
    graph: DeployGraph, folder: Path, precision: str, metadata: Mapping[str, str], *, asked: str | None = None
) -> TypedGraph:
    """Write `<role>.onnx` into `folder`.

    Args:
        graph: what to write.
        folder: an existing folder.
        precision: of the file.
        metadata: goes into its metadata_props.
        asked: of the artifact; None: `precision`.

    Raises:
        ArtifactError: the graph came out with operators or a signature that deployment forbids.
        InputError: there is no such precision.
    """
    if precision != "fp32":
        raise InputError(f"no typed graph of precision {precision!r} can be made; known: fp32")
    path = folder / f"{graph.role}.onnx"
    write_onnx(graph, path, metadata)
    return TypedGraph(graph, path, precision, asked or precision, metadata)
