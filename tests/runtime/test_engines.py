"""Both engines on graphs made here: shapes, bound buffers, devices, and damaged files."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edgetrack.errors import ArtifactError, EngineUnavailable, InputError
from edgetrack.runtime.engine import concrete_shape, first_line, new_buffer
from edgetrack.runtime.engines import ENGINES

pytest.importorskip("onnx")
import tiny_artifact


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine_class(request):
    pytest.importorskip(request.param)
    return ENGINES.get(request.param)


@pytest.fixture
def matmul(tmp_path):
    path = tmp_path / "matmul.onnx"
    tiny_artifact.write_matmul(path)
    return path


def check(session, kept: int) -> None:
    """Run y = x^T (2 x) on fresh values through the bound buffers."""
    x = np.random.default_rng(kept).standard_normal((1, kept, 8)).astype(np.float32)
    session.inputs["x"][:] = x
    session.run()
    np.testing.assert_allclose(session.outputs["y"], x.transpose(0, 2, 1) @ (2 * x), rtol=1e-5, atol=1e-5)


def test_runs_at_several_sizes(engine_class, matmul):
    engine = engine_class("cpu", threads=1)
    sessions = {kept: engine.open(matmul, {"kept": kept}) for kept in (3, 5)}
    for kept, session in sessions.items():
        assert session.inputs["x"].shape == (1, kept, 8)
        assert session.outputs["y"].shape == (1, 8, 8)
    for kept in (3, 5, 3, 5):
        check(sessions[kept], kept)


def test_buffers_are_allocated_once(engine_class, matmul):
    session = engine_class("cpu").open(matmul, {"kept": 4})
    before = [array.ctypes.data for array in (session.inputs["x"], session.outputs["y"])]
    for _ in range(3):
        check(session, 4)
    assert [array.ctypes.data for array in (session.inputs["x"], session.outputs["y"])] == before
    for array in (session.inputs["x"], session.outputs["y"]):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.ctypes.data % 64 == 0


def test_sessions_outlive_the_engine_object(engine_class, matmul):
    session = engine_class("cpu").open(matmul, {"kept": 4})
    check(session, 4)


def test_describes_itself(engine_class):
    engine = engine_class("cpu")
    description = engine.describe()
    assert description["engine"] == engine_class.name
    assert description["device"].lower() == "cpu"
    assert description["version"][0].isdigit()
    assert "cpu" in [device.lower() for device in engine_class.devices()]
    engine.close()


def test_auto_is_the_cpu(engine_class):
    assert engine_class("auto").describe()["device"].lower() == "cpu"


def test_unknown_device_lists_those_there_are(engine_class):
    with pytest.raises(EngineUnavailable, match=r"no device '(?i:warp:0)'.*available: (?i:cpu)"):
        engine_class("warp:0")


def test_missing_size(engine_class, matmul):
    with pytest.raises(ArtifactError, match=r"export (it|the artifact) again"):
        engine_class("cpu").open(matmul, {})


@pytest.mark.parametrize("content", [b"", b"\x08garbage" * 50, b"not a model"])
def test_damaged_file(engine_class, tmp_path, content):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"damaged\.onnx.*cannot load it") as caught:
        engine_class("cpu").open(path, {})
    assert "\n" not in str(caught.value)


def test_truncated_file(engine_class, matmul):
    matmul.write_bytes(matmul.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="cannot load it"):
        engine_class("cpu").open(matmul, {"kept": 4})


def test_missing_file(engine_class, tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        engine_class("cpu").open(tmp_path / "nowhere.onnx", {})


@pytest.mark.parametrize("threads", [0, -1, 5000])
def test_impossible_threads(engine_class, threads):
    with pytest.raises(InputError, match=f"threads is {threads}"):
        engine_class("cpu", threads=threads)


def test_package_missing(engine_class, monkeypatch):
    monkeypatch.setitem(sys.modules, engine_class.name, None)
    with pytest.raises(EngineUnavailable, match=rf"pip install 'edgetrack\[{engine_class.name}\]'"):
        engine_class("cpu")


def test_unknown_engine_lists_those_there_are():
    with pytest.raises(EngineUnavailable, match=r"unknown engine 'tflite'; known: .*onnxruntime, openvino"):
        ENGINES.get("tflite")


def test_one_onnxruntime_session_serves_all_sizes(matmul):
    engine = ENGINES.get("onnxruntime")("cpu")
    first, second = engine.open(matmul, {"kept": 3}), engine.open(matmul, {"kept": 5})
    assert first._session is second._session


def test_cuda_is_refused_without_its_provider(monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    for device in ("cuda", "cuda:0"):
        with pytest.raises(EngineUnavailable, match="no CUDA provider"):
            ENGINES.get("onnxruntime")(device)


def test_silent_fallback_to_the_cpu_is_an_error(matmul, monkeypatch):
    """A package that lists the CUDA provider gives a CPU session, without an error, where the driver is missing."""
    onnxruntime = pytest.importorskip("onnxruntime")

    class CpuSession:
        def __init__(self, path, options, providers):
            assert providers[0][0] == "CUDAExecutionProvider"

        def get_providers(self):
            return ["CPUExecutionProvider"]

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", CpuSession)
    engine = ENGINES.get("onnxruntime")("cuda:1")
    assert engine.describe()["device"] == "cuda:1"
    with pytest.raises(EngineUnavailable, match="fell back to the CPU"):
        engine.open(matmul, {"kept": 3})


def test_openvino_ir(tmp_path, matmul):
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "matmul.xml"
    openvino.save_model(openvino.convert_model(str(matmul)), str(path), compress_to_fp16=False)
    engine = ENGINES.get("openvino")("CPU", threads=2, cache_dir=tmp_path / "cache")
    for kept in (2, 7):
        check(engine.open(path, {"kept": kept}), kept)
    assert any((tmp_path / "cache").iterdir())
    with pytest.raises(ArtifactError, match="there are 2 values"):
        engine.open(path, {"kept": 1, "other": 2})
    path.with_suffix(".bin").unlink()
    with pytest.raises(ArtifactError, match="cannot load it"):
        engine.open(path, {"kept": 2})


def test_openvino_devices():
    pytest.importorskip("openvino")
    openvino_engine = ENGINES.get("openvino")
    assert openvino_engine("AUTO").describe()["device"] == "AUTO"
    assert openvino_engine("auto:cpu").describe()["device"] == "AUTO:CPU"
    with pytest.raises(EngineUnavailable, match=r"no device 'GPU\.7'"):
        openvino_engine("AUTO:GPU.7,CPU")
    with pytest.raises(InputError, match="threads=2"):
        openvino_engine("AUTO", threads=2)


def test_openvino_computes_in_fp32_unless_told_otherwise():
    pytest.importorskip("openvino")
    openvino_engine = ENGINES.get("openvino")
    for precision in ("fp32", "fp16"):
        assert openvino_engine("cpu", precision=precision)._config["INFERENCE_PRECISION_HINT"] == "f32"
    assert openvino_engine("AUTO", precision="fp16")._config["INFERENCE_PRECISION_HINT"] == "f16"


def test_helpers():
    assert concrete_shape("x", [1, "kept", 8], {"kept": 5}) == (1, 5, 8)
    for bad in ([1, None], [1, "other"], [0]):
        with pytest.raises(ArtifactError, match="x: dimension"):
            concrete_shape("x", bad, {"kept": 5})
    assert new_buffer((2, 0, 3), np.dtype(np.float32)).shape == (2, 0, 3)
    assert first_line(RuntimeError("\n  what\nwhere")) == "what"
    assert first_line(RuntimeError()) == "RuntimeError"
