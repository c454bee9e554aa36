"""Calls of the CUDA runtime that raise errors of edgetrack instead of returning codes."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.cuda.driver import driver_version

__all__ = ["Cuda", "CudaDevice", "open_cuda"]

_INSTALL = "pip install 'edgetrack[cuda]'"
_MIB = 1 << 20


@dataclass(frozen=True)
class CudaDevice:
    """One GPU: its index, its name, and its compute capability as "8.6"."""

    index: int
    name: str
    compute_capability: str


class Cuda:
    """The CUDA runtime. Every call raises EngineUnavailable, in one line, where the runtime reports a failure."""

    def __init__(self, runtime: Any) -> None:  # noqa: ANN401 (the package has incomplete types)
        """`runtime` is `cuda.bindings.runtime`."""
        self.runtime = runtime

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 (what the call returns)
        """Call `name` and return its result: None, one value, or a tuple.

        Raises:
            EngineUnavailable: it failed.
        """
        status, *results = getattr(self.runtime, name)(*arguments)
        if int(status) != 0:
            self.runtime.cudaGetLastError()  # a failure of one call must not be reported by the next
            raise EngineUnavailable(f"CUDA: {name} failed ({self._reason(status)}); check the NVIDIA driver and GPU")
        return None if not results else results[0] if len(results) == 1 else tuple(results)

    def _reason(self, status: Any) -> str:  # noqa: ANN401 (a cudaError_t)
        text = self.runtime.cudaGetErrorString(status)[1]
        return text.decode(errors="replace") if isinstance(text, bytes) else str(text)

    def devices(self) -> list[CudaDevice]:
        """Return all GPUs.

        Raises:
            EngineUnavailable: there is no driver or no GPU; says which.
        """
        status, count = self.runtime.cudaGetDeviceCount()
        if int(status) != 0 or not count:
            self.runtime.cudaGetLastError()
            found = driver_version()
            driver = f"driver {found} is loaded" if found else "no NVIDIA driver is loaded"
            why = "it reports none" if int(status) == 0 else self._reason(status)
            raise EngineUnavailable(
                f"no CUDA device here ({driver}; {why}); install or update the NVIDIA driver, or use a machine with an "
                "NVIDIA GPU"
            )
        return [self._device(index) for index in range(count)]

    def _device(self, index: int) -> CudaDevice:
        properties = self.call("cudaGetDeviceProperties", index)
        name = properties.name.decode(errors="replace") if isinstance(properties.name, bytes) else properties.name
        return CudaDevice(index, name.rstrip("\0"), f"{properties.major}.{properties.minor}")

    def allocate(self, size: int, what: str, *, on_host: bool = False) -> int:
        """Return the address of `size` new bytes on the GPU, or of page-locked memory of this machine.

        Raises:
            EngineUnavailable: there is no room; says for what (`what`), how much, and how much is free.
        """
        runtime = self.runtime
        if on_host:
            status, address = runtime.cudaHostAlloc(size, runtime.cudaHostAllocDefault)
        else:
            status, address = runtime.cudaMalloc(size)
        if int(status) == 0:
            return int(address)
        runtime.cudaGetLastError()
        if status != runtime.cudaError_t.cudaErrorMemoryAllocation:
            raise EngineUnavailable(f"CUDA: cannot allocate {what} ({self._reason(status)}); check the NVIDIA driver")
        if on_host:
            raise EngineUnavailable(
                f"out of memory for {what}, {size / _MIB:.1f} MiB page-locked; close other programs"
            )
        raise EngineUnavailable(
            f"out of GPU memory for {what}, {size / _MIB:.1f} MiB{self._free()}; close other programs that use the GPU"
        )

    def _free(self) -> str:
        status, *sizes = self.runtime.cudaMemGetInfo()
        return f" ({sizes[0] / _MIB:.0f} of {sizes[1] / _MIB:.0f} MiB are free)" if int(status) == 0 else ""


def open_cuda() -> Cuda:
    """Import the CUDA runtime.

    Raises:
        EngineUnavailable: the package is not installed.
    """
    try:
        return Cuda(importlib.import_module("cuda.bindings.runtime"))
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineUnavailable(f"cuda-bindings is not usable ({error}): {_INSTALL}") from error
