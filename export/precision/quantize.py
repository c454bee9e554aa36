"""8-bit graphs by ONNX Runtime's static quantizer: Q/DQ pairs around the products with constants, nothing else.

Weights are symmetric int8 per output channel, activations symmetric int8 per tensor: what TensorRT, the QNN and
OpenVINO converters and ONNX Runtime all take. Products of two activations (attention), normalisations, GELU, softmax,
residual sums, biases and the last layer before a decision stay as they are.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import CalibrationError
from edgetrack.export.precision.products import refuse_quantized

__all__ = ["Arrays", "Ranges", "SampleReader", "insert_pairs", "measure_ranges", "quiet"]

Arrays = Mapping[str, NDArray[np.float32]]
"""Inputs of one graph: name -> array."""

Ranges = Any
"""What the quantizer's calibration found: an onnxruntime.quantization.calibrate.TensorsData."""

_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["MatMul"],
}


def measure_ranges(path: Path, samples: Iterable[Arrays]) -> Ranges:
    """Run a float32 graph on samples, one in memory at a time, and return the smallest and largest of every activation.

    Args:
        path: the graph's .onnx file.
        samples: its inputs; symbolic dimensions may differ.

    Raises:
        CalibrationError: there is no sample.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    reader = SampleReader(samples)
    if not reader.any():
        raise CalibrationError(f"graph {path.stem}: there is no sample to calibrate with; give a longer clip")
    with tempfile.TemporaryDirectory(prefix="edgetrack-") as folder, quiet():
        calibrator = create_calibrator(
            Path(path),
            ["MatMul"],
            augmented_model_path=str(Path(folder) / "ranges.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"symmetric": True},
        )
        calibrator.collect_data(reader)
        return calibrator.compute_data()


def insert_pairs(model: Any, ranges: Ranges, layers: Collection[str]) -> Any:  # noqa: ANN401 (onnx.ModelProto)
    """Return a float32 model with Q/DQ pairs around the products that `layers` names by their nodes.

    Args:
        model: an onnx.ModelProto that `plain_products` wrote; used up.
        ranges: from `measure_ranges` on the same graph.
        layers: names of MatMul nodes with a constant on the right.

    Raises:
        ArtifactError: the graph is quantized already.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    refuse_quantized(model)
    if not layers:
        return model
    metadata = {item.key: item.value for item in model.metadata_props}
    with quiet():
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=ranges,
            nodes_to_quantize=sorted(layers),
            nodes_to_exclude=[],
            op_types_to_quantize=["MatMul"],
            extra_options=dict(_OPTIONS),
        )
        made = quantizer.quantize_model()
    _cleaned(made, set(layers), metadata)
    return made


class SampleReader:
    """Hands samples to the calibrator one by one; an onnxruntime.quantization.CalibrationDataReader by its methods."""

    def __init__(self, samples: Iterable[Arrays]) -> None:
        self._samples = iter(samples)
        self._next = next(self._samples, None)

    def any(self) -> bool:
        """Tell whether there is another sample."""
        return self._next is not None

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next sample, None after the last."""
        sample, self._next = self._next, next(self._samples, None)
        return None if sample is None else dict(sample)

    def __iter__(self) -> SampleReader:
        return self

    def __next__(self) -> dict[str, NDArray[np.float32]]:
        sample = self.get_next()
        if sample is None:
            raise StopIteration
        return sample


def _cleaned(model: Any, layers: set[str], metadata: Mapping[str, str]) -> None:  # noqa: ANN401
    """Put nodes in order, give the float nodes the values before quantization, and name who made the file."""
    import onnx

    pairs = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    before = {
        node.output[0]: pairs[node.input[0]].input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in pairs
    }
    for node in model.graph.node:
        if node.name not in layers:
            node.input[:] = [before.get(name, name) for name in node.input]
    _sort(model.graph)
    model.producer_name, model.producer_version = "edgetrack", ""
    del model.graph.value_info[:]
    onnx.helper.set_model_props(model, dict(metadata))


def _sort(graph: Any) -> None:  # noqa: ANN401 (an onnx.GraphProto)
    """Put nodes behind what they read; otherwise the order stays."""
    known = {item.name for item in graph.initializer} | {value.name for value in graph.input} | {""}
    producer = {name: node for node in graph.node for name in node.output}
    ordered: list[Any] = []

    def place(node: Any) -> None:  # noqa: ANN401
        stack = [node]
        while stack:
            missing = [producer[name] for name in stack[-1].input if name not in known]
            if missing:
                stack.append(missing[0])
                continue
            done = stack.pop()
            if known.isdisjoint(done.output):
                ordered.append(done)
                known.update(done.output)

    for node in list(graph.node):
        place(node)
    copies = [type(node).FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the quantizer's advice, which goes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
