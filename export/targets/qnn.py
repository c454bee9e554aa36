"""Target `qnn`: contexts for the HTP of Snapdragons, an .onnx of one node and a .bin per graph and size.

The compiler is the one of onnxruntime-qnn, which runs on x86-64 Linux without a Snapdragon. It takes static shapes only
and leaves no operator to the CPU: a graph that it cannot compile whole is an error. One context that shares the weights
of all sizes would be smaller, but the emulator refuses such a context, so nobody could have verified it.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import ArtifactError, InputError, WrongMachine
from edgetrack.export.targets.base import ExtraFile, TargetWriter, require
from edgetrack.export.targets.qnn_socs import SOCS
from edgetrack.runtime.engine import first_line
from edgetrack.runtime.engines.qnn import Plugin, built_for, load_plugin, sized_name

if TYPE_CHECKING:
    from edgetrack.export.models.base import GraphSignature
    from edgetrack.export.precision import TypedGraph

__all__ = ["QnnTarget"]

_INSTALL = "pip install 'edgetrack[export,qnn]' (Python 3.11 or later, Linux on x86-64)"
_FINE_WEIGHTS_FROM = 73  # seen with onnxruntime-qnn 2.7: it compiles int16 weights for no earlier architecture
_LOG_FATAL_ONLY = 4  # failures arrive as exceptions; the log would only repeat them


class QnnTarget(TargetWriter):
    """Writes QNN contexts with the compiler of onnxruntime-qnn."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """See `TargetWriter`."""
        super().__init__(options)
        self._compatibility = ""

    def check(self) -> None:
        """See `TargetWriter.check`.

        Raises:
            WrongMachine: the chip has an HTP of another architecture than the one that was stated.
        """
        for package in ("onnx", "onnxscript", "onnxruntime", "onnxruntime_qnn"):
            require(package, _INSTALL)
        arch, name = self.options.get("htp-arch"), self.options.get("soc-model")
        if name is not None and str(SOCS[name].arch) != arch:
            fitting = f"--htp-arch {SOCS[name].arch} --soc-model {name}"
            raise WrongMachine(
                f"chip {name} has an HTP v{SOCS[name].arch}, --htp-arch says v{arch}, whose files do not run there; "
                f"give {fitting}, to an artifact that is there already: edgetrack rebuild ARTIFACT {fitting}"
            )

    def version(self) -> str:
        """See `TargetWriter.version`."""
        return load_plugin().version

    def write(self, source: TypedGraph, folder: Path) -> tuple[str, ...]:
        """See `TargetWriter.write`; two files per combination of sizes, of the first one first.

        Raises:
            InputError: fp16 is asked for and no chip is stated.
        """
        if source.asked == "fp16" and self.options["soc-model"] is None:
            raise InputError(
                f"fp16 needs --soc-model, for not every HTP v{self.options['htp-arch']} computes in floating point; "
                f"give {', '.join(name for name, soc in SOCS.items() if str(soc.arch) == self.options['htp-arch'])}"
            )
        self._check_weights(source)
        plugin = load_plugin()
        names: list[str] = []
        for dims in _sizes(source.graph):
            name = sized_name(source.role, dims)
            fixed = source.path.with_name(f"fixed.{name}")
            _fix_sizes(source.path, fixed, dims)
            self._compile(plugin, fixed, folder / name)
            names += [name, f"{Path(name).stem}_qnn.bin"]
        return tuple(names)

    def _check_weights(self, source: TypedGraph) -> None:
        """Raise InputError where layers that the calibration's budget keeps finer do not fit the HTP."""
        onnx = require("onnx", _INSTALL)
        if int(self.options["htp-arch"]) >= _FINE_WEIGHTS_FROM:
            return
        stored = onnx.load(str(source.path)).graph.initializer
        fine = sum(item.data_type == onnx.TensorProto.INT16 and len(item.dims) == 2 for item in stored)
        if fine:
            raise InputError(
                f"{source.role}: {fine} products need weights of 16 bits for the accuracy that was asked, which HTP "
                f"v{self.options['htp-arch']} does not have; raise --max-auc-drop or --max-box-error, or give "
                f"--htp-arch {_FINE_WEIGHTS_FROM} or later"
            )

    def _compile(self, plugin: Plugin, source: Path, path: Path) -> None:
        """Compile a graph of static shapes into `path` and the .bin that the compiler names after it."""
        ort = plugin.ort
        options = ort.SessionOptions()
        options.log_severity_level = _LOG_FATAL_ONLY
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_session_config_entry("ep.context_enable", "1")
        options.add_session_config_entry("ep.context_file_path", str(path))
        options.add_session_config_entry("ep.context_embed_mode", "0")
        more = {"htp_arch": self.options["htp-arch"]}
        if self.options["soc-model"] is not None:
            more["soc_model"] = str(SOCS[self.options["soc-model"]].number)
        options.add_provider_for_devices(plugin.devices, plugin.options(**more))
        try:
            ort.InferenceSession(str(source), options)
        except Exception as error:
            raise ArtifactError(
                f"{path.name}: QNN {plugin.sdk} cannot compile it for {self._chip} ({first_line(error)}); "
                "floating point needs a --soc-model that has it"
            ) from error
        built = built_for(path) if path.is_file() else None
        if built is None or str(built.arch) != self.options["htp-arch"]:
            raise ArtifactError(f"{path.name}: QNN {plugin.sdk} did not compile it for {self._chip}, but for {built}")
        self._compatibility = built.text

    @property
    def _chip(self) -> str:
        return f"HTP v{self.options['htp-arch']} {self.options['soc-model'] or ''}".rstrip()

    def finish(self, sources: Sequence[TypedGraph], folder: Path) -> tuple[ExtraFile, ...]:
        """See `TargetWriter.finish`: the graphs that were compiled, to compile them again for another chip."""
        if self.options["no-source"]:
            return ()
        extras = []
        for source in sources:
            name = f"{source.role}.source.onnx"
            shutil.copyfile(source.path, folder / name)
            extras.append(ExtraFile(name, "source", source.role))
        return tuple(extras)

    def facts(self) -> dict[str, Any]:
        """See `TargetWriter.facts`; `compatibility` is what the provider itself compares with a chip."""
        plugin = load_plugin()
        key = {
            "htp_arch": self.options["htp-arch"],
            "qnn_sdk": plugin.sdk,
            "onnxruntime_qnn": plugin.version,
            "compatibility": self._compatibility,
        }
        return {"soc": self.options["soc-model"], "key": key}


def _sizes(graph: GraphSignature) -> Iterator[dict[str, int]]:
    """Yield every combination of values of the graph's symbolic dimensions; a graph without any has one, empty."""
    used = sorted({symbol for axes in graph.dims.values() for symbol in axes.values()})
    for values in itertools.product(*(graph.values[symbol] for symbol in used)):
        yield dict(zip(used, values, strict=True))


def _fix_sizes(source: Path, path: Path, dims: Mapping[str, int]) -> None:
    """Write a copy of an ONNX file in which the symbolic dimensions are numbers."""
    onnx = require("onnx", _INSTALL)
    tools = require("onnxruntime.tools.onnx_model_utils", _INSTALL)
    model = onnx.load(str(source))
    for symbol, value in dims.items():
        tools.make_dim_param_fixed(model.graph, symbol, value)
    onnx.save_model(model, str(path))
