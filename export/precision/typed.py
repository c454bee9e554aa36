"""Writes a deployment graph as an ONNX file in the precision that a target builds from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetrack.errors import InputError
from edgetrack.export.onnx_graph import check_types, write_onnx
from edgetrack.export.precision.half import to_half
from edgetrack.export.precision.int8 import Quantization
from edgetrack.export.precision.plan import CALIBRATED
from edgetrack.export.precision.quantize import insert_pairs
from edgetrack.export.precision.whole import quantize_whole

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph, GraphSignature

__all__ = ["PRECISIONS", "TypedGraph", "write_typed"]

PRECISIONS = ("fp32", "fp16", "int8", "mixed")
"""What can be asked of targets; a target says which of them it carries."""

WHOLE = "w8a16"
"""What a target for integer NPUs builds int8 from: see `quantize_whole`."""

_CALIBRATED = CALIBRATED | {WHOLE}


@dataclass(frozen=True)
class TypedGraph:
    """A deployment graph in an ONNX file; its inputs and outputs are float32 at every precision.

    Attributes:
        graph: names, example inputs, symbolic dimensions and all their values.
        path: the self-contained .onnx file, in a folder that goes once the artifact is written.
        precision: what the file's types carry.
        asked: what the artifact is to have; differs from `precision` where the target itself makes the rest.
        metadata: what the file's metadata_props say.
        islands: names of the nodes that were left in float32 where the precision is a lower one.
    """

    graph: GraphSignature
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
    graph: DeployGraph,
    folder: Path,
    precision: str,
    metadata: Mapping[str, str],
    *,
    asked: str | None = None,
    quantization: Quantization | None = None,
) -> TypedGraph:
    """Write `<role>.onnx` into `folder`.

    Args:
        graph: what to write.
        folder: an existing folder.
        precision: of the file: fp32; fp16 (float16 with float32 islands); int8 (Q/DQ pairs around products, the rest
            float32); mixed (the same, the rest as at fp16); w8a16 (pairs around everything).
        metadata: goes into its metadata_props.
        asked: of the artifact; None: `precision`.
        quantization: for int8, mixed and w8a16, of the network that the graph is of.

    Raises:
        ArtifactError: the graph came out with operators or a signature that deployment forbids, or its values do not
            fit the precision.
        InputError: there is no such precision, or it needs a calibration and there is none.
    """
    if precision not in (*PRECISIONS, WHOLE):
        raise InputError(f"no typed graph of precision {precision!r} can be made; known: {', '.join(PRECISIONS)}")
    if precision in _CALIBRATED and quantization is None:
        raise InputError(f"precision {precision} needs a calibration: the range of every activation is measured")
    path = folder / f"{graph.role}.onnx"
    islands: tuple[str, ...] = ()
    if precision == WHOLE and quantization is not None:
        _write_whole(quantization, graph, path, metadata)
    elif precision in CALIBRATED and quantization is not None:
        islands = _write_quantized(quantization, graph, path, metadata, half=precision == "mixed")
    else:
        write_onnx(graph, path, metadata)
        if precision == "fp16":
            islands = _halve(path, graph)
    return TypedGraph(graph, path, precision, asked or precision, metadata, islands)


def _halve(path: Path, graph: DeployGraph) -> tuple[str, ...]:
    """Turn a float32 file into one of float16 and return its islands."""
    import onnx

    model, islands = to_half(onnx.load(str(path)), graph.features)
    check_types(model)
    onnx.save_model(model, str(path))
    return islands


def _write_whole(quantization: Quantization, graph: DeployGraph, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a file of integers throughout; layers that boxes need in higher precision get weights of 16 bits."""
    import onnx

    plain = quantization.graphs[graph.role]
    fine = plain.bearing - quantization.layers(graph.role)
    model = quantize_whole(plain.path, plain.samples(), fine)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save_model(model, str(path))


def _write_quantized(
    quantization: Quantization, graph: DeployGraph, path: Path, metadata: Mapping[str, str], *, half: bool
) -> tuple[str, ...]:
    """Write an 8-bit file; return the layers that could have been 8-bit and are not, and the islands of `half`."""
    import onnx

    plain = quantization.graphs[graph.role]
    model = insert_pairs(onnx.load(str(plain.path)), plain.ranges, quantization.layers(graph.role))
    islands = quantization.islands(graph.role)
    if half:
        model, islands = to_half(model, graph.features)
    onnx.helper.set_model_props(model, dict(metadata))
    check_types(model)
    onnx.save_model(model, str(path))
    return islands
