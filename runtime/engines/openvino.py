"""OpenVINO: any of its devices (CPU, GPU, NPU, AUTO, "GPU.0", ...)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError, EngineUnavailable, InputError
from edgetrack.runtime.engine import Engine, concrete_shape, first_line, new_buffer
from edgetrack.runtime.loading_memory import dropping_pages, returning_blocks

__all__ = ["OpenVinoEngine"]

_PIP = "pip install 'edgetrack[openvino]'"
_FAILURES = (RuntimeError, ValueError)
# Plugins that hand the work to other devices, named after a colon.
_VIRTUAL_DEVICES = ("AUTO", "MULTI", "HETERO", "BATCH")


def _import() -> Any:  # noqa: ANN401 (followed by no type checker: its stubs are incomplete)
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise EngineUnavailable(f"engine openvino is not usable ({first_line(error)}): {_PIP}") from error


class OpenVinoEngine(Engine):
    """Runs OpenVINO IR (.xml + .bin) and .onnx files; one compiled network per file and sizes."""

    name: ClassVar[str] = "openvino"

    def __init__(
        self,
        device: str = "cpu",
        *,
        threads: int | None = None,
        cache_dir: Path | None = None,
        precision: str = "fp32",
    ) -> None:
        """See `Engine`; `device` is "cpu" or OpenVINO's own name ("GPU.0", "NPU", "AUTO:GPU,CPU").

        "AUTO" in capitals is OpenVINO's plugin that picks a device; "auto" is the CPU.
        """
        super().__init__(device, threads=threads, cache_dir=cache_dir, precision=precision)
        self._ov = _import()
        self._core = self._ov.Core()
        self._device = self._checked_device(device)
        self._config = self._configuration()

    def _checked_device(self, device: str) -> str:
        """Return OpenVINO's name of `device` after a check that each device it names is here."""
        if device == "auto":
            return "CPU"
        name = device.upper()
        available = list(self._core.available_devices)
        plugin, _, listed = name.partition(":")
        # MULTI:CPU(2) names a number of requests, AUTO:-GPU a device to leave out
        members = [member.strip(" -").partition("(")[0] for member in listed.split(",") if member]
        if plugin not in _VIRTUAL_DEVICES:
            members = [name]
        for member in members:
            if member not in available and not any(found.startswith(f"{member}.") for found in available):
                raise EngineUnavailable(
                    f"engine openvino has no device {member!r} here; available: {', '.join(available)}, AUTO"
                )
        return name

    def _configuration(self) -> dict[str, str]:
        config = {"PERFORMANCE_HINT": "LATENCY", "EXECUTION_MODE_HINT": "ACCURACY"}
        # Left alone, a plugin computes in bf16 or f16 where it can. A CPU keeps f32 for fp16 weights too.
        if self.precision == "fp32" or self._device == "CPU":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        elif self.precision == "fp16":
            config["INFERENCE_PRECISION_HINT"] = "f16"
        if self.threads is not None:
            if self._device != "CPU":
                raise InputError(f"threads={self.threads} applies to device cpu, not {self.device!r}; leave it out")
            config["INFERENCE_NUM_THREADS"] = str(self.threads)
        if self.cache_dir is not None:
            config["CACHE_DIR"] = str(self.cache_dir)
        return config

    @classmethod
    def devices(cls) -> list[str]:
        """See `Engine.devices`."""
        return [str(device) for device in _import().Core().available_devices]

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        return {"engine": self.name, "version": str(self._ov.get_version()), "device": self._device}

    def open(self, path: Path, dims: Mapping[str, int]) -> OpenVinoSession:
        """See `Engine.open`. IR keeps no names of dimensions: all that vary take the one value of `dims`."""
        path = Path(path).resolve()
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; export the artifact again")
        try:
            model = self._core.read_model(str(path))
            self._fix_shapes(path, model, dims)
        except _FAILURES as error:
            raise ArtifactError(
                f"{path}: OpenVINO cannot load it ({_cause(error)}); export the artifact again"
            ) from error
        try:
            # The compiled network keeps the file mapped, beside the copy that its kernels read.
            with returning_blocks(), dropping_pages(path, path.with_suffix(".bin")):
                compiled = self._core.compile_model(model, self._device, self._config)
            return OpenVinoSession(self._ov, compiled, path.name)
        except _FAILURES as error:
            raise EngineUnavailable(
                f"{path.name}: OpenVINO cannot compile it for {self._device} ({_cause(error)}); try cpu"
            ) from error

    def _fix_shapes(self, path: Path, model: Any, dims: Mapping[str, int]) -> None:  # noqa: ANN401
        shapes: dict[str, tuple[int, ...]] = {}
        for port in model.inputs:
            partial = [size.get_length() if size.is_static else None for size in port.get_partial_shape()]
            if None not in partial:
                continue
            if len(dims) != 1:
                raise ArtifactError(
                    f"{path}: an input has dimensions that vary, and there are {len(dims)} values for them; "
                    "OpenVINO files need exactly one; export the artifact again"
                )
            (value,) = dims.values()
            filled = [value if size is None else size for size in partial]
            shapes[port.get_any_name()] = concrete_shape(f"{path.name}: input {port.get_any_name()!r}", filled, {})
        if shapes:
            model.reshape(shapes)

    def close(self) -> None:
        """See `Engine.close`."""
        self._core = None


class OpenVinoSession:
    """One compiled network with its input and output tensors set once."""

    def __init__(self, ov: Any, compiled: Any, file_name: str) -> None:  # noqa: ANN401
        """Allocate and set all tensors; `file_name` is used in messages."""
        self._file_name = file_name
        self._request = compiled.create_infer_request()
        # Tensors that share numpy's memory do not keep it alive; `inputs` and `outputs` do.
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        for ports, buffers in ((compiled.inputs, self.inputs), (compiled.outputs, self.outputs)):
            for port in ports:
                what = f"{file_name}: tensor {port.get_any_name()!r}"
                partial = [size.get_length() if size.is_static else None for size in port.get_partial_shape()]
                buffer = new_buffer(concrete_shape(what, partial, {}), np.dtype(port.get_element_type().to_dtype()))
                self._request.set_tensor(port, ov.Tensor(buffer, shared_memory=True))
                buffers[port.get_any_name()] = buffer

    def run(self) -> None:
        """See `Session.run`."""
        try:
            # Shared outputs: the default copies each. `start_async` and `wait` cost 0.15 ms more a call.
            self._request.infer(share_outputs=True)
        except RuntimeError as error:
            raise EngineUnavailable(
                f"{self._file_name}: OpenVINO failed while running ({_cause(error)}); "
                "load the artifact again, on another device if it happens again"
            ) from error


def _cause(error: Exception) -> str:
    """Return the line of an OpenVINO message that says something; the others name its source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Exception from", "Check '", "While "))]
    return (telling[0] if telling else first_line(error))[:300]
