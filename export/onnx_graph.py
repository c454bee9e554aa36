"""A deployment graph as one ONNX file of standard operators: what every target is built from."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import ArtifactError
from edgetrack.export.onnx_file import save_model

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph

__all__ = ["OPSET", "write_onnx"]

OPSET = 20
_SMALL_BYTES = 1024
# Operators of data-dependent control flow or shapes: engines run them slowly or not at all.
_UNWANTED = {"Shape", "If", "Loop", "Scan", "NonZero", "Size", "SequenceConstruct"}


def write_onnx(graph: DeployGraph, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a deployment graph as one self-contained ONNX file of standard operators.

    Symbolic dimensions keep their names; `metadata` goes into the model's metadata_props.

    Raises:
        ArtifactError: the graph came out with operators or a signature that deployment forbids.
    """
    import onnx
    import torch

    shapes = {
        name: {axis: torch.export.Dim(symbol, min=2, max=1 << 16) for axis, symbol in axes.items()}
        for name, axes in graph.dims.items()
    }
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=tuple(shapes.get(name) for name in graph.inputs) if shapes else None,
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise ArtifactError(f"graph {graph.role}: the ONNX exporter of torch {torch.__version__} gave nothing")
    model = program.model_proto
    # A large network is in memory several times over here: what is not needed any more goes before the file is made.
    del program
    gc.collect()
    _clean(model, metadata)
    _check(model, graph)
    onnx.checker.check_model(_without_weights(model), full_check=True)
    save_model(model, path)


def _without_weights(model: Any) -> Any:  # noqa: ANN401 (onnx.ModelProto)
    """Return a copy that takes its large constants as inputs: the checker makes copies of all that it is given."""
    import onnx

    light = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, metadata_props=model.metadata_props
    )
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for item in model.graph.initializer:
        if item.ByteSize() <= _SMALL_BYTES:  # shapes and axes, which checking shapes needs
            light.graph.initializer.append(item)
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(item.name, item.data_type, item.dims))
    return light


def _clean(model: Any, metadata: Mapping[str, str]) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Remove what the exporter leaves of this machine (source paths, stack traces) and set the metadata."""
    import onnx

    model.producer_name = "edgetrack"
    model.ClearField("doc_string")
    model.graph.ClearField("doc_string")
    del model.graph.value_info[:], model.functions[:], model.graph.metadata_props[:]
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        item.ClearField("doc_string")
        del item.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))


def _check(model: Any, graph: DeployGraph) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    kinds = {node.op_type for node in model.graph.node}
    foreign = {node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    if kinds & _UNWANTED or foreign:
        listed = ", ".join(sorted((kinds & _UNWANTED) | foreign))
        raise ArtifactError(f"graph {graph.role} came out with operators {listed}; write its module without them")
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    if inputs != list(graph.inputs) or outputs != list(graph.outputs):
        raise ArtifactError(
            f"graph {graph.role} came out with inputs {inputs} and outputs {outputs}, "
            f"must be {list(graph.inputs)} and {list(graph.outputs)}; check that its module uses every input"
        )
    for value in model.graph.input:
        for axis, symbol in graph.dims.get(value.name, {}).items():
            found = value.type.tensor_type.shape.dim[axis].dim_param
            if found != symbol:
                raise ArtifactError(
                    f"graph {graph.role}: dimension {axis} of {value.name} came out as "
                    f"{found or 'a constant'!r}, must be {symbol!r}; write its module without that size as a number"
                )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's chatter (deprecations inside torch, packages it would like to have)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
