"""One TensorRT engine at fixed shapes: buffers allocated once, a whole frame launched as one CUDA graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.cuda.api import Cuda
from edgetrack.runtime.cuda.crop import CropKernel
from edgetrack.runtime.cuda.graph import capture
from edgetrack.runtime.cuda.memory import DeviceBuffer, host_array
from edgetrack.runtime.tensorrt.api import MessageLog
from edgetrack.runtime.tensorrt.engine_file import EngineFile, check_fits

__all__ = ["TensorRtSession"]


class TensorRtSession:
    """A graph at fixed shapes; see `edgetrack.runtime.engine.Session`.

    `run` copies the inputs to the GPU, computes, copies the outputs back and waits. All of it is recorded as one CUDA
    graph when the session is made, of this one size; `note` says why where that was refused, and each step is then
    enqueued by itself. Nothing is allocated after the session is made, but by the first frame in GPU memory: the kernel
    that crops it is made, and a second CUDA graph without the copy of the image.
    """

    def __init__(
        self,
        cuda: Cuda,
        file: EngineFile,
        dims: Mapping[str, int],
        *,
        device: int,
        stream: Any,  # noqa: ANN401 (a cudaStream_t)
        kernel: Callable[[], CropKernel],
    ) -> None:
        """Make a context and all buffers for the sizes `dims` on the `stream` of GPU `device`.

        `kernel` returns what crops frames in GPU memory; called when there is one.

        Raises:
            ArtifactError: the engine has no optimization profile for these sizes, or a type that numpy lacks.
            EngineUnavailable: the GPU's memory does not suffice, or the first run fails.
        """
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        self.note: str | None = None
        self._cuda, self._stream, self._device = cuda, stream, device
        self._name, self._log, self._kernel = file.name, file.log, kernel
        self._buffers: list[DeviceBuffer] = []
        self._context: Any = None
        # CUDA graphs by the input that `fill` wrote, None where all come from their arrays; None where refused.
        self._graphs: dict[str | None, Any] = {}
        self._copies: dict[str, Callable[[], None]] = {}
        self._addresses: dict[str, int] = {}
        self._copies_back: list[Callable[[], None]] = []
        try:
            shapes = {tensor.name: tensor.concrete(file.name, dims) for tensor in file.inputs}
            self._context = self._new_context(file, shapes)
            self._allocate(file, shapes)
            # The first run does what may not be recorded: it loads kernels and settles what follows from the shapes.
            self._enqueue(None)
            self._cuda.call("cudaStreamSynchronize", stream)
            self._record(None)
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
        # Memory of our own: what TensorRT allocates as it runs could not be recorded as a CUDA graph.
        if file.scratch_bytes > 0:
            buffer = self._new_buffer(file.scratch_bytes, f"what {self._name} computes in between")
            context.set_device_memory(buffer.address, buffer.size)
        return context

    def _new_buffer(self, size: int, what: str) -> DeviceBuffer:
        buffer = DeviceBuffer(self._cuda, size, what)
        self._buffers.append(buffer)
        return buffer

    def _allocate(self, file: EngineFile, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for tensor in (*file.inputs, *file.outputs):
            is_input = tensor.name in shapes
            shape = shapes[tensor.name] if is_input else tuple(self._context.get_tensor_shape(tensor.name))
            check_fits(file.name, tensor, shape)
            kind = "input" if is_input else "output"
            what = f"{kind} {tensor.name!r} of {file.name}"
            array = host_array(self._cuda, shape, tensor.dtype, what)
            buffer = self._new_buffer(array.nbytes, what)
            if not self._context.set_tensor_address(tensor.name, buffer.address):
                raise EngineUnavailable(f"{what}: TensorRT refuses its buffer ({self._log.reason()})")
            (self.inputs if is_input else self.outputs)[tensor.name] = array
            if is_input:
                self._copies[tensor.name] = self._copy(array, buffer, is_input)
                self._addresses[tensor.name] = buffer.address
            else:
                self._copies_back.append(self._copy(array, buffer, is_input))

    def _copy(self, array: NDArray[Any], buffer: DeviceBuffer, is_input: bool) -> Callable[[], None]:
        kinds = self._cuda.runtime.cudaMemcpyKind
        host, device = array.ctypes.data, buffer.address
        if is_input:
            copy = (device, host, array.nbytes, kinds.cudaMemcpyHostToDevice)
        else:
            copy = (host, device, array.nbytes, kinds.cudaMemcpyDeviceToHost)
        return lambda: self._cuda.call("cudaMemcpyAsync", *copy, self._stream)

    def _enqueue(self, filled: str | None) -> None:
        """Put one frame's work on the stream; the input `filled` is there already."""
        for name, copy in self._copies.items():
            if name != filled:
                copy()
        self._log.clear()
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineUnavailable(f"{self._name}: {_memory_or(self._log, 'TensorRT failed while running')}")
        for copy in self._copies_back:
            copy()

    def _record(self, filled: str | None) -> None:
        """Record one frame as a CUDA graph and try it; `note` says why where that does not work."""
        self._graphs[filled] = None
        can = getattr(self._context, "is_stream_capturable", None)
        if can is not None and not can(int(self._stream)):
            self.note = f"{self._name} runs without a CUDA graph: TensorRT says that it cannot be captured"
            return
        try:
            graph = capture(self._cuda, self._stream, lambda: self._enqueue(filled))
            self._graphs[filled] = graph
            self._cuda.call("cudaGraphLaunch", graph, self._stream)
            self._cuda.call("cudaStreamSynchronize", self._stream)
        except EngineUnavailable as error:
            self._drop_graph(filled)
            self._graphs[filled] = None
            self.note = f"{self._name} runs without a CUDA graph: {error}"

    def run(self) -> None:
        """See `Session.run`.

        Raises:
            EngineUnavailable: the GPU failed, or the engine is closed.
        """
        self._frame(None)

    def fill(self, name: str, task: bytes) -> int:
        """See `FillingSession.fill`.

        Raises:
            EngineUnavailable: NVRTC is not installed, the GPU failed, or the engine is closed.
        """
        self._enter()
        return self._kernel().crop(task, self._addresses[name], self.inputs[name].shape[-1])

    def run_filled(self, name: str) -> None:
        """See `FillingSession.run_filled`; raises as `run` does."""
        self._frame(name)

    def _enter(self) -> None:
        if self._context is None:
            raise EngineUnavailable(f"{self._name}: the engine is closed; load the artifact again")
        self._cuda.call("cudaSetDevice", self._device)  # a thread's first call would find GPU 0

    def _frame(self, filled: str | None) -> None:
        self._enter()
        if filled not in self._graphs:
            self._record(filled)
        graph = self._graphs[filled]
        if graph is not None:
            self._cuda.call("cudaGraphLaunch", graph, self._stream)
        else:
            self._enqueue(filled)
        self._cuda.call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Release everything but arrays that somebody still holds; may be called twice."""
        for filled in list(self._graphs):
            self._drop_graph(filled)
        self._context = None
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()
        self._copies.clear()
        self._copies_back.clear()
        self.inputs.clear()
        self.outputs.clear()

    def _drop_graph(self, filled: str | None) -> None:
        graph = self._graphs.pop(filled, None)
        if graph is not None:
            with contextlib.suppress(EngineUnavailable):
                self._cuda.call("cudaGraphExecDestroy", graph)


def _memory_or(log: MessageLog, what: str) -> str:
    """Return a line that says "out of GPU memory" if that is what TensorRT reported, else `what` with its reason."""
    reason = log.reason()
    if "outofmemory" in reason.lower().replace(" ", "").replace("_", ""):
        return f"out of GPU memory ({reason}); close other programs that use the GPU, or use a smaller model"
    return f"{what} ({reason}); check the NVIDIA driver, or build it for this machine with edgetrack rebuild"
