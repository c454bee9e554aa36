"""Qualcomm QNN: compiled contexts on the HTP of a Snapdragon, or on the emulator that the x86-64 package carries.

The package onnxruntime-qnn brings an execution provider that a stock ONNX Runtime loads at run time. Its files are an
.onnx of one EPContext node and a .bin beside it, compiled for one HTP architecture and for fixed shapes: a graph whose
dimensions take several values has a pair of files for each, named by `sized_name`.
"""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from edgetrack.errors import ArtifactError, EngineUnavailable, WrongMachine
from edgetrack.runtime.engine import first_line
from edgetrack.runtime.engines.onnxruntime import OnnxRuntimeEngine, OnnxRuntimeSession
from edgetrack.runtime.engines.onnxruntime_providers import CPU, Provider

__all__ = ["EMULATOR", "NPU", "PROVIDER", "Built", "Plugin", "QnnEngine", "built_for", "load_plugin", "sized_name"]

PROVIDER = "QNNExecutionProvider"
NPU = "npu"
EMULATOR = "htp-emulator"

_PIP = "pip install 'edgetrack[qnn]' (Python 3.11 or later)"
_SIZE = re.compile(r"\.([A-Za-z_]+)(\d+)(?=\.)")
# What the compiler writes into a file's metadata: version of the text, backend, SDK, backend's version, arch, SoC, ...
_INFO = re.compile(r"v2:6:(?P<sdk>[\d.]+):[\d.]+:(?P<arch>\d+):(?P<soc>\d+):[\d:]*")


class Plugin(NamedTuple):
    """The loaded provider: ONNX Runtime, the package, and its devices as ONNX Runtime lists them."""

    ort: Any
    package: Any
    devices: list[Any]

    @property
    def version(self) -> str:
        """Version of the package onnxruntime-qnn."""
        return str(self.package.__version__)

    @property
    def sdk(self) -> str:
        """Version of the QNN SDK inside, as "2.51.0"."""
        return str(self.package.build_and_package_info.qnn_version)

    def options(self, **more: str) -> dict[str, str]:
        """Return provider options for the HTP; graph inputs and outputs are converted there too, not on the CPU."""
        return {"backend_path": str(self.package.get_qnn_htp_path()), "offload_graph_io_quantization": "0", **more}


class Built(NamedTuple):
    """What a compiled file was built for; `soc` is 0 where none was stated, `text` what the provider compares."""

    sdk: str
    arch: int
    soc: int
    text: str


def load_plugin() -> Plugin:
    """Import the package and register its provider with ONNX Runtime, once for the process.

    Raises:
        EngineUnavailable: a package is missing, or the two do not work together.
    """
    try:
        ort = importlib.import_module("onnxruntime")
        package = importlib.import_module("onnxruntime_qnn")
        importlib.import_module("onnxruntime_qnn.build_and_package_info")
    except ImportError as error:
        raise EngineUnavailable(f"engine qnn is not usable ({first_line(error)}): {_PIP}") from error
    try:
        devices = _devices(ort)
        if not devices:
            ort.register_execution_provider_library(PROVIDER, package.get_library_path())
            devices = _devices(ort)
    except Exception as error:
        raise EngineUnavailable(
            f"engine qnn: ONNX Runtime {ort.__version__} cannot load the provider of onnxruntime-qnn "
            f"{package.__version__} ({first_line(error)}): {_PIP}"
        ) from error
    if not devices:
        raise EngineUnavailable("engine qnn: the provider finds no device on this machine; use another target")
    return Plugin(ort, package, devices)


def built_for(path: Path) -> Built | None:
    """Return what a compiled .onnx says that it was built for; None: it does not say, so it is no QNN context."""
    state = importlib.import_module("onnxruntime.capi._pybind_state")
    match = _INFO.fullmatch(state.get_compatibility_info_from_model(str(path), PROVIDER) or "")
    return None if match is None else Built(match["sdk"], int(match["arch"]), int(match["soc"]), match[0])


def sized_name(role: str, dims: Mapping[str, int]) -> str:
    """Return the file name of a graph at fixed sizes, as "search.kept37.onnx"."""
    return "".join([role, *(f".{symbol}{dims[symbol]}" for symbol in sorted(dims)), ".onnx"])


def _sized(path: Path, dims: Mapping[str, int]) -> Path:
    """Return the file beside `path`, which is that of one size, that has the sizes `dims`."""

    def replaced(match: re.Match[str]) -> str:
        return f".{match[1]}{dims.get(match[1], match[2])}"

    return path.with_name(_SIZE.sub(replaced, path.name))


def _devices(ort: Any) -> list[Any]:  # noqa: ANN401 (the package has no types)
    return [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]


class QnnEngine(OnnxRuntimeEngine):
    """Runs compiled QNN contexts; nothing is left to the CPU."""

    name: ClassVar[str] = "qnn"

    def __init__(
        self,
        device: str = NPU,
        *,
        threads: int | None = None,
        cache_dir: Path | None = None,
        precision: str = "fp32",
    ) -> None:
        """See `Engine`; `device` is "npu" or "htp-emulator". `threads`, `cache_dir` and `precision` change nothing."""
        self._plugin = load_plugin()
        self._stated: Mapping[str, str] = {}
        super().__init__(device, threads=threads, cache_dir=cache_dir, precision=precision)

    def _place(self, device: str) -> tuple[Provider, int]:
        """Check that the device is here; its provider takes buffers in the CPU's memory."""
        here = self.devices()
        self._device = here[0] if device.lower() == "auto" else device.lower()
        if self._device not in here:
            raise EngineUnavailable(f"engine qnn has no device {device!r} here; available: {', '.join(here)}")
        return CPU, 0

    @classmethod
    def installed(cls) -> str:
        """See `Engine.installed`."""
        return load_plugin().version

    @classmethod
    def devices(cls) -> list[str]:
        """See `Engine.devices`: the HTP on a Snapdragon, its emulator on x86-64."""
        load_plugin()
        return [EMULATOR] if platform.machine().lower() in {"x86_64", "amd64"} else [NPU]

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        return {"engine": self.name, "version": self._plugin.version, "device": self._device}

    def check_built_for(self, key: Mapping[str, str]) -> None:
        """See `Engine.check_built_for`: the SDK must not be older than the compiler's, the HTP of its architecture.

        The emulator runs files of every architecture.

        Raises:
            WrongMachine: something differs.
        """
        needed = key.get("qnn_sdk", "0")
        if _numbers(needed) > _numbers(self._plugin.sdk):
            raise WrongMachine(
                f"compiled by QNN {needed}, here is {self._plugin.sdk} (pip install 'onnxruntime-qnn>="
                f"{key.get('onnxruntime_qnn', '')}')"
            )
        if self._device == NPU and "compatibility" in key:
            self._check_npu(key)
        self._stated = key

    def _check_npu(self, key: Mapping[str, str]) -> None:
        """Let the provider compare what it wrote into the files with the HTP that is here."""
        state = importlib.import_module("onnxruntime.capi._pybind_state")
        try:
            found = state.get_model_compatibility_for_ep_devices(self._plugin.devices, key["compatibility"])
        except self._failures:
            return  # it cannot tell: opening the file will
        if found == state.OrtCompiledModelCompatibility.EP_UNSUPPORTED:
            raise WrongMachine(
                f"compiled for HTP v{key.get('htp_arch', '?')}, which is not the one here (rebuild takes --htp-arch "
                "and --soc-model, on Linux on x86-64)"
            )

    def open(self, path: Path, dims: Mapping[str, int]) -> OnnxRuntimeSession:
        """See `Engine.open`; `path` is the file of any of the graph's sizes."""
        return super().open(_sized(Path(path), dims), dims)

    def _load(self, path: Path) -> Any:  # noqa: ANN401 (an onnxruntime.InferenceSession)
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; export the artifact again")
        self._check_file(path)
        options = self._options()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_provider_for_devices(self._plugin.devices, self._plugin.options(htp_performance_mode="burst"))
        try:
            return self._ort.InferenceSession(str(path), options)
        except self._failures as error:
            raise ArtifactError(
                f"{path}: QNN cannot load it ({first_line(error)}); export the artifact again"
            ) from error

    def _check_file(self, path: Path) -> None:
        """Raise ArtifactError unless the file is a QNN context, and built for what the manifest says."""
        try:
            built = built_for(path)
        except self._failures as error:
            raise ArtifactError(
                f"{path}: ONNX Runtime cannot read it ({first_line(error)}); export the artifact again"
            ) from error
        if built is None:
            raise ArtifactError(f"{path}: not a compiled QNN context; export the artifact for target qnn again")
        stated = self._stated.get("htp_arch", str(built.arch))
        if stated != str(built.arch):
            raise ArtifactError(
                f"{path}: compiled for HTP v{built.arch}, the manifest says v{stated}; export the artifact again"
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
