"""Stand-ins of `cuda.bindings.driver` and `cuda.bindings.nvrtc` over `FakeCuda`'s memory.

A launch computes what the kernel's own source says, see `host_kernel`.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_IMAGE = 200
    CUDA_ERROR_LAUNCH_FAILED = 719


class FakeDriver:
    """`fail[name]` is the result of the next call of that name."""

    def __init__(self, cuda, kernel):
        self.cuda, self._kernel, self.fail = cuda, kernel, {}

    def _status(self, name, *arguments):
        self.cuda.calls.append((name, arguments))
        return Result(self.fail.pop(name, 0))

    def cuGetErrorString(self, status):
        return (0, Result(status).name.encode())

    def cuModuleLoadData(self, code):
        status = self._status("cuModuleLoadData", code)
        if status == 0:
            self.cuda.streams.add("module")
        return (status, "module")

    def cuModuleGetFunction(self, module, name):
        assert (module, name) == ("module", b"edgetrack_crop")
        return (self._status("cuModuleGetFunction"), "function")

    def cuModuleUnload(self, module):
        self.cuda.streams.remove(module)
        return (self._status("cuModuleUnload"),)

    def cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra):
        assert (function, gz, bz, shared, extra) == ("function", 1, 1, 0, 0)
        assert stream in self.cuda.streams
        status = self._status("cuLaunchKernel", (gx, gy), (bx, by))
        if status == 0:
            task, planes, ends = (ctypes.c_void_p * 3).from_address(parameters)
            planes, ends = (ctypes.c_void_p.from_address(at).value for at in (planes, ends))
            assert self.cuda.memory[planes][0] == self.cuda.memory[ends][0] == "device"
            self._kernel.render(task, planes, ends)
        return (status,)


class FakeNvrtc:
    """Knows 8.6 and 9.0; `log` makes it refuse the source."""

    def __init__(self):
        self.log, self.programs, self.options = b"", [], []

    def nvrtcVersion(self):
        return (0, 13, 0)

    def nvrtcGetSupportedArchs(self):
        return (0, [86, 90])

    def nvrtcCreateProgram(self, source, name, count, headers, names):
        assert b"edgetrack_crop" in source
        assert names == [b"crop.hpp"]
        assert count == len(headers) == 1
        self.programs.append("program")
        return (0, "program")

    def nvrtcCompileProgram(self, program, count, options):
        assert count == len(options)
        self.options = options
        return (6 if self.log else 0,)

    def nvrtcGetProgramLogSize(self, program):
        return (0, len(self.log))

    def nvrtcGetProgramLog(self, program, text):
        ctypes.memmove(text, self.log, len(self.log))
        return (0,)

    def nvrtcGetCUBINSize(self, program):
        return (0, 5)

    def nvrtcGetCUBIN(self, program, text):
        ctypes.memmove(text, b"cubin", 5)
        return (0,)

    def nvrtcDestroyProgram(self, program):
        self.programs.remove(program)
        return (0,)
