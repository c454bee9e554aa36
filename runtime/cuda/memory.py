"""Memory of the GPU and page-locked memory of this machine, freed once and in any case."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.cuda.api import Cuda

__all__ = ["DeviceBuffer", "host_array"]


class DeviceBuffer:
    """Bytes on the GPU at `address`."""

    def __init__(self, cuda: Cuda, size: int, what: str) -> None:
        """Allocate `size` bytes; `what` names the use in messages. EngineUnavailable if there is no room."""
        self.size = size
        self.address = cuda.allocate(size, what)
        self._free = weakref.finalize(self, _quietly, cuda, "cudaFree", self.address)
        self._free.atexit = False  # when a process ends the driver frees all it had

    def close(self) -> None:
        """Free the memory; may be called twice."""
        self._free()


def host_array(cuda: Cuda, shape: Sequence[int], dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    """Return a zeroed C-contiguous array in page-locked memory, which the GPU copies from and to on its own.

    The memory is freed when the last view of the array goes, so that no view can outlive it.

    Raises:
        EngineUnavailable: there is no room.
    """
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    address = cuda.allocate(size, what, on_host=True)
    raw = (ctypes.c_uint8 * size).from_address(address)
    weakref.finalize(raw, _quietly, cuda, "cudaFreeHost", address).atexit = False
    array: NDArray[Any] = np.frombuffer(memoryview(raw), np.uint8).view(dtype).reshape(tuple(shape))
    array[...] = 0
    return array


def _quietly(cuda: Cuda, name: str, *arguments: Any) -> None:  # noqa: ANN401
    """Release something; where even that fails there is nothing left to do about it."""
    try:
        cuda.call(name, *arguments)
    except EngineUnavailable:
        return
