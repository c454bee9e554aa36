"""A tracker on the stand-ins of CUDA and TensorRT, and arrays that say that they lie on a GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import tiny_artifact
import tiny_centre_artifact
from fake_cuda import FakeCuda
from fake_driver import FakeDriver, FakeNvrtc
from fake_tensorrt import fake_tensorrt, onnx_engine
from host_kernel import host_kernel

from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.tracker import GraphFile, build_tracker

BOX = (40.0, 30.0, 24.0, 24.0)
KEPT = {"kept": (tiny_artifact.TOKENS - tiny_artifact.PRUNE, tiny_artifact.TOKENS)}
SPECS = {"fartrack": tiny_artifact.tracker_spec, "centre": tiny_centre_artifact.tracker_spec}


def install(monkeypatch, *, rtx):
    """Put all stand-ins in place and return them."""
    cuda = FakeCuda()
    package = fake_tensorrt(cuda, rtx=rtx)
    driver, nvrtc = FakeDriver(cuda, host_kernel()), FakeNvrtc()
    for name, module in (("runtime", cuda), ("driver", driver), ("nvrtc", nvrtc)):
        monkeypatch.setitem(sys.modules, f"cuda.bindings.{name}", module)
    monkeypatch.setitem(sys.modules, "tensorrt", None if rtx else package)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", package if rtx else None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    return SimpleNamespace(cuda=cuda, package=package, driver=driver, nvrtc=nvrtc)


def write_engines(folder, kind="fartrack"):
    """Write the engine files of a small tracker; returns its graphs by role."""
    tiny_artifact.write_template(folder / "template.onnx")
    (tiny_artifact if kind == "fartrack" else tiny_centre_artifact).write_search(folder / "search.onnx")
    dims = KEPT if kind == "fartrack" else {}
    profiles = [{"kept": kept} for kept in dims.get("kept", ())]
    (folder / "template.engine").write_bytes(onnx_engine(folder / "template.onnx"))
    (folder / "search.engine").write_bytes(onnx_engine(folder / "search.onnx", profiles))
    return {
        "template": GraphFile(folder / "template.engine"),
        "search": GraphFile(folder / "search.engine", dims),
    }


def build(graphs, kind="fartrack", device="cuda"):
    return build_tracker(SPECS[kind](), graphs, ENGINES.get("tensorrt")(device))


class Packed:
    """Speaks DLPack: numpy's capsule, with another device; `streams` holds what consumers asked for."""

    def __init__(self, array, device=(2, 0), *, version=True, refusal=None):
        self.array, self.device, self.version, self.refusal, self.streams = array, device, version, refusal, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None, **more):
        if more and not self.version:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        self.streams.append(stream)
        if self.refusal is not None:
            raise self.refusal
        return self.array.__dlpack__(**more)


class Interfaced:
    """Speaks the CUDA array interface; what it says can be changed."""

    def __init__(self, array, cuda=None, *, kind=2, device=0, **changes):
        self.array = array
        shown = dict(array.__array_interface__)
        told = {name: shown[name] for name in ("shape", "typestr", "data", "strides")} | {"version": 3, "stream": None}
        self.__cuda_array_interface__ = told | changes
        if cuda is not None:
            cuda.arrays[array.ctypes.data] = (kind, device)


def noisy(index=0, height=96, width=128):
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
