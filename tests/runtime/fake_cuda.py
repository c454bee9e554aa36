"""A recording stand-in of `cuda.bindings.runtime`: memory, streams and graphs that work, on this machine's memory.

Device addresses are real addresses of buffers kept here, so that a copy copies and a graph replays what was recorded.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import SimpleNamespace


class CudaError(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900


GPU = SimpleNamespace(name=b"Fake GPU\0\0", major=8, minor=6)


class FakeCuda:
    """`calls` holds (name, arguments); `fail[name]` is the list of results of its next calls, 0 for success."""

    cudaError_t = CudaError
    cudaHostAllocDefault = 0
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2
    cudaMemoryType = SimpleNamespace(
        cudaMemoryTypeUnregistered=0, cudaMemoryTypeHost=1, cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3
    )
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="to device", cudaMemcpyDeviceToHost="to host")
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")

    def __init__(self, gpus=(GPU,), room=1 << 30):
        self.gpus, self.room = gpus, room
        self.driver_version = 0
        self.calls = []
        self.fail = {}
        self.memory = {}
        self.streams = set()
        self.arrays = {}  # address -> (type, device) of what others have allocated
        self.graphs = {}
        self.recording = None
        self._next = 1000

    def __getattr__(self, name):
        work = type(self).__dict__.get(f"_{name}")
        if not name.startswith("cuda") or work is None:
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append((name, arguments))
            planned = self.fail.get(name, [])
            status = CudaError(planned.pop(0)) if planned else CudaError.cudaSuccess
            if status:
                return (status, None)
            return work(self, *arguments)

        return call

    def names(self):
        return [name for name, _ in self.calls]

    def live(self):
        """What was made and not given back."""
        return sorted([*(kind for kind, _ in self.memory.values()), *self.streams, *self.graphs], key=str)

    def _new(self):
        self._next += 1
        return self._next

    def _do(self, work):
        """Do something a stream does: at once, or later if it is being recorded."""
        if self.recording is not None:
            self.recording.append(work)
        else:
            work()
        return (CudaError.cudaSuccess,)

    def _cudaGetDeviceCount(self):
        return (CudaError.cudaSuccess, len(self.gpus))

    def _cudaGetDeviceProperties(self, index):
        return (CudaError.cudaSuccess, self.gpus[index])

    def _cudaDriverGetVersion(self):
        return (CudaError.cudaSuccess, self.driver_version)

    def _cudaSetDevice(self, index):
        return (CudaError.cudaSuccess,)

    def _cudaGetLastError(self):
        return (CudaError.cudaSuccess,)

    def _cudaGetErrorString(self, status):
        return (CudaError.cudaSuccess, CudaError(status).name.encode())

    def _cudaMemGetInfo(self):
        return (CudaError.cudaSuccess, self.room - self._used(), self.room)

    def _used(self):
        return sum(len(buffer) for kind, buffer in self.memory.values() if kind == "device")

    def _allocate(self, kind, size):
        buffer = (ctypes.c_uint8 * size)(*([0xAB] * size))
        address = ctypes.addressof(buffer)
        self.memory[address] = (kind, buffer)
        return (CudaError.cudaSuccess, address)

    def _cudaMalloc(self, size):
        if self._used() + size > self.room:
            return (CudaError.cudaErrorMemoryAllocation, None)
        return self._allocate("device", size)

    def _cudaHostAlloc(self, size, flags):
        return self._allocate("host", size)

    def _cudaFree(self, address):
        assert self.memory.pop(address)[0] == "device", "freed as what it is not"
        return (CudaError.cudaSuccess,)

    def _cudaFreeHost(self, address):
        assert self.memory.pop(address)[0] == "host", "freed as what it is not"
        return (CudaError.cudaSuccess,)

    def _cudaMemcpyAsync(self, target, source, size, kind, stream):
        assert stream in self.streams
        for address, place in ((target, kind.split()[-1]), (source, {"to device": "host", "to host": "device"}[kind])):
            found, buffer = self.memory[address]
            assert (found, len(buffer)) == (place, size)
        return self._do(lambda: ctypes.memmove(target, source, size))

    def _cudaMemsetAsync(self, target, value, size, stream):
        assert stream in self.streams
        found, buffer = self.memory[target]
        assert (found, len(buffer)) == ("device", size)
        return self._do(lambda: ctypes.memset(target, value, size))

    def _cudaPointerGetAttributes(self, address):
        own = (2, 0) if self.memory.get(address, ("",))[0] == "device" else (0, -2)
        kind, device = self.arrays.get(address, own)
        return (CudaError.cudaSuccess, SimpleNamespace(type=kind, device=device))

    def _cudaEventCreateWithFlags(self, flags):
        assert flags == self.cudaEventDisableTiming
        event = self._new()
        self.streams.add(event)
        return (CudaError.cudaSuccess, event)

    def _cudaEventRecord(self, event, stream):
        assert event in self.streams
        return (CudaError.cudaSuccess,)

    def _cudaStreamWaitEvent(self, stream, event, flags):
        assert {stream, event} <= self.streams
        assert flags == 0
        return (CudaError.cudaSuccess,)

    def _cudaEventDestroy(self, event):
        self.streams.remove(event)
        return (CudaError.cudaSuccess,)

    def _cudaStreamCreateWithFlags(self, flags):
        stream = self._new()
        self.streams.add(stream)
        return (CudaError.cudaSuccess, stream)

    def _cudaStreamSynchronize(self, stream):
        assert self.recording is None, "synchronised while recording"
        return (CudaError.cudaSuccess,)

    def _cudaStreamDestroy(self, stream):
        self.streams.remove(stream)
        return (CudaError.cudaSuccess,)

    def _cudaStreamBeginCapture(self, stream, mode):
        assert self.recording is None
        self.recording = []
        return (CudaError.cudaSuccess,)

    def _cudaStreamEndCapture(self, stream):
        graph, self.recording = self._new(), None if self.recording is None else self.recording
        self.graphs[graph], self.recording = self.recording, None
        return (CudaError.cudaSuccess, graph)

    def _cudaGraphInstantiate(self, graph, flags):
        made = self._new()
        self.graphs[made] = self.graphs[graph]
        return (CudaError.cudaSuccess, made)

    def _cudaGraphLaunch(self, graph, stream):
        for work in self.graphs[graph]:
            work()
        return (CudaError.cudaSuccess,)

    def _cudaGraphDestroy(self, graph):
        del self.graphs[graph]
        return (CudaError.cudaSuccess,)

    def _cudaGraphExecDestroy(self, graph):
        del self.graphs[graph]
        return (CudaError.cudaSuccess,)
