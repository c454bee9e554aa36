"""From a network to what its 8-bit graphs are made of: calibrate in the closed loop, choose the layers that bear it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.export.onnx_graph import check_types, write_onnx
from edgetrack.export.precision.calibration import Samples, choose_stretches, collect
from edgetrack.export.precision.clips import Section, divide, read_clips
from edgetrack.export.precision.islands import deciding_nodes
from edgetrack.export.precision.plan import CalibrationPlan
from edgetrack.export.precision.products import Layer, layers_of, plain_products, total_macs
from edgetrack.export.precision.quantize import Arrays, Ranges, measure_ranges
from edgetrack.export.precision.sensitivity import Sensitivity, choose

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph
    from edgetrack.export.parity.gate import Progress
    from edgetrack.export.source import Source

__all__ = ["PlainGraph", "Quantization", "quantize"]


@dataclass(frozen=True)
class PlainGraph:
    """One float32 graph as the quantizer takes it.

    Attributes:
        graph: the deployment graph.
        path: its .onnx file, written by `plain_products`.
        layers: all products with constants.
        bearing: names of the nodes that may be 8-bit: not the last before a decision.
        macs: of one run, everything included.
        ranges: of its activations.
        samples: yields what it was calibrated with.
    """

    graph: DeployGraph
    path: Path
    layers: tuple[Layer, ...]
    bearing: frozenset[str]
    macs: int
    ranges: Ranges = field(repr=False)
    samples: Callable[[], Iterator[Arrays]] = field(default=lambda: iter(()), repr=False)


@dataclass(frozen=True)
class Quantization:
    """Everything that `write_typed` needs for 8-bit graphs.

    Attributes:
        graphs: role -> graph.
        kept: names (role/node) of layers that could be 8-bit and stay in higher precision, because boxes need it.
        manifest: the manifest's `calibration`.
        sensitivity: what `kept` follows from; None where it was not looked for.
    """

    graphs: Mapping[str, PlainGraph]
    kept: frozenset[str] = frozenset()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    sensitivity: Sensitivity | None = None

    def layers(self, role: str) -> frozenset[str]:
        """Return the names of the nodes of a graph that become 8-bit."""
        graph = self.graphs[role]
        return frozenset(node for node in graph.bearing if f"{role}/{node}" not in self.kept)

    def islands(self, role: str) -> tuple[str, ...]:
        """Return the names of the layers of a graph that stay in higher precision, in order."""
        eight = self.layers(role)
        return tuple(layer.node for layer in self.graphs[role].layers if layer.node not in eight)


def quantize(
    source: Source,
    plan: CalibrationPlan,
    folder: Path,
    *,
    threads: int | None = None,
    search: bool = False,
    progress: Progress,
) -> Quantization:
    """Write the float32 graphs, run them along the calibration's clips and measure the ranges of their activations.

    Args:
        source: the network.
        plan: with what.
        folder: an existing folder; what is written there must stay until the typed graphs are written.
        threads: CPU threads; None leaves it to ONNX Runtime.
        search: find the layers that have to stay in higher precision for the plan's budget; else all become 8-bit.
        progress: told of stages and steps.

    Raises:
        CalibrationError: the clips cannot be used.
        ParityError: the budget does not hold as long as anything is 8-bit.
    """
    kept, held_out = divide(read_clips(plan.spec), plan.seed)
    stretches = choose_stretches(kept, plan.frames, plan.seed)
    progress.stage("calibrate: write float32 graphs")
    paths = {graph.role: folder / f"{graph.role}.plain.onnx" for graph in source.graphs}
    models = {graph.role: _write_plain(graph, paths[graph.role]) for graph in source.graphs}
    progress.stage(f"calibrate: track {len(stretches)} stretches of {plan.spec}")
    spec = source.family.tracker_spec(source.variant.name)
    (folder / "samples").mkdir()
    samples = collect(spec, source.graphs, paths, stretches, folder / "samples", threads=threads, progress=progress)
    progress.stage("calibrate: ranges of activations")
    graphs = {}
    for graph in source.graphs:
        layers, bearing, macs = models[graph.role]
        ranges = measure_ranges(paths[graph.role], samples.of(graph.role))
        own = partial(samples.of, graph.role)
        graphs[graph.role] = PlainGraph(graph, paths[graph.role], layers, bearing, macs, ranges, own)
    made = Quantization(graphs, manifest=_manifest(plan, samples, held_out))
    if not search:
        return made
    chosen, found = choose(
        source, made, plan, samples=samples, held_out=held_out, folder=folder, threads=threads, progress=progress
    )
    return replace(chosen, sensitivity=found)


def _write_plain(graph: DeployGraph, path: Path) -> tuple[tuple[Layer, ...], frozenset[str], int]:
    """Write a graph for the quantizer; return its layers, those that may be 8-bit, and its work."""
    import onnx

    write_onnx(graph, path, {})
    model = onnx.load(str(path))
    plain_products(model)
    check_types(model)
    onnx.save_model(model, str(path))
    sizes = {symbol: min(values) for symbol, values in graph.values.items()}
    layers, deciding = layers_of(model, graph.role, sizes), deciding_nodes(model.graph, graph.features)
    bearing = frozenset(layer.node for layer in layers if layer.node not in deciding)
    return layers, bearing, total_macs(model, sizes)


def _manifest(plan: CalibrationPlan, samples: Samples, held_out: Sequence[Section]) -> dict[str, Any]:
    return {
        **plan.as_dict(),
        "method": "closed loop, min-max",
        "count": samples.frames,
        "sha256": samples.sha256,
        "clips": list(samples.clips),
        "restarts": samples.restarts,
        "held_out": [section.name for section in held_out],
    }
