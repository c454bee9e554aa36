"""A TensorRT artifact on the command line, on the stand-ins: it tracks, and every way it may not fit is one line."""

from __future__ import annotations

import json

import pytest
import tiny_artifact
from fake_cuda import CudaError
from fake_tensorrt import Diagnostics, Validity
from gpu_case import BOX, KEPT, Packed, install, write_engines

import edgetrack
from edgetrack.artifact import sha256_of
from edgetrack.cli import main
from edgetrack.errors import ArtifactError, EngineUnavailable, WrongMachine

cv2 = pytest.importorskip("cv2")
pytest.importorskip("typer")

BOTH = pytest.mark.parametrize("rtx", [False, True], ids=["tensorrt", "tensorrt-rtx"])


def key_of(rtx, **changes):
    builder = "tensorrt-rtx" if rtx else "tensorrt"
    return {"builder": builder, "version": "10.3.0", "compute_capability": "8.6", "driver": "550.1", **changes}


def write_artifact(folder, key, *, cut=None):
    """Write the artifact; `cut` bytes of the search network's file are left, its checksum is that of what is left."""
    folder.mkdir()
    write_engines(folder)
    for path in folder.glob("*.onnx"):
        path.rename(folder.parent / path.name)
    for path in folder.glob("*.engine"):
        path.write_bytes(path.read_bytes().replace(f"{folder}/".encode(), f"{folder.parent}/".encode()))
    search = folder / "search.engine"
    search.write_bytes(search.read_bytes()[:cut])
    content = tiny_artifact.manifest(dict.fromkeys(("template.onnx", "search.onnx"), ""))
    for graph in content["graphs"]:
        name = f"{graph['role']}.engine"
        graph |= {"file": name, "files": [name], "sha256": {name: sha256_of(folder / name)}}
        graph["dims"] = {symbol: list(values) for symbol, values in KEPT.items()} if graph["role"] == "search" else {}
    content["target"] |= {"name": "trt", "engine": "tensorrt", "device": "cuda", "key": key}
    (folder / "edgetrack.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def video(tmp_path, frames):
    (tmp_path / "video").mkdir()
    for index, frame in enumerate(frames[:4]):
        cv2.imwrite(str(tmp_path / "video" / f"{index}.png"), frame)
    return tmp_path / "video"


@pytest.fixture
def track(video, capsys):
    def call(artifact):
        box = ",".join(map(str, BOX))
        code = main(["track", str(artifact), "--source", str(video), "--init", box, "--json"])
        return code, capsys.readouterr().err.strip()

    return call


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    monkeypatch.setattr("edgetrack.runtime.engines.tensorrt.driver_version", lambda: "550.1")


@BOTH
def test_it_tracks_from_host_and_gpu_memory(monkeypatch, tmp_path, track, frames, rtx):
    fakes = install(monkeypatch, rtx=rtx)
    artifact = write_artifact(tmp_path / "tiny", key_of(rtx))
    assert track(artifact)[0] == 0
    with edgetrack.load(artifact) as host, edgetrack.load(artifact) as device:
        host.init(frames[0], BOX)
        device.init(Packed(frames[0]), BOX)
        assert [device.update(Packed(frame)) for frame in frames] == [host.update(frame) for frame in frames]
    assert fakes.cuda.live() == []


@BOTH
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "10.4.0"}, "built for version 10.4.0, here it is 10.3.0"),
        ({"compute_capability": "8.7"}, "built for compute capability 8.7, here it is 8.6"),
        ({"gpu": "Orin"}, "built for GPU Orin, here it is Fake GPU"),
        ({"driver": "560.2"}, "built for driver 560.2, here it is 550.1"),
    ],
)
def test_another_machine_is_exit_code_5_and_a_rebuild_is_offered(monkeypatch, tmp_path, track, change, words, rtx):
    fakes = install(monkeypatch, rtx=rtx)
    artifact = write_artifact(tmp_path / "tiny", key_of(rtx, **change))
    code, told = track(artifact)
    assert code == WrongMachine.exit_code == 5
    assert words in told
    assert told.endswith(f"edgetrack rebuild {artifact}")
    assert len(told.splitlines()) == 1
    assert fakes.package.calls == [], "nothing of the file was read"
    assert fakes.cuda.live() == []


@BOTH
@pytest.mark.parametrize("cut", [0, 4, -30])
def test_a_truncated_engine_is_exit_code_5(monkeypatch, tmp_path, track, rtx, cut):
    fakes = install(monkeypatch, rtx=rtx)
    code, told = track(write_artifact(tmp_path / "tiny", key_of(rtx), cut=cut))
    assert code == ArtifactError.exit_code == 5
    assert "search.engine" in told
    assert "edgetrack rebuild" in told
    assert len(told.splitlines()) == 1
    assert fakes.cuda.live() == []


def no_room(fakes):
    fakes.cuda.room = 100


def refused_while_reading(fakes):
    fakes.package.read_error = "[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (Requested 9.)"


def refused_context(fakes):
    fakes.package.context_error = "createExecutionContext: Error Code 2: OutOfMemory (Requested size was 9 bytes.)"


def refused_run(fakes):
    fakes.package.run_error = "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (out of memory)"


def refused_stream(fakes):
    fakes.cuda.fail["cudaStreamCreateWithFlags"] = [CudaError.cudaErrorMemoryAllocation]


@BOTH
@pytest.mark.parametrize("spoil", [no_room, refused_while_reading, refused_context, refused_run, refused_stream])
def test_out_of_gpu_memory_is_exit_code_4(monkeypatch, tmp_path, track, rtx, spoil):
    fakes = install(monkeypatch, rtx=rtx)
    spoil(fakes)
    code, told = track(write_artifact(tmp_path / "tiny", key_of(rtx)))
    assert code == EngineUnavailable.exit_code == 4
    assert "cudaErrorMemoryAllocation" in told if spoil is refused_stream else "out of GPU memory" in told
    assert len(told.splitlines()) == 1
    assert fakes.cuda.live() == []


@pytest.mark.parametrize(
    ("diagnostics", "code"),
    [(Diagnostics.VERSION_MISMATCH, 5), (Diagnostics.UNSUPPORTED_CC, 5), (Diagnostics.INSUFFICIENT_GPU_MEMORY, 4)],
)
def test_what_tensorrt_rtx_says_of_a_header(monkeypatch, tmp_path, track, diagnostics, code):
    fakes = install(monkeypatch, rtx=True)
    fakes.package.validity = (Validity.INVALID, int(diagnostics))
    found, told = track(write_artifact(tmp_path / "tiny", key_of(True)))
    assert found == code
    assert len(told.splitlines()) == 1


def test_the_real_tensorrt_rtx_has_every_call_of_the_engine():
    """The stand-in is ours; that its names are NVIDIA's is checked where the wheel is."""
    package = pytest.importorskip("tensorrt_rtx_bindings")
    used = {
        "IExecutionContext": "set_optimization_profile_async set_input_shape get_tensor_shape set_tensor_address "
        "set_device_memory execute_async_v3 is_stream_capturable",
        "ICudaEngine": "device_memory_size_v2 num_io_tensors num_optimization_profiles create_runtime_config "
        "get_tensor_name get_tensor_mode get_tensor_dtype get_tensor_shape get_tensor_profile_shape "
        "create_execution_context",
        "IRuntimeConfig": "dynamic_shapes_kernel_specialization_strategy set_execution_context_allocation_strategy",
        "Runtime": "engine_header_size get_engine_validity deserialize_cuda_engine engine_host_code_allowed",
        "ExecutionContextAllocationStrategy": "USER_MANAGED",
        "DynamicShapesKernelSpecializationStrategy": "EAGER",
    }
    missing = [
        f"{kind}.{name}"
        for kind, names in used.items()
        for name in names.split()
        if not hasattr(getattr(package, kind), name)
    ]
    assert missing == []
    assert set(Validity.__members__) <= set(package.EngineValidity.__members__)
    assert set(Diagnostics.__members__) <= set(package.EngineInvalidityDiagnostics.__members__)
