"""Target `ascend`: Huawei's NPUs, one .om file per graph and size, made by CANN's `atc` where that is installed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import EngineUnavailable, InputError
from edgetrack.export.targets import ascend_atc
from edgetrack.export.targets.ascend_atc import TOOLKIT
from edgetrack.export.targets.base import ExtraFile, TargetWriter, require
from edgetrack.runtime.static_files import all_sizes, sized_name

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgetrack.export.models.base import GraphSignature
    from edgetrack.export.precision import TypedGraph

__all__ = ["AscendTarget"]

_INSTALL = "pip install 'edgetrack[export]'"
_AIPP_SUFFIX = ".aipp.cfg"
_LOG = "build_ascend.log"
_SCRIPT = "build_ascend.sh"
_SOURCE_SUFFIX = ".atc.onnx"


class AscendTarget(TargetWriter):
    """Lowers typed graphs to what ATC documents, proves that nothing changed by it, and runs ATC.

    A graph whose sizes vary becomes a file for each: FARTrack's search graph has two. The other way, gears, adds an
    input that says the gear of every run and excludes AIPP (manual of ATC, --dynamic_dims, atlasatcparam_16_0020); a
    second file costs the weights once more in the device's memory (Pico: 6 MB in fp16).

    With --aipp the device normalises crops: these inputs of the .om files take uint8 pixels, a quarter of the bytes,
    and the manifest says so. The typed graphs that an artifact carries still take them normalised.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """See `TargetWriter`."""
        super().__init__(options)
        self._log: list[str] = []
        self._commands: list[list[str]] = []
        self._configured: dict[str, str] = {}  # role -> its AIPP configuration
        self._atc = ascend_atc.find_atc()

    def check(self) -> None:
        """See `TargetWriter.check`; ATC itself may be missing."""
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, _INSTALL)

    def check_rebuild(self) -> None:
        """See `TargetWriter.check_rebuild`; there has to be ATC."""
        for package in ("onnx", "onnxruntime"):
            require(package, _INSTALL)
        if lacking := self.lacking():
            raise EngineUnavailable(lacking)

    def lacking(self) -> str | None:
        """See `TargetWriter.lacking`: ATC, without which a script is left."""
        return None if self._atc else f"building .om files needs CANN's atc, which is not on the PATH: {TOOLKIT}"

    def version(self) -> str:
        """See `TargetWriter.version`; that of CANN."""
        return ascend_atc.cann_version() if self._atc else "not built"

    def write(self, source: TypedGraph, folder: Path) -> tuple[str, ...]:
        """See `TargetWriter.write`; .om files, or where ATC is missing the .onnx files that it would be given.

        Raises:
            InputError: the precision mode would not keep the precision that was asked for.
            ArtifactError: also if the graph has an operator or type that ATC's list excludes.
        """
        mode = self.options["precision-mode"]
        if source.asked == "fp32" and mode != "must_keep_origin_dtype":
            raise InputError(
                f"--precision-mode {mode} computes in less than fp32; give --precision fp16 with it, or leave it out"
            )
        return tuple(self._write(source, sizes, folder, mode) for sizes in all_sizes(source.graph.values))

    def pixel_inputs(self, graph: GraphSignature) -> frozenset[str]:
        """See `TargetWriter.pixel_inputs`."""
        return frozenset(graph.crops) if self.options["aipp"] else frozenset()

    def _write(self, source: TypedGraph, sizes: Mapping[str, int], folder: Path, mode: str) -> str:
        """Write one graph at one size and return the file's name."""
        import onnx

        from edgetrack.export.targets.ascend_graph import input_shapes, lower
        from edgetrack.export.targets.ascend_operators import check_operators
        from edgetrack.export.targets.ascend_proof import largest_difference

        lowered = lower(onnx.load_model(str(source.path)), sizes)
        shapes = input_shapes(lowered)
        if self.pixel_inputs(source.graph):
            self._configure(lowered, source, folder)
        nodes = check_operators(lowered, source.role, mode)
        name = sized_name(source.role, sizes, _SOURCE_SUFFIX)
        onnx.save_model(lowered, str(folder / name))
        del lowered
        pixels = self.pixel_inputs(source.graph)
        difference = largest_difference(source, folder / name, sizes, shapes, pixels)
        self._log.append(
            f"{name}: {nodes} nodes, all in ATC's list of ONNX operators; ONNX Runtime's results differ from the typed "
            f"graph's by at most {difference:.2g} of the largest value\n"
        )
        output = sized_name(source.role, sizes, "")
        arguments = ascend_atc.command(
            name,
            output,
            shapes,
            soc_version=self.options["soc-version"],
            precision_mode=mode,
            aipp=self._configured.get(source.role),
        )
        if self._atc is None:
            self._commands.append(arguments)
            return name
        self.say(f"atc for {output}")
        beside = [folder / self._configured[source.role]] if source.role in self._configured else []
        self._log.append(ascend_atc.run(self._atc, folder / name, folder / f"{output}.om", arguments, beside=beside))
        (folder / name).unlink()
        return f"{output}.om"

    def _configure(self, lowered: ModelProto, source: TypedGraph, folder: Path) -> None:
        """Prepare a lowered graph for AIPP and write its configuration, which is the same for all its sizes."""
        from edgetrack.export.targets.ascend_aipp import configuration, take_pixels

        name = f"{source.role}{_AIPP_SUFFIX}"
        (folder / name).write_text(configuration(lowered, source.graph), encoding="utf-8")
        take_pixels(lowered, source.graph)
        self._configured[source.role] = name

    def finish(self, sources: Sequence[TypedGraph], folder: Path) -> tuple[ExtraFile, ...]:
        """See `TargetWriter.finish`: log, AIPP configurations, the typed graphs if wanted, and without ATC a script.

        Raises:
            InputError: AIPP was asked for and no graph has a crop that it could take.
        """
        if self.options["aipp"] and not self._configured:
            raise InputError(
                "--aipp: none of the graphs has an input that is known to take a crop; leave it out (an artifact that "
                "was exported without --aipp cannot be rebuilt with it)"
            )
        (folder / _LOG).write_text("".join(self._log), encoding="utf-8")
        extras = [ExtraFile(_LOG, "log")]
        extras += [ExtraFile(name, "config", role) for role, name in self._configured.items()]
        if self._commands:
            (folder / _SCRIPT).write_text(ascend_atc.script(self._commands), encoding="utf-8")
            (folder / _SCRIPT).chmod(0o755)
            extras.append(ExtraFile(_SCRIPT, "script"))
        if not self.options["no-source"]:
            for source in sources:
                shutil.copyfile(source.path, folder / f"{source.role}.onnx")
                extras.append(ExtraFile(f"{source.role}.onnx", "source", source.role))
        return tuple(extras)

    def facts(self) -> dict[str, Any]:
        """See `TargetWriter.facts`."""
        soc = self.options["soc-version"]
        return {"soc": soc, "key": {} if self._commands else {"soc": soc}}
