"""The compiled kernel on a real GPU against the host's crop, where there is one: bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from mvlm_fakes import TEXT, MvlmNetworks, mvlm_graphs, mvlm_spec

from edgetrack import _core
from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.cuda.api import open_cuda
from edgetrack.runtime.cuda.crop import CropKernel
from edgetrack.runtime.cuda.memory import DeviceBuffer

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Gpu:
    def __init__(self):
        self.cuda = open_cuda()
        gpu = self.cuda.devices()[0]
        self.cuda.call("cudaSetDevice", gpu.index)
        self.stream = self.cuda.call("cudaStreamCreateWithFlags", self.cuda.runtime.cudaStreamNonBlocking)
        self.kernel = CropKernel(self.cuda, gpu, self.stream)

    def close(self):
        self.kernel.close()
        self.cuda.call("cudaStreamDestroy", self.stream)

    def frame(self, array):
        """Copy an array without gaps to the GPU."""
        buffer = DeviceBuffer(self.cuda, array.nbytes, "a frame")
        kind = self.cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.cuda.call("cudaMemcpy", buffer.address, array.ctypes.data, array.nbytes, kind)
        return _core.DeviceArray(buffer.address, array.shape, array.strides, buffer)

    def filling(self, inputs, run):
        def fill(name, task):
            planes = inputs[name]
            buffer = DeviceBuffer(self.cuda, planes.nbytes, name)
            spread = self.kernel.crop(task, buffer.address, planes.shape[-1])
            kind = self.cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
            self.cuda.call("cudaMemcpy", planes.ctypes.data, buffer.address, planes.nbytes, kind)
            buffer.close()
            return spread

        return fill, lambda name: run()


@pytest.fixture(scope="module")
def gpu():
    try:
        found = Gpu()
    except EngineUnavailable as error:
        pytest.skip(str(error))
    yield found
    found.close()


@pytest.mark.parametrize("size", [32, 112, 224, 256])
@pytest.mark.parametrize("color", ["bgr", "gray", "rgba", "nv12"])
def test_every_value_is_that_of_the_host(gpu, size, color):
    random = np.random.default_rng(size)
    shape = {"bgr": (360, 480, 3), "gray": (360, 480), "rgba": (360, 480, 4), "nv12": (540, 480)}[color]
    spec = mvlm_spec(box=True, search__size=size)
    seen = {}

    def filling(inputs, run):
        fill, run_filled = gpu.filling(inputs, run)
        seen.update(inputs)
        return fill, run_filled

    tracker = _core.MvlmTracker(spec, **mvlm_graphs(spec, MvlmNetworks(spec), filling))
    for _ in range(4):
        frame = random.integers(0, 256, shape, np.uint8)
        box = tuple(float(value) for value in (*random.uniform(-20, 300, 2), *random.uniform(25, 200, 2)))
        tracker.init(gpu.frame(frame), box, color)
        tracker.set_text(TEXT)
        tracker.update(gpu.frame(frame), color)
        for name, factor in (("image", 2.0), ("search", 4.0)):
            expected, _ = _core.crop_normalized(frame, box, factor, seen[name].shape[-1], MEAN, STD, color)
            np.testing.assert_array_equal(seen[name][0], expected)
