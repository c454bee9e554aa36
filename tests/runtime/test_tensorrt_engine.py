"""Engine `tensorrt` against recording stand-ins of CUDA and of both TensorRT packages; no GPU is needed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import GPU, CudaError, FakeCuda
from fake_tensorrt import Diagnostics, Validity, engine_bytes, fake_tensorrt

from edgetrack.errors import ArtifactError, EngineUnavailable, WrongMachine
from edgetrack.runtime.engines import ENGINES

ALLOCATING = {"cudaMalloc", "cudaHostAlloc", "cudaFree", "cudaFreeHost", "cudaStreamBeginCapture", "cudaStreamCreate"}


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    return fake


@pytest.fixture(params=[False, True], ids=["tensorrt", "tensorrt-rtx"])
def package(request, cuda, monkeypatch):
    return install(monkeypatch, cuda, rtx=request.param)


def install(monkeypatch, cuda, *, rtx):
    fake = fake_tensorrt(cuda, rtx=rtx)
    monkeypatch.setitem(sys.modules, "tensorrt", None if rtx else fake)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake if rtx else None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    return fake


def engine(device="cuda"):
    return ENGINES.get("tensorrt")(device)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "search.engine").write_bytes(engine_bytes())
    return tmp_path / "search.engine"


def fill(session, seed):
    generator = np.random.default_rng(seed)
    for array in session.inputs.values():
        array[...] = generator.standard_normal(array.shape, np.float32)
    return 1 + session.inputs["seen"].sum(0) + session.inputs["old"][0].sum(0)


def test_outputs_are_those_of_the_inputs_at_every_size(package, cuda, file):
    opened = engine()
    sessions = {kept: opened.open(file, {"kept": kept}) for kept in (3, 2)}
    for seed in range(3):
        for kept, session in sessions.items():
            assert session.inputs["old"].shape == (1, kept, 4)
            expected = fill(session, seed)
            session.run()
            np.testing.assert_allclose(session.outputs["total"][0], expected, rtol=1e-6)
    profiles = [call[1] for call in package.calls if call[0] == "set_optimization_profile_async"]
    assert profiles == [1, 0], "each size has the profile that was made for it"
    assert [call[0] for call in package.calls].count("deserialize_cuda_engine") == 1, "weights are shared"
    strategies = {call[1] for call in package.calls if call[0] == "create_execution_context"}
    assert strategies == ({"EAGER"} if package.rtx else {None})
    assert "note" not in opened.describe()


def test_steady_state_is_one_graph_launch_and_allocates_nothing(package, cuda, file):
    session = engine().open(file, {"kept": 2})
    assert cuda.names().count("cudaStreamBeginCapture") == 1
    assert cuda.names().count("cudaGraphInstantiate") == 1
    enqueued = [call[0] for call in package.calls].count("execute_async_v3")
    cuda.calls.clear()
    for _ in range(3):
        session.run()
    assert cuda.names() == ["cudaSetDevice", "cudaGraphLaunch", "cudaStreamSynchronize"] * 3
    assert [call[0] for call in package.calls].count("execute_async_v3") == enqueued


def test_a_frame_is_copied_computed_and_copied_back_in_this_order(package, cuda, file):
    cuda.fail["cudaStreamBeginCapture"] = [CudaError.cudaErrorStreamCaptureUnsupported]
    opened = engine()
    session = opened.open(file, {"kept": 2})
    assert "CaptureUnsupported" in opened.describe()["note"]
    cuda.calls.clear()
    package.calls.clear()
    expected = fill(session, 1)
    session.run()
    kinds = [arguments[3] for name, arguments in cuda.calls if name == "cudaMemcpyAsync"]
    assert kinds == ["to device", "to device", "to host"]
    assert cuda.names()[-1] == "cudaStreamSynchronize"
    assert not ALLOCATING & set(cuda.names())
    assert [call[0] for call in package.calls] == ["execute_async_v3"]
    np.testing.assert_allclose(session.outputs["total"][0], expected, rtol=1e-6)


@pytest.mark.parametrize("step", ["cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphLaunch"])
def test_a_refused_capture_leaves_a_working_session(package, cuda, file, step):
    cuda.fail[step] = [CudaError.cudaErrorStreamCaptureUnsupported]
    opened = engine()
    session = opened.open(file, {"kept": 2})
    cuda.recording = None
    expected = fill(session, 1)
    session.run()
    np.testing.assert_allclose(session.outputs["total"][0], expected, rtol=1e-6)
    assert f"search.engine runs without a CUDA graph: CUDA: {step} failed" in opened.describe()["note"]


def test_a_network_that_cannot_be_captured_is_not(cuda, monkeypatch, file):
    package = install(monkeypatch, cuda, rtx=True)
    package.capturable = False
    opened = engine()
    opened.open(file, {"kept": 2}).run()
    assert "cudaStreamBeginCapture" not in cuda.names()
    assert "cannot be captured" in opened.describe()["note"]


def test_close_releases_everything_and_a_later_run_is_refused(package, cuda, file):
    opened = engine()
    session = opened.open(file, {"kept": 2})
    held = session.inputs["seen"]
    opened.close()
    assert cuda.live() == ["host"], "only what somebody still holds"
    held[...] = 1  # must not touch freed memory
    del held
    assert cuda.live() == []
    with pytest.raises(EngineUnavailable, match="closed"):
        session.run()
    with pytest.raises(EngineUnavailable, match="closed"):
        opened.open(file, {"kept": 2})
    opened.close()


@pytest.mark.parametrize("count", range(8))
def test_an_error_while_opening_leaves_nothing_behind(package, cuda, file, count):
    """Every allocation in turn fails, three of the host and four of the GPU; then the first run."""
    opened = engine()
    before = cuda.live()
    if count == 7:
        package.run_error = "something broke"
    else:
        name = ("cudaMalloc", "cudaHostAlloc")[count % 2]
        cuda.fail[name] = [0] * (count // 2) + [CudaError.cudaErrorMemoryAllocation]
    with pytest.raises(EngineUnavailable, match="something broke" if count == 7 else "out of"):
        opened.open(file, {"kept": 2})
    assert cuda.live() == before
    cuda.fail.clear()
    package.run_error = ""
    opened.open(file, {"kept": 2}).run()


def test_out_of_gpu_memory_is_one_line_with_figures(cuda, monkeypatch, file):
    install(monkeypatch, cuda, rtx=False)
    cuda.room = 60
    with pytest.raises(EngineUnavailable) as caught:
        engine().open(file, {"kept": 2})
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("out of GPU memory for input 'old' of search.engine")
    cuda.room = 10
    with pytest.raises(EngineUnavailable, match=r"out of GPU memory for what search\.engine computes in between"):
        engine().open(file, {"kept": 2})
    assert "are free" in text


def test_out_of_memory_that_tensorrt_reports(package, cuda, file):
    package.context_error = "createExecutionContext: Error Code 2: OutOfMemory (Requested size was 9 bytes.)"
    with pytest.raises(EngineUnavailable, match=r"out of GPU memory .*OutOfMemory"):
        engine().open(file, {"kept": 2})


def test_a_failing_run_is_one_line(package, cuda, file):
    opened = engine()
    session = opened.open(file, {"kept": 2})
    cuda.fail["cudaStreamSynchronize"] = [CudaError.cudaErrorIllegalAddress]
    with pytest.raises(EngineUnavailable, match=r"cudaStreamSynchronize failed.*IllegalAddress"):
        session.run()


@pytest.mark.parametrize("content", [b"", b"x", b"garbage" * 100, engine_bytes()[:-30]])
def test_truncated_or_foreign_file_is_an_artifact_error(package, cuda, tmp_path, content):
    path = tmp_path / "search.engine"
    path.write_bytes(content)
    opened = engine()
    with pytest.raises(ArtifactError, match=r"search.engine") as caught:
        opened.open(path, {"kept": 2})
    assert "\n" not in str(caught.value)
    opened.close()
    assert cuda.live() == []


def test_missing_file(package, cuda, tmp_path):
    with pytest.raises(ArtifactError, match="No such file"):
        engine().open(tmp_path / "search.engine", {"kept": 2})


@pytest.mark.parametrize(
    ("diagnostics", "error", "words"),
    [
        (Diagnostics.VERSION_MISMATCH | Diagnostics.UNSUPPORTED_CC, ArtifactError, "version mismatch, unsupported cc"),
        (Diagnostics.INSUFFICIENT_GPU_MEMORY, EngineUnavailable, "out of GPU memory"),
    ],
)
def test_rtx_judges_the_header_before_it_deserialises(cuda, monkeypatch, file, diagnostics, error, words):
    package = install(monkeypatch, cuda, rtx=True)
    package.validity = (Validity.INVALID, int(diagnostics))
    with pytest.raises(error, match=words):
        engine().open(file, {"kept": 2})
    assert [call[0] for call in package.calls] == ["get_engine_validity"]


def test_sizes_without_a_profile_and_unknown_types(package, cuda, tmp_path, file):
    opened = engine()
    with pytest.raises(ArtifactError, match=r"no optimization profile .*old \[1, 5, 4\]"):
        opened.open(file, {"kept": 5})
    with pytest.raises(ArtifactError, match="exactly one"):
        opened.open(file, {"kept": 2, "other": 3})
    (tmp_path / "odd.engine").write_bytes(engine_bytes(dtype="bfloat16"))
    with pytest.raises(ArtifactError, match="bfloat16"):
        opened.open(tmp_path / "odd.engine", {"kept": 2})


def test_static_shapes_need_no_values(package, cuda, tmp_path):
    (tmp_path / "template.engine").write_bytes(engine_bytes(profiles=()))
    assert engine().open(tmp_path / "template.engine", {}).inputs["old"].shape == (1, 3, 4)


def test_devices(cuda, monkeypatch):
    install(monkeypatch, cuda, rtx=False)
    cuda.gpus = (GPU, SimpleNamespace(name=b"Other", major=9, minor=0))
    kind = ENGINES.get("tensorrt")
    assert kind.devices() == ["cuda:0", "cuda:1"]
    assert kind.installed() == "tensorrt 10.3.0"
    assert engine("cuda:1").describe()["device"] == "cuda:1 (Other)"
    assert ("cudaSetDevice", (1,)) in cuda.calls
    for device in ("cuda:2", "cpu", "gpu:x"):
        with pytest.raises(EngineUnavailable, match="available: cuda:0, cuda:1"):
            engine(device)


def test_without_a_gpu_or_driver(cuda, monkeypatch):
    install(monkeypatch, cuda, rtx=True)
    cuda.gpus = ()
    with pytest.raises(EngineUnavailable, match=r"no CUDA device here.*install or update the NVIDIA driver"):
        engine()
    cuda.fail["cudaGetDeviceCount"] = [CudaError.cudaErrorInsufficientDriver]
    with pytest.raises(EngineUnavailable, match=r"InsufficientDriver.*install or update the NVIDIA driver"):
        engine()


def test_a_driver_older_than_the_package_names_the_package_that_fits(cuda, monkeypatch):
    install(monkeypatch, cuda, rtx=False)
    cuda.driver_version = 12060
    cuda.fail["cudaGetDeviceCount"] = [CudaError.cudaErrorInsufficientDriver]
    with pytest.raises(
        EngineUnavailable, match=r"the driver knows CUDA 12\.6: update it, or pip install 'cuda-bindings<13'"
    ):
        engine()


def test_without_packages(cuda, monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'edgetrack\[tensorrt-rtx\]'.*edgetrack\[tensorrt\]"):
        engine()
    install(monkeypatch, cuda, rtx=False)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(EngineUnavailable, match=r"cuda-bindings.*pip install 'edgetrack\[cuda\]'"):
        engine()


KEY = {"builder": "tensorrt", "version": "10.3.0", "compute_capability": "8.6", "gpu": "Fake GPU", "driver": "550.1"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"version": "10.4.0"}, "built for version 10.4.0, here it is 10.3.0"),
        ({"version": "10"}, None),
        ({"version": "11"}, "version 11"),
        ({"compute_capability": "8.7"}, "built for compute capability 8.7, here it is 8.6"),
        ({"compute_capability": "8.0,8.6"}, None),
        ({"compute_capability": "8.0+"}, None),
        ({"compute_capability": "8.9+"}, "8.9"),
        ({"compute_capability": "all"}, "all"),
        ({"gpu": "Orin"}, "built for GPU Orin, here it is Fake GPU"),
        ({"driver": "560.2"}, "built for driver 560.2, here it is 550.1"),
        ({"builder": "other"}, "built for the builder other"),
        ({"moon": "full"}, "moon full"),
    ],
)
def test_key_is_compared(cuda, monkeypatch, change, words):
    install(monkeypatch, cuda, rtx=False)
    monkeypatch.setattr("edgetrack.runtime.engines.tensorrt.driver_version", lambda: "550.1")
    opened = engine()
    if words is None:
        opened.check_built_for({**KEY, **change})
        return
    with pytest.raises(WrongMachine, match=words):
        opened.check_built_for({**KEY, **change})
    assert ArtifactError.exit_code == WrongMachine.exit_code == 5


def test_the_key_picks_the_package(cuda, monkeypatch, file):
    full = install(monkeypatch, cuda, rtx=False)
    rtx = fake_tensorrt(cuda, rtx=True, version="1.7.1")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", rtx)
    opened = engine()
    opened.check_built_for({"builder": "tensorrt-rtx", "version": "1.7.1", "compute_capability": "8.0+"})
    opened.open(file, {"kept": 2}).run()
    assert rtx.calls
    assert not full.calls
    assert opened.describe()["version"] == "tensorrt-rtx 1.7.1"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineUnavailable, match="tensorrt-rtx cannot be imported"):
        engine().check_built_for({"builder": "tensorrt-rtx"})


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"])
def test_either_binding_under_each_of_its_names(cuda, monkeypatch, file, name):
    """NVIDIA's download of TensorRT-RTX and its wheels have other import names."""
    package = fake_tensorrt(cuda, rtx=name != "tensorrt")
    for other in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, other, package if other == name else None)
    opened = engine()
    session = opened.open(file, {"kept": 2})
    expected = fill(session, 1)
    session.run()
    np.testing.assert_allclose(session.outputs["total"][0], expected, rtol=1e-6)
    assert opened.describe()["version"].startswith("tensorrt-rtx " if package.rtx else "tensorrt 1")


def test_code_in_a_file_runs_only_where_the_artifact_says_that_it_is_version_compatible(cuda, monkeypatch, file):
    package = install(monkeypatch, cuda, rtx=False)
    made = []
    monkeypatch.setattr(package, "Runtime", lambda logger, kind=package.Runtime: made.append(kind(logger)) or made[-1])
    for version in ("10.3.0", "10"):
        opened = engine()
        opened.check_built_for({"version": version})
        opened.open(file, {"kept": 2})
    assert [getattr(runtime, "engine_host_code_allowed", False) for runtime in made] == [False, True]
