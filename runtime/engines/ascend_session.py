"""One .om model on an Ascend device: its buffers are allocated once, on the device and pinned on the host."""

from __future__ import annotations

import contextlib
import ctypes
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError, EngineUnavailable
from edgetrack.runtime.engines.ascend_runtime import Acl

__all__ = ["AscendSession"]

_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2  # aclrtMemcpyKind
_HUGE_PAGES_FIRST = 0  # aclrtMemMallocPolicy
# aclDataType
_DTYPES = {
    0: np.float32,
    1: np.float16,
    2: np.int8,
    3: np.int32,
    4: np.uint8,
    9: np.int64,
    12: np.bool_,
}


class _Port(NamedTuple):
    """One tensor: its memory on the device, its pinned memory on the host and the bytes that travel."""

    device: int
    host: int
    size: int
    used: int


class AscendSession:
    """One loaded model with its data sets bound once; see `Session`."""

    def __init__(self, acl: Acl, context: int, path: Path) -> None:
        """Load and bind; what was taken is released again if anything fails.

        Raises:
            ArtifactError: the file is not one that this device's CANN reads, or its tensors have no fixed size.
            EngineUnavailable: the device has not enough memory, or fails.
        """
        self._acl = acl
        self._context: int | None = context
        self._file_name = path.name
        self._failures: list[str] = []
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        acl.call("acl.rt.set_context", context)
        with contextlib.ExitStack() as self._stack:
            self._model = self._load(path)
            self._keep("acl.mdl.unload", self._model)
            self._desc = acl.value("acl.mdl.create_desc")
            self._keep("acl.mdl.destroy_desc", self._desc)
            acl.call("acl.mdl.get_desc", self._desc, self._model)
            self._in, self._inputs = self._data_set("input", self.inputs)
            self._out, self._outputs = self._data_set("output", self.outputs)
            self._release = self._stack.pop_all()

    def _keep(self, release: str, handle: int) -> None:
        """Have `release` called with a handle that was just taken, after all that is taken later."""
        self._stack.callback(self._acl.release, self._failures, release, handle)

    def _load(self, path: Path) -> int:
        try:
            return int(self._acl.value("acl.mdl.load_from_file", str(path)))
        except EngineUnavailable as error:
            raise ArtifactError(
                f"{path}: CANN cannot load it ({error}); it is damaged, or built for another chip or CANN: build it "
                "again with edgetrack rebuild"
            ) from error

    def _data_set(self, kind: str, buffers: dict[str, NDArray[Any]]) -> tuple[int, list[_Port]]:
        """Allocate all tensors of one side, put the arrays into `buffers`, and return the data set."""
        dataset = self._acl.value("acl.mdl.create_dataset")
        self._keep("acl.mdl.destroy_dataset", dataset)
        ports = []
        for index in range(self._acl.ask(f"acl.mdl.get_num_{kind}s", self._desc)):
            # ATC may name an output "node:0:name".
            name = str(self._acl.ask(f"acl.mdl.get_{kind}_name_by_index", self._desc, index)).rpartition(":")[2]
            shape, dtype = self._shape_and_type(kind, index, name)
            size = int(self._acl.ask(f"acl.mdl.get_{kind}_size_by_index", self._desc, index))
            used = math.prod(shape) * dtype.itemsize
            if size < used:
                raise ArtifactError(
                    f"{self._file_name}: {kind} {name!r} has {size} bytes, its shape {list(shape)} of {dtype} needs "
                    f"{used}; export the artifact again"
                )
            device = self._acl.value("acl.rt.malloc", size, _HUGE_PAGES_FIRST)
            self._keep("acl.rt.free", device)
            host = self._acl.value("acl.rt.malloc_host", size)
            self._keep("acl.rt.free_host", host)
            data = self._acl.value("acl.create_data_buffer", device, size)
            self._keep("acl.destroy_data_buffer", data)
            self._acl.value("acl.mdl.add_dataset_buffer", dataset, data)
            memory = (ctypes.c_uint8 * used).from_address(host)
            buffers[name] = np.frombuffer(memoryview(memory), dtype).reshape(shape)
            buffers[name][...] = 0
            ports.append(_Port(device, host, size, used))
        return dataset, ports

    def _shape_and_type(self, kind: str, index: int, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        what = f"{self._file_name}: {kind} {name!r}"
        told = self._acl.value(f"acl.mdl.get_{kind}_dims", self._desc, index)
        shape = tuple(int(size) for size in told["dims"])
        if any(size < 1 for size in shape):
            raise ArtifactError(f"{what} has shape {list(shape)}, must be fixed; export the artifact again")
        code = self._acl.ask(f"acl.mdl.get_{kind}_data_type", self._desc, index)
        if code not in _DTYPES:
            raise ArtifactError(f"{what} has ACL data type {code}, known are {sorted(_DTYPES)}; export it again")
        return shape, np.dtype(_DTYPES[code])

    def run(self) -> None:
        """See `Session.run`."""
        if self._context is None:
            raise EngineUnavailable(f"{self._file_name}: its engine is closed; load the artifact again")
        try:
            # The context belongs to a thread, and the tracker may have gone to another one.
            self._acl.call("acl.rt.set_context", self._context)
            for port in self._inputs:
                self._acl.call("acl.rt.memcpy", port.device, port.size, port.host, port.used, _HOST_TO_DEVICE)
            self._acl.call("acl.mdl.execute", self._model, self._in, self._out)
            for port in self._outputs:
                self._acl.call("acl.rt.memcpy", port.host, port.size, port.device, port.used, _DEVICE_TO_HOST)
        except EngineUnavailable as error:
            raise EngineUnavailable(
                f"{self._file_name}: the Ascend device failed while running ({error}); load the artifact again"
            ) from error

    def close(self, failures: list[str]) -> None:
        """Release everything, the last taken first; `failures` gets what the device refused. The arrays die with it."""
        self._context = None
        self._release.close()
        self.inputs.clear()
        self.outputs.clear()
        failures += self._failures
        self._failures.clear()
