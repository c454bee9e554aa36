"""Target `openvino`: OpenVINO IR (.xml and .bin per graph), fp32 or with fp16 weights."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import ArtifactError
from edgetrack.export.targets.onnx import require, write_onnx

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph

__all__ = ["OpenVinoTarget"]

_INSTALL = "pip install 'edgetrack[export,openvino]'"
# A failed write leaves less than one of OpenVINO's buffers.
DISK_IS_FULL_BYTES = 1 << 20


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
            _save(ov, model, folder / f"{graph.role}.xml", compress=precision == "fp16")
            # The reader maps the ONNX file; let go of it before its folder is removed.
            del model
        return (f"{graph.role}.xml", f"{graph.role}.bin")


def _save(ov: Any, model: Any, path: Path, *, compress: bool) -> None:  # noqa: ANN401 (the package's own objects)
    """Save a model; OpenVINO reports a failed write as a RuntimeError that names no cause."""
    try:
        ov.save_model(model, str(path), compress_to_fp16=compress)
    except RuntimeError as error:
        if shutil.disk_usage(path.parent).free < DISK_IS_FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"OpenVINO cannot write {path.name} ({reason}); check the output folder") from error
