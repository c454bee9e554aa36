"""The table of providers, and a session on a device whose provider is played by a recording stand-in."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.engines.onnxruntime_providers import CPU, PROVIDERS, Provider, parse_device, register

ALL = [provider.name for provider in PROVIDERS.values()]


class Binding:
    """Records what is bound; an input bound from the CPU is copied, as ONNX Runtime does off the CPU."""

    def __init__(self, log):
        self.log, self.bound, self.outputs = log, {}, {}

    def bind_input(self, name, *_memory):
        self.log.append(("bind_input", name))

    def bind_cpu_input(self, name, array):
        self.log.append(("bind_cpu_input", name))
        self.bound[name] = array.copy()

    def bind_ortvalue_input(self, name, value):
        self.log.append(("bind_ortvalue_input", name))
        self.bound[name] = value.array

    def bind_output(self, name, _device, _index, dtype, shape, address):
        import ctypes

        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_uint8 * size).from_address(address)
        self.outputs[name] = np.frombuffer(memory, dtype).reshape(shape)


class Node:
    def __init__(self, name, shape):
        self.name, self.shape, self.type = name, shape, "tensor(float)"


class Session:
    """Computes y = 2 x from what is bound at the time of the run."""

    made: ClassVar[list] = []

    def __init__(self, path, options, providers):
        self.providers, self.log = providers, []
        Session.made.append(self)

    def get_providers(self):
        return [self.providers[0][0], "CPUExecutionProvider"]

    def io_binding(self):
        return Binding(self.log)

    def get_inputs(self):
        return [Node("x", [1, "kept"])]

    def get_outputs(self):
        return [Node("y", [1, "kept"])]

    def run_with_iobinding(self, binding):
        binding.outputs["y"][:] = 2 * binding.bound["x"]


class Value:
    def __init__(self, array):
        self.array = array.copy()

    @staticmethod
    def ortvalue_from_numpy(array, device, index):
        assert (device, index) == ("cuda", 0)
        return Value(array)

    def update_inplace(self, array):
        self.array[:] = array


@pytest.fixture
def package(monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "OrtValue", Value)
    Session.made.clear()


@pytest.mark.parametrize(
    ("device", "kind", "index"),
    [("cpu", "cpu", 0), ("auto", "cpu", 0), ("GPU:2", "cuda", 2), ("cann", "cann", 0), ("npu:3", "cann", 3)],
)
def test_devices_are_parsed(device, kind, index):
    provider, found = parse_device(device, ALL)
    assert (provider.kind, found) == (kind, index)


@pytest.mark.parametrize("device", ["", "cpu:0", "cann:", "cann:1000", "tpu", "cuda-1"])
def test_unknown_devices_are_named(device):
    with pytest.raises(EngineUnavailable, match=f"no device {device!r}; available: cpu$"):
        parse_device(device, [CPU.name])


def test_missing_provider_names_its_package():
    with pytest.raises(EngineUnavailable, match=r"no CANN provider; pip install onnxruntime-cann"):
        parse_device("cann", [CPU.name])


@pytest.mark.parametrize("provider", [Provider("cann", "X"), Provider("x", "X", aliases=("gpu",))])
def test_a_kind_is_registered_once(provider):
    with pytest.raises(ValueError, match="registered twice"):
        register(provider)


@pytest.mark.parametrize("device", ["cuda", "cann"])
def test_every_run_sees_what_was_written(package, tmp_path, device):
    (tmp_path / "graph.onnx").touch()
    engine = ENGINES.get("onnxruntime")(device)
    assert engine.describe()["device"] == f"{device}:0"
    assert engine.devices() == ["cpu", "cuda", "cann"]
    session = engine.open(tmp_path / "graph.onnx", {"kept": 3})
    for value in (1.0, 5.0):
        session.inputs["x"][:] = value
        session.run()
        assert session.outputs["y"].tolist() == [[2 * value] * 3]


def test_cann_is_told_to_keep_precision_and_its_inputs_are_bound_anew(package, tmp_path):
    (tmp_path / "graph.onnx").touch()
    session = ENGINES.get("onnxruntime")("cann:1").open(tmp_path / "graph.onnx", {"kept": 3})
    session.run()
    session.run()
    made = Session.made[0]
    options = {"device_id": 1, "enable_cann_graph": True, "precision_mode": "must_keep_origin_dtype"}
    assert made.providers == [("CANNExecutionProvider", options), "CPUExecutionProvider"]
    assert made.log == [("bind_cpu_input", "x")] * 2
