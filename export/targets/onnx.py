"""Target `onnx`: the typed graphs themselves, one .onnx file each, for ONNX Runtime; 8-bit ones in its fastest form."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.export.targets.base import TargetWriter, require
from edgetrack.export.targets.int8_path import Choice, choose

if TYPE_CHECKING:
    from edgetrack.export.precision import TypedGraph

__all__ = ["OnnxTarget"]

_INSTALL = "pip install 'edgetrack[export]'"
_OPTION = "int8-path"
_AUTO = "auto"


class OnnxTarget(TargetWriter):
    """Writes ONNX files for ONNX Runtime."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """See `TargetWriter`."""
        super().__init__(options)
        self._choices: dict[str, Choice] = {}

    def check(self) -> None:
        """See `TargetWriter.check`."""
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, _INSTALL)

    def version(self) -> str:
        """See `TargetWriter.version`."""
        return str(require("onnxruntime", _INSTALL).__version__)

    def write(self, source: TypedGraph, folder: Path) -> tuple[str, ...]:
        """See `TargetWriter.write`; int8 in the form that `--int8-path` names, or that is faster here."""
        name = f"{source.role}.onnx"
        if source.precision == "int8":
            self._write_int8(source, folder / name, self.options.get(_OPTION, _AUTO))
        else:
            shutil.copyfile(source.path, folder / name)
        return (name,)

    def _write_int8(self, source: TypedGraph, path: Path, asked: str) -> None:
        import onnx

        from edgetrack.export.precision.integer import FORMS
        from edgetrack.runtime.engines import ENGINES

        with tempfile.TemporaryDirectory(prefix="edgetrack-") as scratch:
            files = {}
            for form, rewrite in FORMS.items():
                if asked in (form, _AUTO):
                    model = onnx.load(str(source.path))
                    rewrite(model)
                    files[form] = Path(scratch) / f"{source.role}.{form}.onnx"
                    onnx.save_model(model, str(files[form]))
            choice = Choice(asked, {})
            if asked == _AUTO:
                dims = {symbol: min(values) for symbol, values in source.graph.values.items()}
                with closing(ENGINES.get("onnxruntime")("cpu")) as engine:
                    choice = choose(files, dims, engine, source.path)
            shutil.copyfile(files[choice.path], path)
        self._choices[source.role] = choice

    def facts(self) -> dict[str, Any]:
        """See `TargetWriter.facts`: for int8, `int8_path`: role -> the form, and the times it was chosen by."""
        if not self._choices:
            return {}
        return {"int8_path": {role: choice.as_dict() for role, choice in self._choices.items()}}
