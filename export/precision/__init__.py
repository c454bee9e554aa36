"""Typed graphs: a deployment graph as an ONNX file whose types carry the precision, made once for every target.

`half` makes float16 with float32 islands, `quantize` Q/DQ pairs by ONNX Runtime's quantizer; `calibration` samples the
closed loop's real inputs for it. `islands` knows what must stay in float32.
"""

from __future__ import annotations

from edgetrack.export.precision.int8 import Quantization, quantize
from edgetrack.export.precision.plan import CALIBRATED, CalibrationPlan, check_calibration
from edgetrack.export.precision.typed import PRECISIONS, TypedGraph, write_typed

__all__ = [
    "CALIBRATED",
    "PRECISIONS",
    "CalibrationPlan",
    "Quantization",
    "TypedGraph",
    "check_calibration",
    "quantize",
    "write_typed",
]
