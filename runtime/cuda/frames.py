"""Frames that lie in GPU memory, as CuPy, PyTorch, Numba, JAX and decoders hand them out; nothing is copied.

Two protocols: DLPack (`__dlpack__`, tried first: the producer makes our stream wait for its own), and the CUDA array
interface, version 2 and 3 (https://nvidia.github.io/numba-cuda/user/cuda_array_interface.html).
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import EngineUnavailable, InputError
from edgetrack.runtime.core import DeviceArray
from edgetrack.runtime.cuda.api import Cuda
from edgetrack.runtime.cuda.dlpack import CUDA, CUDA_MANAGED, contiguous_strides, read_capsule
from edgetrack.runtime.cuda.memory import DeviceBuffer, host_array
from edgetrack.runtime.engine import first_line

__all__ = ["FrameReader", "PlacedFrame"]

_PRODUCER_ERRORS = (AttributeError, BufferError, OSError, RuntimeError, TypeError, ValueError)


class PlacedFrame:
    """A copy of a frame of this machine in GPU memory, which lives as long as this; speaks the CUDA array interface."""

    def __init__(self, cuda: Cuda, frame: NDArray[np.uint8], stream: Any) -> None:  # noqa: ANN401 (a cudaStream_t)
        """Copy on `stream` and wait. EngineUnavailable: there is no room, or the GPU failed."""
        self._buffer = DeviceBuffer(cuda, frame.nbytes, "a frame")
        staged = host_array(cuda, frame.shape, frame.dtype, "a frame on its way")
        staged[...] = frame
        kind = cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        cuda.call("cudaMemcpyAsync", self._buffer.address, staged.ctypes.data, frame.nbytes, kind, stream)
        cuda.call("cudaStreamSynchronize", stream)
        self.__cuda_array_interface__ = {
            "shape": frame.shape,
            "typestr": "|u1",
            "data": (self._buffer.address, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }


class FrameReader:
    """Reads frames for kernels on one stream of one GPU."""

    def __init__(self, cuda: Cuda, device: int, stream: Any) -> None:  # noqa: ANN401 (a cudaStream_t)
        """`device` is the GPU's index, `stream` where the frames will be read."""
        self._cuda, self._device, self._stream = cuda, device, stream
        self._event: Any = None

    def read(self, frame: Any) -> DeviceArray:  # noqa: ANN401 (anything with one of the protocols)
        """Return a frame as the core takes it; work on the stream comes after all that its producer has enqueued.

        The array is kept as long as what is returned.

        Raises:
            InputError: it lies elsewhere, is not of uint8, or its producer refuses.
            EngineUnavailable: the GPU failed.
        """
        if hasattr(frame, "__dlpack_device__"):
            return self._from_dlpack(frame)
        return self._from_interface(frame)

    def _from_dlpack(self, frame: Any) -> DeviceArray:  # noqa: ANN401
        kind, index = (int(number) for number in frame.__dlpack_device__())
        if kind not in (CUDA, CUDA_MANAGED):
            raise InputError(
                f"the frame is a {type(frame).__name__} in memory of DLPack's device type {kind}; pass an array in the "
                "memory of a CUDA GPU, or a numpy array"
            )
        self._check_device(index)
        try:
            capsule = _capsule(frame, int(self._stream))
        except _PRODUCER_ERRORS as error:
            raise InputError(
                f"the frame is a {type(frame).__name__} that does not give its memory away ({first_line(error)}); "
                "pass a plain uint8 array"
            ) from error
        array = read_capsule(capsule)
        _check_dtype(array.dtype)
        return DeviceArray(array.address, array.shape, array.strides, capsule)

    def _from_interface(self, frame: Any) -> DeviceArray:  # noqa: ANN401
        try:
            told = frame.__cuda_array_interface__
            address, shape = int(told["data"][0]), tuple(int(size) for size in told["shape"])
            kind, strides = str(told["typestr"]), told.get("strides")
        except (*_PRODUCER_ERRORS, LookupError) as error:
            raise InputError(
                f"the frame is a {type(frame).__name__} whose __cuda_array_interface__ cannot be read "
                f"({first_line(error)}); pass a uint8 array"
            ) from error
        if told.get("mask") is not None:
            raise InputError(f"the frame is a {type(frame).__name__} with a mask; pass the array without it")
        _check_dtype("uint8" if kind in ("|u1", "<u1", ">u1") else kind)
        self._check_device(self._device_of(address))
        self._wait_for(told.get("stream"))
        strides = contiguous_strides(shape, 1) if strides is None else tuple(int(step) for step in strides)
        return DeviceArray(address, shape, strides, frame)

    def _check_device(self, index: int) -> None:
        if index != self._device:
            raise InputError(
                f"the frame lies on cuda:{index}, the tracker runs on cuda:{self._device}; copy it there, or load the "
                f"tracker with device='cuda:{index}'"
            )

    def _device_of(self, address: int) -> int:
        runtime = self._cuda.runtime
        found = self._cuda.call("cudaPointerGetAttributes", address)
        kinds = runtime.cudaMemoryType
        if found.type not in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged):
            raise InputError("the frame's __cuda_array_interface__ points to host memory; pass it as a numpy array")
        return int(found.device)

    def _wait_for(self, producer: int | None) -> None:
        """Let the stream wait for what `producer` has to do: a stream's handle, 1 or 2 for the default streams."""
        if producer is None:
            return
        if producer == 0:
            raise InputError("the frame's __cuda_array_interface__ names stream 0, which the protocol forbids; name 1")
        if self._event is None:
            without_time = self._cuda.runtime.cudaEventDisableTiming
            self._event = self._cuda.call("cudaEventCreateWithFlags", without_time)
        self._cuda.call("cudaEventRecord", self._event, producer)
        self._cuda.call("cudaStreamWaitEvent", self._stream, self._event, 0)

    def close(self) -> None:
        """Release the event; may be called twice."""
        event, self._event = self._event, None
        if event is not None:
            with contextlib.suppress(EngineUnavailable):
                self._cuda.call("cudaEventDestroy", event)


def _capsule(frame: Any, stream: int) -> object:  # noqa: ANN401
    try:
        return frame.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # a producer from before version 1
        return frame.__dlpack__(stream=stream)


def _check_dtype(dtype: str) -> None:
    if dtype != "uint8":
        raise InputError(f"the frame's dtype is {dtype}; pass uint8 values from 0 to 255")
