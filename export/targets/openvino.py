"""Target `openvino`: OpenVINO IR (.xml and .bin per graph), fp32 or with fp16 weights."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgetrack.export.targets.onnx import require, write_onnx

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph

__all__ = ["OpenVinoTarget"]

_INSTALL = "pip install 'edgetrack[export,openvino]'"


class OpenVinoTarget:
    """Writes OpenVINO IR files."""

    def check(self) -> None:
        """See `TargetWriter.check`."""
        for package in ("onnx", "onnxscript", "openvino"):
            require(package, _INSTALL)

    def version(self) -> str:
        """See `TargetWriter.version`."""
        return str(require("openvino", _INSTALL).get_version())

    def write(self, graph: DeployGraph, folder: Path, precision: str, metadata: Mapping[str, str]) -> tuple[str, ...]:
        """See `TargetWriter.write`; fp16 stores the weights in half the bytes, the operators stay float32."""
        ov = require("openvino", _INSTALL)
        with tempfile.TemporaryDirectory(prefix="edgetrack-") as scratch:
            source = Path(scratch) / f"{graph.role}.onnx"
            write_onnx(graph, source, metadata)
            model = ov.Core().read_model(str(source))
            for key, value in metadata.items():
                model.set_rt_info(value, ["edgetrack", key])
            ov.save_model(model, str(folder / f"{graph.role}.xml"), compress_to_fp16=precision == "fp16")
            # The reader maps the ONNX file; let go of it before its folder is removed.
            del model
        return (f"{graph.role}.xml", f"{graph.role}.bin")
