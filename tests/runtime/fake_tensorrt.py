"""A recording stand-in of the running half of `tensorrt` and `tensorrt_rtx`, over `FakeCuda`'s memory.

An engine "file" is a line of JSON; its one output is the sum over all inputs, plus one. With "onnx", the path of such a
file, it computes what ONNX Runtime does.
"""

from __future__ import annotations

import ctypes
import functools
import json
from enum import IntEnum
from types import SimpleNamespace

import numpy as np
import pytest

PROFILES = [{"kept": 2}, {"kept": 3}]
HEADER = 8
SCRATCH = 24


def engine_bytes(profiles=PROFILES, **more):
    """Two inputs, seen (1, 4) and old (1, kept, 4), and the output total (1, 4)."""
    inputs = {"seen": [1, 4], "old": [1, -1 if profiles else 3, 4]}
    text = json.dumps({"inputs": inputs, "outputs": {"total": [1, 4]}, "profiles": list(profiles), **more})
    return b"fakehead" + text.encode()


def onnx_engine(path, profiles=()):
    """The engine of an ONNX file, made for values of its one symbolic dimension: [{"kept": 3}, ...]."""
    session = onnx_session(str(path))
    shapes = [
        {item.name: [size if isinstance(size, int) else -1 for size in item.shape] for item in items}
        for items in (session.get_inputs(), session.get_outputs())
    ]
    integers = [item.name for item in session.get_inputs() if item.type == "tensor(int32)"]
    spec = {"inputs": shapes[0], "outputs": shapes[1], "profiles": list(profiles), "onnx": str(path)}
    spec["integers"] = integers
    return b"fakehead" + json.dumps(spec).encode()


@functools.cache
def onnx_session(path):
    return pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])


class Validity(IntEnum):
    VALID = 0
    INVALID = 2


class Diagnostics(IntEnum):
    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2
    INSUFFICIENT_GPU_MEMORY = 16


class FakeContext:
    def __init__(self, package, spec, calls):
        self.package, self.spec, self.calls = package, spec, calls
        self.profile, self.shapes, self.addresses, self.scratch = 0, {}, {}, 0
        if package.rtx:
            self.is_stream_capturable = lambda stream: package.capturable

    def set_optimization_profile_async(self, profile, stream):
        self.calls.append(("set_optimization_profile_async", profile))
        self.profile = profile
        return True

    def set_input_shape(self, name, shape):
        self.calls.append(("set_input_shape", name, tuple(shape)))
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name):
        return tuple(self.shapes.get(name, self.spec["outputs"].get(name)))

    def set_tensor_address(self, name, address):
        self.calls.append(("set_tensor_address", name))
        assert address in self.package.cuda.memory
        self.addresses[name] = address
        return True

    def set_device_memory(self, address, size):
        kind, buffer = self.package.cuda.memory[address]
        assert (kind, len(buffer)) == ("device", size)
        self.scratch = size

    def execute_async_v3(self, stream):
        assert self.scratch == SCRATCH
        self.calls.append(("execute_async_v3", self.profile))
        assert set(self.addresses) == {*self.spec["inputs"], *self.spec["outputs"]}
        if self.package.run_error:
            self.package.say("ERROR", self.package.run_error)
            return False
        self.package.cuda._do(self._compute)
        return True

    def _compute(self):
        if "onnx" in self.spec:
            feeds = {name: self._array(name, self.shapes[name]) for name in self.spec["inputs"]}
            names = list(self.spec["outputs"])
            for name, value in zip(names, onnx_session(self.spec["onnx"]).run(names, feeds), strict=True):
                self._array(name, value.shape)[...] = value
            return
        total = np.ones((1, 4), np.float32)
        for name, shape in self.shapes.items():
            total += self._array(name, shape).reshape(-1, 4).sum(0)
        self._array("total", (1, 4))[...] = total

    def _array(self, name, shape):
        size = int(np.prod(shape)) * 4
        raw = (ctypes.c_uint8 * size).from_address(self.addresses[name])
        dtype = np.int32 if name in self.spec.get("integers", ()) else np.float32
        return np.frombuffer(raw, dtype).reshape(shape)


class FakeConfig:
    dynamic_shapes_kernel_specialization_strategy = "LAZY"
    allocation = "STATIC"

    def set_execution_context_allocation_strategy(self, strategy):
        self.allocation = strategy


class FakeEngine:
    def __init__(self, package, spec):
        self.package, self.spec = package, spec
        self.device_memory_size_v2 = SCRATCH
        self.num_io_tensors = len(spec["inputs"]) + len(spec["outputs"])
        self.num_optimization_profiles = len(spec["profiles"])
        if package.rtx:
            self.create_runtime_config = FakeConfig

    def get_tensor_name(self, index):
        return [*self.spec["inputs"], *self.spec["outputs"]][index]

    def get_tensor_mode(self, name):
        return "in" if name in self.spec["inputs"] else "out"

    def get_tensor_dtype(self, name):
        return "int32" if name in self.spec.get("integers", ()) else self.spec.get("dtype", "float32")

    def get_tensor_shape(self, name):
        return {**self.spec["inputs"], **self.spec["outputs"]}[name]

    def get_tensor_profile_shape(self, name, profile):
        shape = self.get_tensor_shape(name)
        kept = self.spec["profiles"][profile]["kept"]
        return [[kept if size == -1 else size for size in shape]] * 3

    def create_execution_context(self, config):
        allocation = config if isinstance(config, str) else config.allocation
        assert allocation == "USER_MANAGED"
        self.package.calls.append(("create_execution_context", getattr(config, STRATEGY, None)))
        if self.package.context_error:
            self.package.say("ERROR", self.package.context_error)
            return None
        return FakeContext(self.package, self.spec, self.package.calls)


STRATEGY = "dynamic_shapes_kernel_specialization_strategy"


class FakeRuntime:
    def __init__(self, logger):
        self.package = logger.package
        self.package.logger = logger
        if self.package.rtx:
            self.engine_header_size = HEADER
            self.get_engine_validity = self._validity

    def _validity(self, header):
        assert len(header) == HEADER
        self.package.calls.append(("get_engine_validity",))
        return self.package.validity

    def deserialize_cuda_engine(self, data):
        self.package.calls.append(("deserialize_cuda_engine", len(data)))
        if self.package.read_error:
            self.package.say("ERROR", self.package.read_error)
            return None
        try:
            return FakeEngine(self.package, json.loads(data[HEADER:]))
        except ValueError:
            self.package.say("ERROR", "IRuntime::deserializeCudaEngine: Error Code 1:\n Serialization failed")
            return None


def fake_tensorrt(cuda, *, rtx=False, version="10.3.0"):
    """Return a module-like object; set its `validity`, `capturable`, `run_error`, `context_error` to go wrong."""
    package = SimpleNamespace(cuda=cuda, rtx=rtx, __version__=version, calls=[], logger=None)
    package.read_error = ""
    package.validity, package.capturable, package.run_error, package.context_error = (Validity.VALID, 0), True, "", ""

    class ILogger:
        def __init__(self):
            self.package = package

    def nptype(dtype):
        if dtype == "bfloat16":
            raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
        return np.dtype(dtype)

    package.say = lambda severity, text: package.logger.log(SimpleNamespace(name=severity), text)
    package.ILogger, package.Runtime, package.nptype = ILogger, FakeRuntime, nptype
    package.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="USER_MANAGED")
    package.TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    package.EngineValidity, package.EngineInvalidityDiagnostics = Validity, Diagnostics
    if rtx:
        package.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="EAGER")
    return package
