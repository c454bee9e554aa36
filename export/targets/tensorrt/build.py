"""One build: from a typed ONNX file to an engine file, the same calls for TensorRT 10, 11 and TensorRT-RTX."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import ArtifactError
from edgetrack.export.targets.tensorrt.builders import EngineBuilder
from edgetrack.export.targets.tensorrt.layers import built_layers, network_types
from edgetrack.export.targets.tensorrt.monitor import Interruption, monitor_of
from edgetrack.export.targets.tensorrt.timing import TimingCache
from edgetrack.runtime.engine import first_line
from edgetrack.runtime.tensorrt.api import MessageLog

if TYPE_CHECKING:
    from edgetrack.export.precision import TypedGraph

__all__ = ["Build", "build_engine"]

_MIB = 1 << 20


@dataclass(frozen=True)
class Build:
    """What a build says of itself.

    Attributes:
        role: of the graph.
        messages: TensorRT's, (severity, text), without its details.
        types: operator kind -> type of its outputs -> how many, of the network before it was optimised.
        layers: one line per layer of the engine, with the types that it reads and writes.
    """

    role: str
    messages: tuple[tuple[str, str], ...] = ()
    types: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    layers: tuple[str, ...] = ()


def build_engine(builder: EngineBuilder, source: TypedGraph, path: Path, say: Callable[[str], None]) -> Build:
    """Build an engine file.

    A graph with dimensions that vary gets one optimization profile for every value they take, each of a single size:
    there are few, kernels are chosen for exactly the size they run at, and a CUDA graph is of one size anyway.

    Args:
        builder: which package, and how.
        source: the typed graph.
        path: of the engine file, which exists only once it is whole.
        say: told what is being done.

    Raises:
        ArtifactError: TensorRT refuses the graph or the build; in one line.
        OSError: the disk is full.
    """
    package = builder.trt.package
    log = MessageLog()
    logger = builder.trt.logger(log, verbose=True)
    try:
        maker = package.Builder(logger)
        # TensorRT 11 and RTX know no other networks and ignore the flag; 10 has to be told.
        network = maker.create_network(1 << int(package.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = package.OnnxParser(network, logger)
        if not parser.parse_from_file(str(source.path)):
            raise ArtifactError(f"{builder.name} cannot read graph {source.role} ({_parser_reason(parser, log)})")
        types = network_types(network)
        config = _configured(builder, maker, network, source)
        interruption = Interruption()
        config.progress_monitor = monitor_of(builder.trt, say, interruption)
        cache = TimingCache(config, builder.options.get("timing-cache"))
        plan = maker.build_serialized_network(network, config)
        interruption.raise_again()
    except RuntimeError as error:
        raise ArtifactError(f"{builder.name} cannot build graph {source.role} ({first_line(error)})") from error
    if plan is None:
        raise ArtifactError(f"{builder.name} cannot build graph {source.role} ({log.reason()})")
    path.write_bytes(plan)
    cache.save()
    folder = f"{source.path.parent}/"  # gone tomorrow, and nobody's business
    messages = tuple((severity, text.replace(folder, "")) for severity, text in log.lines if severity != "VERBOSE")
    return Build(source.role, messages, types, built_layers(log.lines))


def _configured(builder: EngineBuilder, maker: Any, network: Any, source: TypedGraph) -> Any:  # noqa: ANN401
    package = builder.trt.package
    config = maker.create_builder_config()
    # TF32 would round every matrix product's factors to 10 bits of mantissa.
    config.clear_flag(package.BuilderFlag.TF32)
    config.profiling_verbosity = package.ProfilingVerbosity.DETAILED
    workspace = builder.options.get("workspace-mib")
    if workspace is not None:
        config.set_memory_pool_limit(package.MemoryPoolType.WORKSPACE, workspace * _MIB)
    builder.configure(config)
    for sizes in _sizes(source):
        profile = maker.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            axes = source.graph.dims.get(tensor.name, {})
            shape = tuple(sizes[axes[axis]] if size == -1 else size for axis, size in enumerate(tensor.shape))
            profile.set_shape(tensor.name, shape, shape, shape)
        config.add_optimization_profile(profile)
    return config


def _sizes(source: TypedGraph) -> list[dict[str, int]]:
    """Return every combination of values of a graph's symbolic dimensions; none for a graph of fixed shape."""
    values = source.graph.values
    if not values:
        return []
    return [dict(zip(values, sizes, strict=True)) for sizes in itertools.product(*values.values())]


def _parser_reason(parser: Any, log: MessageLog) -> str:  # noqa: ANN401 (an OnnxParser)
    if parser.num_errors:
        return " ".join(str(parser.get_error(0).desc()).split())[:300]
    return log.reason()
