"""Target `trt`: TensorRT engines, one .engine file per graph, built from strongly typed networks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import InputError
from edgetrack.export.targets.base import ExtraFile, TargetWriter, require
from edgetrack.export.targets.tensorrt.build import Build, build_engine
from edgetrack.export.targets.tensorrt.builders import EngineBuilder, choose_builder
from edgetrack.runtime.cuda.driver import driver_version

if TYPE_CHECKING:
    from edgetrack.export.precision import TypedGraph

__all__ = ["TensorRtTarget"]

_INSTALL = "pip install 'edgetrack[export,tensorrt-rtx]'"
_LOG = "build.log"
_MOST_MIB = 1 << 20


class TensorRtTarget(TargetWriter):
    """Writes TensorRT engine files, a build log, and the ONNX graphs that a rebuild starts from."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """See `TargetWriter`; InputError for a workspace that is no memory."""
        super().__init__(options)
        workspace = self.options.get("workspace-mib")
        if workspace is not None and not 1 <= workspace <= _MOST_MIB:
            raise InputError(f"--workspace-mib is {workspace}; give a number from 1 to {_MOST_MIB}")
        self._builds: list[Build] = []

    @cached_property
    def _builder(self) -> EngineBuilder:
        return choose_builder(self.options)

    def check(self) -> None:
        """See `TargetWriter.check`."""
        for package in ("onnx", "onnxscript"):
            require(package, _INSTALL)
        self.check_rebuild()

    def check_rebuild(self) -> None:
        """See `TargetWriter.check_rebuild`: a builder, and the GPU it may need."""
        _ = self._builder

    def version(self) -> str:
        """See `TargetWriter.version`."""
        return f"{self._builder.name} {self._builder.trt.version}"

    def write(self, source: TypedGraph, folder: Path) -> tuple[str, ...]:
        """See `TargetWriter.write`."""
        name = f"{source.role}.engine"
        self._builds.append(build_engine(self._builder, source, folder / name, self.say))
        return (name,)

    def finish(self, sources: Sequence[TypedGraph], folder: Path) -> tuple[ExtraFile, ...]:
        """See `TargetWriter.finish`: the build log, and the sources unless `no-source` is said."""
        (folder / _LOG).write_text(self._log(), encoding="utf-8")
        extras = [ExtraFile(_LOG, "log")]
        if not self.options.get("no-source"):
            for source in sources:
                shutil.copyfile(source.path, folder / source.path.name)
                extras.append(ExtraFile(source.path.name, "source", source.role))
        return tuple(extras)

    def facts(self) -> dict[str, Any]:
        """See `TargetWriter.facts`."""
        return {"driver": driver_version(), "key": self._builder.key()}

    def _log(self) -> str:
        lines = [f"builder {self.version()}, for {', '.join(f'{k} {v}' for k, v in self._builder.key().items())}"]
        said = {name: value for name, value in self.options.items() if value not in (None, False)}
        lines.append(f"options {', '.join(f'{name}={value}' for name, value in said.items()) or 'none'}")
        for build in self._builds:
            lines += ["", f"graph {build.role}", "network types:"]
            lines += [f"  {kind} {_counts(counts)}" for kind, counts in build.types.items()]
            lines += ["messages:", *(f"  {kind} {' '.join(text.split())}" for kind, text in build.messages)]
            lines += ["engine layers (kind, name, types in -> out):", *(f"  {line}" for line in build.layers)]
        return "\n".join(lines) + "\n"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in counts.items())
