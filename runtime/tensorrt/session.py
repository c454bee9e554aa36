"""One TensorRT engine at fixed shapes: buffers allocated once, a whole frame launched as one CUDA graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.cuda.api import Cuda
from edgetrack.runtime.cuda.graph import capture
from edgetrack.runtime.cuda.memory import DeviceBuffer, host_array
from edgetrack.runtime.tensorrt.api import MessageLog
from edgetrack.runtime.tensorrt.engine_file import EngineFile, check_fits

__all__ = ["TensorRtSession"]


class TensorRtSession:
    """A graph at fixed shapes; see `edgetrack.runtime.engine.Session`.

    `run` copies the inputs to the GPU, computes, copies the outputs back and waits. All of it is recorded as one CUDA
    graph when the session is made, of this one size; `note` says why where that was refused, and each step is then
    enqueued by itself. Nothing is allocated after the session is made.
    """

    def __init__(self, cuda: Cuda, file: EngineFile, dims: Mapping[str, int], device: int, stream: Any) -> None:  # noqa: ANN401
        """Make a context and all buffers for the sizes `dims` on the `stream` of GPU `device`.

        Raises:
            ArtifactError: the engine has no optimization profile for these sizes, or a type that numpy lacks.
            EngineUnavailable: the GPU's memory does not suffice, or the first run fails.
        """
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        self.note: str | None = None
        self._cuda, self._stream, self._device = cuda, stream, device
        self._name, self._log = file.name, file.log
        self._buffers: dict[str, DeviceBuffer] = {}
        self._context: Any = None
        self._graph: Any = None
        self._copies: list[Callable[[], None]] = []
        self._copies_back: list[Callable[[], None]] = []
        try:
            shapes = {tensor.name: tensor.concrete(file.name, dims) for tensor in file.inputs}
            self._context = self._new_context(file, shapes)
            self._allocate(file, shapes)
            # The first run does what may not be recorded: it loads kernels and settles what follows from the shapes.
            self._enqueue()
            self._cuda.call("cudaStreamSynchronize", stream)
            self._record()
        except BaseException:
            self.close()
            raise

    def _new_context(self, file: EngineFile, shapes: Mapping[str, tuple[int, ...]]) -> Any:  # noqa: ANN401
        self._log.clear()
        profile = file.profile_of(shapes)
        context = file.new_context()
        if context is None:
            raise EngineUnavailable(f"{self._name}: {_memory_or(self._log, 'no execution context can be made')}")
        done = context.set_optimization_profile_async(profile, int(self._stream))
        for name, shape in shapes.items():
            done = done and context.set_input_shape(name, shape)
        if not done:
            raise EngineUnavailable(f"{self._name}: TensorRT refuses its shapes ({self._log.reason()})")
        self._cuda.call("cudaStreamSynchronize", self._stream)
        return context

    def _allocate(self, file: EngineFile, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for tensor in (*file.inputs, *file.outputs):
            is_input = tensor.name in shapes
            shape = shapes[tensor.name] if is_input else tuple(self._context.get_tensor_shape(tensor.name))
            check_fits(file.name, tensor, shape)
            kind = "input" if is_input else "output"
            what = f"{kind} {tensor.name!r} of {file.name}"
            array = host_array(self._cuda, shape, tensor.dtype, what)
            buffer = self._buffers[tensor.name] = DeviceBuffer(self._cuda, array.nbytes, what)
            if not self._context.set_tensor_address(tensor.name, buffer.address):
                raise EngineUnavailable(f"{what}: TensorRT refuses its buffer ({self._log.reason()})")
            (self.inputs if is_input else self.outputs)[tensor.name] = array
            self._add_copy(array, buffer, is_input)

    def _add_copy(self, array: NDArray[Any], buffer: DeviceBuffer, is_input: bool) -> None:
        kinds = self._cuda.runtime.cudaMemcpyKind
        host, device = array.ctypes.data, buffer.address
        if is_input:
            copy = (device, host, array.nbytes, kinds.cudaMemcpyHostToDevice)
        else:
            copy = (host, device, array.nbytes, kinds.cudaMemcpyDeviceToHost)
        steps = self._copies if is_input else self._copies_back
        steps.append(lambda: self._cuda.call("cudaMemcpyAsync", *copy, self._stream))

    def _enqueue(self) -> None:
        """Put one frame's work on the stream."""
        for copy in self._copies:
            copy()
        self._log.clear()
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineUnavailable(f"{self._name}: {_memory_or(self._log, 'TensorRT failed while running')}")
        for copy in self._copies_back:
            copy()

    def _record(self) -> None:
        """Record one frame as a CUDA graph and try it; `note` says why where that does not work."""
        can = getattr(self._context, "is_stream_capturable", None)
        if can is not None and not can(int(self._stream)):
            self.note = f"{self._name} runs without a CUDA graph: TensorRT says that it cannot be captured"
            return
        try:
            self._graph = capture(self._cuda, self._stream, self._enqueue)
            self._cuda.call("cudaGraphLaunch", self._graph, self._stream)
            self._cuda.call("cudaStreamSynchronize", self._stream)
        except EngineUnavailable as error:
            self._drop_graph()
            self.note = f"{self._name} runs without a CUDA graph: {error}"

    def run(self) -> None:
        """See `Session.run`.

        Raises:
            EngineUnavailable: the GPU failed, or the engine is closed.
        """
        if self._context is None:
            raise EngineUnavailable(f"{self._name}: the engine is closed; load the artifact again")
        self._cuda.call("cudaSetDevice", self._device)  # a thread's first call would find GPU 0
        if self._graph is not None:
            self._cuda.call("cudaGraphLaunch", self._graph, self._stream)
        else:
            self._enqueue()
        self._cuda.call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Release everything but arrays that somebody still holds; may be called twice."""
        self._drop_graph()
        self._context = None
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers.clear()
        self._copies.clear()
        self._copies_back.clear()
        self.inputs.clear()
        self.outputs.clear()

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            with contextlib.suppress(EngineUnavailable):
                self._cuda.call("cudaGraphExecDestroy", graph)


def _memory_or(log: MessageLog, what: str) -> str:
    """Return a line that says "out of GPU memory" if that is what TensorRT reported, else `what` with its reason."""
    reason = log.reason()
    if "outofmemory" in reason.lower().replace(" ", "").replace("_", ""):
        return f"out of GPU memory ({reason}); close other programs that use the GPU, or use a smaller model"
    return f"{what} ({reason}); check the NVIDIA driver, or build it for this machine with edgetrack rebuild"
