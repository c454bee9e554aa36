"""ONNX Runtime: CPU, and the devices of `onnxruntime_providers` when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError, EngineUnavailable
from edgetrack.runtime.engine import Engine, concrete_shape, first_line, new_buffer
from edgetrack.runtime.engines.onnxruntime_providers import CPU, PROVIDERS, Provider, parse_device
from edgetrack.runtime.loading_memory import returning_blocks

__all__ = ["OnnxRuntimeEngine"]

_PIP = "pip install 'edgetrack[onnxruntime]'"
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}
_LOG_FATAL_ONLY = 4  # failures arrive as exceptions; the log would only repeat them
# The package raises these as direct children of Exception, so that they have to be named to be caught.
_FAILURES = (
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelRequiresCompilation",
    "NoModel",
    "NoSuchFile",
    "NotFound",
    "NotImplemented",
    "RuntimeException",
)


def _import() -> Any:  # noqa: ANN401 (the package has no types)
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EngineUnavailable(f"engine onnxruntime is not usable ({first_line(error)}): {_PIP}") from error


def _failures() -> tuple[type[Exception], ...]:
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    named = (getattr(state, name, None) for name in _FAILURES)
    return (RuntimeError, ValueError, *(error for error in named if error is not None))


class OnnxRuntimeEngine(Engine):
    """Runs .onnx files; one `InferenceSession` per file, shared by all sizes of its symbolic dimensions."""

    name: ClassVar[str] = "onnxruntime"

    def __init__(
        self,
        device: str = "cpu",
        *,
        threads: int | None = None,
        cache_dir: Path | None = None,
        precision: str = "fp32",
    ) -> None:
        """See `Engine`; `device` is "cpu", "cuda", "cuda:1", "cann" ... `cache_dir` and `precision` change nothing."""
        super().__init__(device, threads=threads, cache_dir=cache_dir, precision=precision)
        self._ort = _import()
        self._failures = _failures()
        self._provider, self._index = self._place(device)
        self._opened: dict[Path, Any] = {}

    def _place(self, device: str) -> tuple[Provider, int]:
        """Return where buffers are bound: the provider and the device's index."""
        return parse_device(device, self._ort.get_available_providers())

    @classmethod
    def devices(cls) -> list[str]:
        """See `Engine.devices`; a device is listed if the package has its provider, even when it is not there."""
        available = _import().get_available_providers()
        return [provider.kind for provider in PROVIDERS.values() if provider.name in available]

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        device = self._provider.kind if self._provider is CPU else f"{self._provider.kind}:{self._index}"
        return {"engine": self.name, "version": str(self._ort.__version__), "device": device}

    def open(self, path: Path, dims: Mapping[str, int]) -> OnnxRuntimeSession:
        """See `Engine.open`."""
        path = Path(path).resolve()
        session = self._opened.get(path)
        if session is None:
            session = self._opened[path] = self._load(path)
        try:
            return OnnxRuntimeSession(
                self._ort, session, path.name, dims, place=(self._provider, self._index), failures=self._failures
            )
        except self._failures as error:
            raise ArtifactError(f"{path}: cannot bind its buffers ({first_line(error)}); export it again") from error

    def _load(self, path: Path) -> Any:  # noqa: ANN401 (an onnxruntime.InferenceSession)
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; export the artifact again")
        providers: list[Any] = [CPU.name]
        if self._provider is not CPU:
            providers.insert(0, (self._provider.name, dict(self._provider.options(self._index))))
        try:
            with returning_blocks():
                session = self._ort.InferenceSession(str(path), self._options(), providers=providers)
        except self._failures as error:
            raise ArtifactError(
                f"{path}: ONNX Runtime cannot load it ({first_line(error)}); export the artifact again"
            ) from error
        if session.get_providers()[0] != self._provider.name:
            raise EngineUnavailable(
                f"device {self.device!r}: ONNX Runtime fell back to the CPU, "
                f"{self._provider.kind.upper()} did not start; check {self._provider.check}, or use device cpu"
            )
        return session

    def _options(self) -> Any:  # noqa: ANN401 (an onnxruntime.SessionOptions)
        options = self._ort.SessionOptions()
        options.log_severity_level = _LOG_FATAL_ONLY
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.inter_op_num_threads = 1
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        # Weights get blocks of their own. Out of the arena they would come in chunks that grow in powers of two and are
        # never given up: with `returning_blocks` switched off, as it is outside Linux, a GRM-256 took 275 MB beyond its
        # weights instead of 93. With it this makes no difference. Activations stay in the arena: fewer system calls.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        # Each session has its own threads. By default they spin on after a run and take the cores from the other
        # session: runs in turn were seen to take 53 ms instead of 25 on two cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options

    def close(self) -> None:
        """See `Engine.close`."""
        self._opened.clear()


class OnnxRuntimeSession:
    """One .onnx graph at fixed shapes, bound once."""

    def __init__(
        self,
        ort: Any,  # noqa: ANN401 (the package has no types)
        session: Any,  # noqa: ANN401
        file_name: str,
        dims: Mapping[str, int],
        *,
        place: tuple[Provider, int],
        failures: tuple[type[Exception], ...],
    ) -> None:
        """Allocate and bind all buffers; `place` is provider and device index, `file_name` is used in messages."""
        self._session = session
        self._file_name = file_name
        self._failures = failures
        self._binding = session.io_binding()
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        # Off the CPU an input in CPU memory is copied once, at binding: refresh a device copy, or bind it every time.
        self._device_copies: list[tuple[Any, NDArray[Any]]] = []
        self._bound_each_run: list[tuple[str, NDArray[Any]]] = []
        provider, index = place
        for node in session.get_inputs():
            buffer = self.inputs[node.name] = self._buffer("input", node, dims)
            if provider is CPU:
                self._binding.bind_input(node.name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
            elif provider.in_place:
                value = ort.OrtValue.ortvalue_from_numpy(buffer, provider.kind, index)
                self._binding.bind_ortvalue_input(node.name, value)
                self._device_copies.append((value, buffer))
            else:
                self._bound_each_run.append((node.name, buffer))
        for node in session.get_outputs():
            buffer = self.outputs[node.name] = self._buffer("output", node, dims)
            self._binding.bind_output(node.name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)

    def _buffer(self, kind: str, node: Any, dims: Mapping[str, int]) -> NDArray[Any]:  # noqa: ANN401
        what = f"{self._file_name}: {kind} {node.name!r}"
        if node.type not in _DTYPES:
            raise ArtifactError(f"{what} is a {node.type}, known are {', '.join(_DTYPES)}; export it again")
        return new_buffer(concrete_shape(what, node.shape, dims), np.dtype(_DTYPES[node.type]))

    def run(self) -> None:
        """See `Session.run`."""
        try:
            for value, buffer in self._device_copies:
                value.update_inplace(buffer)
            for name, buffer in self._bound_each_run:
                self._binding.bind_cpu_input(name, buffer)
            self._session.run_with_iobinding(self._binding)
        except self._failures as error:
            raise EngineUnavailable(
                f"{self._file_name}: ONNX Runtime failed while running ({first_line(error)}); "
                "load the artifact again, on another device if it happens again"
            ) from error
