"""Graphs in which everything is an integer, for NPUs: ONNX Runtime's quantizer as it is set up for QNN.

An HTP computes a product in integers only if its factors and its result all are quantized, and its other operators are
fastest, or possible at all, on integers. So every activation gets a Q/DQ pair here: uint16 per tensor, for LayerNorm,
softmax and GELU lose too much at 8 bits. Weights of products are symmetric int8 per output channel, all other constants
uint8: an HTP takes no other for the scales of a LayerNorm. Known as w8a16. Products that boxes need in higher precision
get weights of 16 bits: nothing can be left in float32 here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from edgetrack.errors import CalibrationError
from edgetrack.export.precision.products import refuse_quantized
from edgetrack.export.precision.quantize import Arrays, SampleReader, quiet

__all__ = ["quantize_whole"]


def quantize_whole(path: Path, samples: Iterable[Arrays], fine: Collection[str] = ()) -> Any:  # noqa: ANN401
    """Return a float32 graph with Q/DQ pairs around everything; inputs and outputs stay float32.

    Args:
        path: the graph's .onnx file, written by `plain_products`.
        samples: its inputs, from which the ranges of activations are measured; symbolic dimensions may differ.
        fine: names of MatMul nodes whose weights get 16 bits.

    Returns:
        An onnx.ModelProto.

    Raises:
        ArtifactError: the graph is quantized already.
        CalibrationError: there is no sample.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize as run_quantizer
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    model = onnx.load(str(path))
    refuse_quantized(model)
    reader = SampleReader(samples)
    if not reader.any():
        raise CalibrationError(f"graph {path.stem}: there is no sample to calibrate with; give a longer clip")
    constants = {item.name for item in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in constants]
    kinds = {node.input[1]: QuantType.QInt16 if node.name in fine else QuantType.QInt8 for node in products}
    per_channel = {name: [{"quant_type": kind, "axis": 1, "symmetric": True}] for name, kind in kinds.items()}
    with tempfile.TemporaryDirectory(prefix="edgetrack-") as folder, quiet():
        typed, made = Path(folder) / "typed.onnx", Path(folder) / "made.onnx"
        onnx.save_model(onnx.shape_inference.infer_shapes(model), str(typed))
        config = get_qnn_qdq_config(
            typed,
            reader,
            activation_type=QuantType.QUInt16,
            weight_type=QuantType.QUInt8,
            init_overrides=per_channel,
        )
        run_quantizer(typed, made, config)
        whole = onnx.load(str(made))
    whole.producer_name, whole.producer_version = "edgetrack", ""
    del whole.graph.value_info[:]
    return whole
