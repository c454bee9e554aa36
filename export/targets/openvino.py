"""Target `openvino`: OpenVINO IR (.xml and .bin per graph), fp32 or with fp16 weights."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import ArtifactError
from edgetrack.export.targets.base import TargetWriter, require

if TYPE_CHECKING:
    from edgetrack.export.precision import TypedGraph

__all__ = ["OpenVinoTarget"]

_INSTALL = "pip install 'edgetrack[export,openvino]'"
# A failed write leaves less than one of OpenVINO's buffers.
DISK_IS_FULL_BYTES = 1 << 20


class OpenVinoTarget(TargetWriter):
    """Writes OpenVINO IR files."""

    def check(self) -> None:
        """See `TargetWriter.check`."""
        for package in ("onnx", "onnxscript", "openvino"):
            require(package, _INSTALL)

    def version(self) -> str:
        """See `TargetWriter.version`."""
        return str(require("openvino", _INSTALL).get_version())

    def write(self, source: TypedGraph, folder: Path) -> tuple[str, ...]:
        """See `TargetWriter.write`; fp16 stores the weights in half the bytes, the operators stay float32."""
        ov = require("openvino", _INSTALL)
        model = ov.Core().read_model(str(source.path))
        for key, value in source.metadata.items():
            model.set_rt_info(value, ["edgetrack", key])
        _save(ov, model, folder / f"{source.role}.xml", compress=source.asked == "fp16")
        return (f"{source.role}.xml", f"{source.role}.bin")


def _save(ov: Any, model: Any, path: Path, *, compress: bool) -> None:  # noqa: ANN401 (the package's own objects)
    """Save a model; OpenVINO reports a failed write as a RuntimeError that names no cause."""
    try:
        ov.save_model(model, str(path), compress_to_fp16=compress)
    except RuntimeError as error:
        if shutil.disk_usage(path.parent).free < DISK_IS_FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"OpenVINO cannot write {path.name} ({reason}); check the output folder") from error
