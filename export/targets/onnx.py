"""Target `onnx`: the typed graphs themselves, one .onnx file each, for ONNX Runtime."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgetrack.export.targets.base import TargetWriter, require

if TYPE_CHECKING:
    from edgetrack.export.precision import TypedGraph

__all__ = ["OnnxTarget"]

_INSTALL = "pip install 'edgetrack[export]'"


class OnnxTarget(TargetWriter):
    """Writes ONNX files for ONNX Runtime."""

    def check(self) -> None:
        """See `TargetWriter.check`."""
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, _INSTALL)

    def version(self) -> str:
        """See `TargetWriter.version`."""
        return str(require("onnxruntime", _INSTALL).__version__)

    def write(self, source: TypedGraph, folder: Path) -> tuple[str, ...]:
        """See `TargetWriter.write`."""
        name = f"{source.role}.onnx"
        shutil.copyfile(source.path, folder / name)
        return (name,)
