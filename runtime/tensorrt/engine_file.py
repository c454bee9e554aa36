"""An engine file as TensorRT read it: its tensors and its optimization profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetrack.errors import ArtifactError, EngineUnavailable
from edgetrack.runtime.engine import first_line
from edgetrack.runtime.tensorrt.api import MessageLog, TensorRt

__all__ = ["EngineFile", "Tensor", "check_fits", "read_engine"]

_REMEDY = "copy the artifact again, or build it for this machine with edgetrack rebuild"


@dataclass(frozen=True)
class Tensor:
    """An input or output; -1 in `shape` is a size that varies."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def concrete(self, file: str, dims: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape with all sizes that vary replaced; engine files keep no names of dimensions.

        Raises:
            ArtifactError: there is not exactly one value for them.
        """
        if -1 not in self.shape:
            return self.shape
        if len(dims) != 1:
            raise ArtifactError(
                f"{file}: input {self.name!r} has sizes that vary, and there are {len(dims)} values for them; "
                "TensorRT files need exactly one; export the artifact again"
            )
        value = next(iter(dims.values()))
        return tuple(value if size == -1 else size for size in self.shape)


class EngineFile:
    """A deserialised engine; contexts made from it share its weights."""

    def __init__(self, trt: TensorRt, engine: Any, name: str, log: MessageLog) -> None:  # noqa: ANN401 (an ICudaEngine)
        """Read the tensors of `engine`; `name` is used in messages, `log` is what its logger writes to.

        Raises:
            ArtifactError: a tensor has a type that numpy lacks.
        """
        self.name = name
        self.log = log
        self._trt = trt
        self._engine = engine
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        for index in range(engine.num_io_tensors):
            tensor = self._tensor(engine.get_tensor_name(index))
            is_input = engine.get_tensor_mode(tensor.name) == trt.package.TensorIOMode.INPUT
            (self.inputs if is_input else self.outputs).append(tensor)

    def _tensor(self, name: str) -> Tensor:
        kind = self._engine.get_tensor_dtype(name)
        try:
            dtype = np.dtype(self._trt.package.nptype(kind))
        except TypeError as error:
            raise ArtifactError(f"{self.name}: tensor {name!r} is a {kind}, which numpy lacks; export again") from error
        return Tensor(name, dtype, tuple(self._engine.get_tensor_shape(name)))

    def profile_of(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Return the first optimization profile that holds `shapes` (input name -> shape).

        Raises:
            ArtifactError: there is none.
        """
        for profile in range(self._engine.num_optimization_profiles):
            if all(self._holds(profile, name, shape) for name, shape in shapes.items()):
                return profile
        sizes = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ArtifactError(f"{self.name}: no optimization profile is made for {sizes}; export the artifact again")

    def _holds(self, profile: int, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = (tuple(item) for item in self._engine.get_tensor_profile_shape(name, profile))
        if not len(least) == len(shape) == len(most):
            return False
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def new_context(self) -> Any:  # noqa: ANN401 (an IExecutionContext, or None)
        """Return a new execution context, None if TensorRT refuses."""
        make_config = getattr(self._engine, "create_runtime_config", None)
        strategies = getattr(self._trt.package, "DynamicShapesKernelSpecializationStrategy", None)
        try:
            if make_config is None or strategies is None:
                return self._engine.create_execution_context()
            # TensorRT-RTX compiles for a shape while slower kernels serve it, unless it is told to do so at once: a
            # CUDA graph must hold the fast ones.
            config = make_config()
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
            return self._engine.create_execution_context(config)
        except RuntimeError as error:
            self.log.add("ERROR", first_line(error))
            return None


def read_engine(trt: TensorRt, runtime: Any, log: MessageLog, path: Path) -> EngineFile:  # noqa: ANN401
    """Deserialise an engine file.

    Args:
        trt: the package that made it.
        runtime: its `Runtime`, whose logger writes into `log`.
        log: cleared before.
        path: of the file.

    Raises:
        ArtifactError: the file is missing, cut off, damaged, or not for this GPU and version.
        EngineUnavailable: the GPU's memory does not suffice.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error}); export the artifact again") from error
    log.clear()
    _check_header(trt, runtime, log, path, data)
    try:
        engine = runtime.deserialize_cuda_engine(data)
    except (RuntimeError, TypeError) as error:
        raise ArtifactError(f"{path}: TensorRT cannot read it ({first_line(error)}); {_REMEDY}") from error
    if engine is None:
        reason = log.reason()
        if "memory" in reason.lower() and "out" in reason.lower():
            raise EngineUnavailable(f"{path.name}: out of GPU memory ({reason}); close other programs that use the GPU")
        raise ArtifactError(f"{path}: TensorRT cannot read it ({reason}); {_REMEDY}")
    return EngineFile(trt, engine, path.name, log)


def _check_header(trt: TensorRt, runtime: Any, log: MessageLog, path: Path, data: bytes) -> None:  # noqa: ANN401
    """Let TensorRT-RTX judge a file by its first bytes, before it reads the rest; full TensorRT has no such call."""
    size = getattr(runtime, "engine_header_size", None)
    least = 1 if size is None else int(size)
    if len(data) < least:
        raise ArtifactError(f"{path}: {len(data)} bytes are no TensorRT engine; {_REMEDY}")
    if size is None:
        return
    validity, diagnostics = runtime.get_engine_validity(data[:least])
    if validity != trt.package.EngineValidity.INVALID:
        return
    kinds = trt.package.EngineInvalidityDiagnostics
    reasons = [name.lower() for name, kind in kinds.__members__.items() if int(kind) & int(diagnostics)]
    reason = ", ".join(reasons).replace("_", " ") or log.reason()
    if int(diagnostics) == int(kinds.INSUFFICIENT_GPU_MEMORY):
        raise EngineUnavailable(f"{path.name}: out of GPU memory ({reason}); close other programs that use the GPU")
    raise ArtifactError(f"{path}: not an engine for this GPU and {trt.builder} {trt.version} ({reason}); {_REMEDY}")


def check_fits(file: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ArtifactError unless every size of `shape` is known and positive."""
    if not all(size >= 1 for size in shape):
        raise ArtifactError(f"{file}: tensor {tensor.name!r} has shape {list(shape)}; export the artifact again")
