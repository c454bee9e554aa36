"""The arithmetic of the GPU's crop, its own source, compiled for this machine; its threads: cpp/tests."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np

CPP = Path(__file__).parents[1] / "cpp"
TASK_BYTES = 152  # sizeof(CropTask)

SOURCE = """
#include <algorithm>

#include "rendered.hpp"
static_assert(sizeof(edgetrack::CropTask) == %d);
extern "C" void render(const edgetrack::CropTask* task, float* planes, int* ends) {
  const auto found = rendered_ends(*task, planes);
  std::copy(found.begin(), found.end(), ends);
}
"""


class HostKernel:
    """Works on addresses of this process."""

    def __init__(self, library):
        self._render = library.render

    def render(self, task, planes, ends):
        """All three are addresses."""
        self._render(*map(ctypes.c_void_p, (task, planes, ends)))

    def filling(self, inputs, run):
        """Return fill and run_filled of a `_core.Graph` whose device memory is `inputs`."""

        def fill(name, task):
            assert len(task) == TASK_BYTES
            ends, buffer = np.zeros((3, 2), np.int32), ctypes.create_string_buffer(task, len(task))
            self.render(ctypes.addressof(buffer), inputs[name].ctypes.data, ends.ctypes.data)
            return max(0, int((ends.sum(1) - 255).max()))

        return fill, lambda name: run()


@functools.cache
def host_kernel() -> HostKernel:
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        source.write_text(SOURCE % TASK_BYTES)
        flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared"]
        includes = [f"-I{CPP / 'include'}", f"-I{CPP / 'tests'}"]
        subprocess.run(["g++", *flags, *includes, str(source), "-o", str(library)], check=True)
        return HostKernel(ctypes.CDLL(str(library)))
