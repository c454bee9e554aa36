"""The crop of a frame in GPU memory: one kernel, from the frame to the network's input."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from typing import Any

import numpy as np

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.cuda.api import Cuda, CudaDevice
from edgetrack.runtime.cuda.compiler import compile_kernel
from edgetrack.runtime.cuda.memory import DeviceBuffer, host_array

__all__ = ["CropKernel"]

_BLOCK = (32, 8)  # threads: a warp writes 32 neighbours of a row


class CropKernel:
    """`edgetrack_crop` of cpp/include/edgetrack/kernels/crop.cu on one GPU and one stream.

    Its arithmetic is that of the host's crop: the source is the same.
    """

    def __init__(self, cuda: Cuda, gpu: CudaDevice, stream: Any) -> None:  # noqa: ANN401 (a cudaStream_t)
        """Compile and load the kernel; `gpu` has to be the current device.

        Raises:
            EngineUnavailable: NVRTC is not installed or too old for the GPU, or there is no room.
        """
        self._cuda, self._stream = cuda, stream
        self._module: Any = None
        code = compile_kernel("crop.cu", capability=gpu.compute_capability)
        self._driver: Any = importlib.import_module("cuda.bindings.driver")
        self._ends = DeviceBuffer(cuda, 6 * 4, "the crop's spread")
        try:
            self._ends_here = host_array(cuda, (6,), np.dtype(np.int32), "the crop's spread")
            self._module = self._call("cuModuleLoadData", code)
            self._kernel = self._call("cuModuleGetFunction", self._module, b"edgetrack_crop")
        except BaseException:
            self.close()
            raise

    def _call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 (what the call returns)
        status, *results = getattr(self._driver, name)(*arguments)
        if int(status) != 0:
            text = self._driver.cuGetErrorString(status)[1]
            reason = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
            raise EngineUnavailable(f"CUDA: {name} failed ({reason}); check the NVIDIA driver and GPU")
        return results[0] if results else None

    def crop(self, task: bytes, planes: int, size: int) -> int:
        """Write a crop and wait for it: afterwards nothing reads the frame.

        Args:
            task: a CropTask (kernels/crop.hpp) whose addresses are of this GPU.
            planes: device address of float32 RGB planes (3, size, size).
            size: side of the crop.

        Returns:
            The crop's spread in grey levels, 0 to 255, see CropInfo in crop.hpp.

        Raises:
            EngineUnavailable: the GPU failed.
        """
        ends, kinds = self._ends, self._cuda.runtime.cudaMemcpyKind
        arguments = (
            ctypes.create_string_buffer(task, len(task)),
            ctypes.c_void_p(planes),
            ctypes.c_void_p(ends.address),
        )
        pointers = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        blocks = [-(-size // side) for side in _BLOCK]
        self._cuda.call("cudaMemsetAsync", ends.address, 0, ends.size, self._stream)
        self._call(
            "cuLaunchKernel",
            self._kernel,
            *(*blocks, 1),
            *(*_BLOCK, 1),
            0,
            self._stream,
            ctypes.addressof(pointers),
            0,
        )
        copy = (self._ends_here.ctypes.data, ends.address, ends.size, kinds.cudaMemcpyDeviceToHost)
        self._cuda.call("cudaMemcpyAsync", *copy, self._stream)
        self._cuda.call("cudaStreamSynchronize", self._stream)
        # For each channel 255 - its least value, and its largest; both 0 where no pixel counts.
        return max(0, *(int(low) + int(high) - 255 for low, high in self._ends_here.reshape(3, 2)))

    def close(self) -> None:
        """Release everything; may be called twice."""
        module, self._module = self._module, None
        if module is not None:
            with contextlib.suppress(EngineUnavailable):
                self._call("cuModuleUnload", module)
        self._ends.close()
