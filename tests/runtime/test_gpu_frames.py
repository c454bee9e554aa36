"""Frames in GPU memory through engine `tensorrt`: the boxes of host frames, the order of calls, and every refusal."""

from __future__ import annotations

import gc
import importlib
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import GPU, CudaError, FakeCuda
from fake_driver import FakeDriver, FakeNvrtc
from gpu_case import BOX, SPECS, Interfaced, Packed, build, install, noisy, write_engines

from edgetrack.errors import EngineUnavailable, InputError
from edgetrack.runtime.core import State
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.tracker import build_tracker


@pytest.fixture(params=[False, True], ids=["tensorrt", "tensorrt-rtx"])
def both(request, monkeypatch):
    return install(monkeypatch, rtx=request.param)


@pytest.fixture
def fakes(monkeypatch):
    return install(monkeypatch, rtx=False)


def on_gpu(fakes, protocol):
    if protocol == "interface":
        return lambda array: Interfaced(array, fakes.cuda)
    return lambda array: Packed(array, version=protocol == "dlpack 1")


def spoil_host_inputs(tracker):
    """Whatever is still copied from the host's image shows."""
    for session in tracker.engine._sessions:
        for name in {"search", "image"} & set(session.inputs):
            session.inputs[name][...] = np.nan


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("protocol", ["dlpack 0", "dlpack 1", "interface"])
def test_boxes_are_those_of_host_frames(both, tmp_path, frames, kind, protocol):
    graphs, wrap = write_engines(tmp_path, kind), on_gpu(both, protocol)
    with build(graphs, kind) as host, build(graphs, kind) as device:
        host.init(frames[0], BOX)
        device.init(wrap(frames[0]), BOX)
        for frame in frames[1:]:
            spoil_host_inputs(device)
            assert device.update(wrap(frame)) == host.update(frame)
            assert device.raw_box == host.raw_box
            np.testing.assert_array_equal(device.core.corners, host.core.corners)
            assert device.core.raw_score == host.core.raw_score
            assert device.timings_ms["crop"] > 0
        assert len({tuple(host.core.corners), host.raw_box}) == 2
        assert "note" not in device.engine.describe()
    assert both.cuda.live() == []


LAYOUTS = {
    "bgr": lambda image: image,
    "bgr flipped": lambda image: image[::-1, ::-1],
    "bgr padded": lambda image: np.pad(image, ((0, 0), (0, 5), (0, 0)))[:, :-5],
    "bgr planes": lambda image: np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
    "rgb": lambda image: image[..., ::-1],
    "bgra": lambda image: np.dstack([image, image[..., :1]]),
    "rgba": lambda image: np.dstack([image[..., ::-1], image[..., :1]]),
    "gray": lambda image: np.ascontiguousarray(image[..., 1]),
    "nv12": lambda image: np.ascontiguousarray(image.reshape(96 * 3, 128)[:144]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", ["dlpack 1", "interface"])
def test_every_layout_and_stride(fakes, tmp_path, layout, protocol):
    graphs, wrap, color = write_engines(tmp_path), on_gpu(fakes, protocol), layout.split()[0]
    images = [LAYOUTS[layout](noisy(seed)) for seed in range(3)]
    with build(graphs) as host, build(graphs) as device:
        host.init(images[0], BOX, color=color)
        device.init(wrap(images[0]), BOX, color=color)
        for image in images[1:]:
            assert device.update(wrap(image)) == host.update(image)
            np.testing.assert_array_equal(device.core.corners, host.core.corners)


def test_order_of_calls_of_one_frame(fakes, tmp_path, frames):
    tracker = build(write_engines(tmp_path))
    stream = next(iter(fakes.cuda.streams))
    for index in range(3):  # the first update has a network of its own
        start = tracker.update if index else lambda frame: tracker.init(frame, BOX)
        start(Packed(frames[index]))
    fakes.cuda.calls.clear()
    frame = Packed(frames[3])
    tracker.update(frame)
    assert frame.streams == [stream], "the producer is told where the frame will be read"
    crop = ["cudaSetDevice", "cudaMemsetAsync", "cuLaunchKernel", "cudaMemcpyAsync", "cudaStreamSynchronize"]
    run = ["cudaSetDevice", "cudaGraphLaunch", "cudaStreamSynchronize"]
    assert fakes.cuda.names() == ["cudaSetDevice", *crop, *run, *crop, *run]
    copies = [arguments for name, arguments in fakes.cuda.calls if name == "cudaMemcpyAsync"]
    assert [(size, kind) for _, _, size, kind, _ in copies] == [(24, "to host")] * 2, "six numbers, no frame"
    launches = [arguments for name, arguments in fakes.cuda.calls if name == "cuLaunchKernel"]
    assert launches == [((2, 6), (32, 8)), ((1, 4), (32, 8))], "48 and 32 pixels"
    assert fakes.cuda.names().count("cuModuleLoadData") == 0


def test_one_kernel_serves_all_graphs(fakes, tmp_path, frames):
    with build(write_engines(tmp_path)) as tracker:
        assert "cuModuleLoadData" not in fakes.cuda.names(), "only frames on the GPU need it"
        tracker.init(Packed(frames[0]), BOX)
        tracker.update(Packed(frames[1]))
        assert fakes.cuda.names().count("cuModuleLoadData") == 1
        assert fakes.nvrtc.options[0] == b"--gpu-architecture=sm_86"
        assert b"--fmad=false" in fakes.nvrtc.options
        assert fakes.nvrtc.programs == []
    assert fakes.cuda.live() == []


def test_a_stream_of_the_array_interface_is_waited_for(fakes, tmp_path, frames):
    tracker = build(write_engines(tmp_path))
    stream = next(iter(fakes.cuda.streams))
    for producer in (1, 0x5555):
        fakes.cuda.calls.clear()
        tracker.init(Interfaced(frames[0], fakes.cuda, stream=producer), BOX)
        calls = [
            (name, arguments) for name, arguments in fakes.cuda.calls if "Event" in name or name == "cuLaunchKernel"
        ]
        (record, (event, recorded)), (wait, waited), (launch, _) = calls[-3:]
        assert (record, recorded) == ("cudaEventRecord", producer)
        assert (wait, waited) == ("cudaStreamWaitEvent", (stream, event, 0))
        assert launch == "cuLaunchKernel"
    assert "cudaEventCreateWithFlags" not in fakes.cuda.names(), "made once"
    tracker.close()
    assert fakes.cuda.live() == []


@pytest.mark.parametrize("protocol", ["dlpack 0", "dlpack 1", "interface"])
def test_a_frame_is_held_while_it_is_read_and_no_longer(fakes, tmp_path, frames, protocol):
    tracker, wrap = build(write_engines(tmp_path)), on_gpu(fakes, protocol)
    tracker.init(frames[0], BOX)
    render, held = fakes.driver._kernel.render, []
    fakes.driver._kernel = SimpleNamespace(render=lambda *a: held.append(alive() is not None) or render(*a))

    def given(array):
        return weakref.ref(array), wrap(array)

    alive, frame = given(frames[1].copy())
    tracker.update(frame)
    assert held == [True, True], "the search crop and the template's"
    del frame
    gc.collect()
    assert alive() is None
    alive, frame = given(frames[2].copy())
    fakes.driver.fail["cuLaunchKernel"] = 719
    with pytest.raises(EngineUnavailable, match=r"cuLaunchKernel failed \(CUDA_ERROR_LAUNCH_FAILED\)"):
        tracker.update(frame)
    del frame
    gc.collect()
    assert alive() is None, "an error keeps nothing"
    assert tracker.core.frame_index == 1
    tracker.update(wrap(frames[2]))
    assert tracker.core.frame_index == 2


def test_host_and_gpu_frames_may_alternate(both, tmp_path, frames):
    graphs = write_engines(tmp_path)
    with build(graphs) as host, build(graphs) as mixed:
        for index, frame in enumerate(frames):
            given = Packed(frame) if index % 3 else frame
            if index == 0:
                host.init(frame, BOX)
                mixed.init(given, BOX)
            else:
                assert mixed.update(given) == host.update(frame)


def test_a_blank_frame_is_lost(fakes, tmp_path, frames):
    tracker = build(write_engines(tmp_path))
    tracker.init(frames[0], BOX)
    fakes.cuda.calls.clear()
    ok, _ = tracker.update(Packed(np.full_like(frames[0], 9)))
    assert (ok, tracker.state) == (False, State.LOST)
    assert "cudaGraphLaunch" not in fakes.cuda.names()


def test_a_refused_capture_leaves_a_working_tracker(fakes, tmp_path, frames):
    graphs = write_engines(tmp_path)
    with build(graphs) as host, build(graphs) as device:
        host.init(frames[0], BOX)
        device.init(frames[0], BOX)
        fakes.cuda.fail["cudaStreamBeginCapture"] = [CudaError.cudaErrorStreamCaptureUnsupported] * 2
        for frame in frames[1:]:
            assert device.update(Packed(frame)) == host.update(frame)
        assert "runs without a CUDA graph" in device.engine.describe()["note"]


FRAME = noisy()
REFUSALS = {
    "another GPU": (lambda c: Packed(FRAME, (2, 1)), r"lies on cuda:1, the tracker runs on cuda:0.*device='cuda:1'"),
    "another GPU, interface": (lambda c: Interfaced(FRAME, c, device=1), "lies on cuda:1"),
    "host memory": (lambda c: Interfaced(FRAME, c, kind=1), "points to host memory; pass it as a numpy array"),
    "page-locked": (lambda c: Packed(FRAME, (3, 0)), "device type 3; pass an array in the memory of a CUDA GPU"),
    "ROCm": (lambda c: Packed(FRAME, (10, 0)), "device type 10"),
    "floats": (lambda c: Packed(FRAME.astype(np.float32)), "dtype is float32; pass uint8 values"),
    "signed": (lambda c: Packed(FRAME.astype(np.int8)), "dtype is int8"),
    "booleans": (lambda c: Packed(FRAME > 9), "dtype is bool"),
    "floats, interface": (lambda c: Interfaced(FRAME.astype(np.float32), c), "dtype is <f4"),
    "mask": (lambda c: Interfaced(FRAME, c, mask=FRAME), "with a mask"),
    "stream 0": (lambda c: Interfaced(FRAME, c, stream=0), "stream 0, which the protocol forbids"),
    "no shape": (lambda c: Interfaced(FRAME, c, shape=None), "cannot be read"),
    "a gradient": (lambda c: Packed(FRAME, refusal=BufferError("requires grad\nreally")), r"\(requires grad\)"),
    "no capsule": (lambda c: Packed(SimpleNamespace(__dlpack__=lambda **_: 3)), "gave a int, no unused DLPack capsule"),
    "planes first": (lambda c: Packed(FRAME.transpose(2, 0, 1)), r"shape is \(3, 96, 128\), but \"bgr\" frames are"),
    "no pixels": (lambda c: Packed(FRAME[:0]), "every side must have 1 to"),
    "another size": (lambda c: Packed(FRAME[:50]), "but the init frame was 128x96"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_one_line_and_the_tracker_goes_on(fakes, tmp_path, frames, name):
    make, words = REFUSALS[name]
    with build(write_engines(tmp_path)) as tracker:
        tracker.init(Packed(frames[0]), BOX)
        with pytest.raises(InputError, match=words) as caught:
            tracker.update(make(fakes.cuda))
        assert "\n" not in str(caught.value)
        assert tracker.core.frame_index == 0
        tracker.update(Packed(frames[1]))
        assert tracker.core.frame_index == 1


def test_a_tracker_on_the_second_gpu(fakes, tmp_path, frames):
    fakes.cuda.gpus = (GPU, GPU)
    with build(write_engines(tmp_path), device="cuda:1") as tracker:
        tracker.init(Packed(frames[0], (2, 1)), BOX)
        tracker.update(Interfaced(frames[1], fakes.cuda, device=1))
        assert {arguments for name, arguments in fakes.cuda.calls if name == "cudaSetDevice"} == {(1,)}
        with pytest.raises(InputError, match="lies on cuda:0, the tracker runs on cuda:1"):
            tracker.update(Packed(frames[2]))


def test_a_closed_engine_refuses(fakes, tmp_path, frames):
    tracker = build(write_engines(tmp_path))
    engine = tracker.engine
    tracker.init(Packed(frames[0]), BOX)
    tracker.close()
    with pytest.raises(InputError, match="closed"):
        tracker.update(Packed(frames[1]))
    with pytest.raises(EngineUnavailable, match="closed"):
        engine.device_frame(Packed(frames[1]))


def test_host_arrays_of_other_packages_are_asked_for_as_numpy(fakes, tmp_path):
    with (
        build(write_engines(tmp_path)) as tracker,
        pytest.raises(InputError, match="is a Packed, must be a numpy array"),
    ):
        tracker.init(Packed(FRAME, (1, 0)), BOX)


def test_an_array_that_lies_nowhere(fakes, tmp_path):
    class Meta:
        def __dlpack_device__(self):
            raise ValueError("meta tensors have no memory")

    with build(write_engines(tmp_path)) as tracker, pytest.raises(InputError, match="is a Meta, must be a numpy array"):
        tracker.init(Meta(), BOX)


def test_the_real_bindings_have_every_call_of_the_stand_ins():
    """The stand-ins are ours; that their names are NVIDIA's is checked where the wheel is."""
    pytest.importorskip("cuda.bindings")
    missing = []
    for module, fake in (("runtime", FakeCuda), ("driver", FakeDriver), ("nvrtc", FakeNvrtc)):
        real = importlib.import_module(f"cuda.bindings.{module}")
        names = {name.lstrip("_") for name in vars(fake) if name.lstrip("_").startswith(("cu", "nvrtc"))}
        missing += [f"{module}.{name}" for name in names if not hasattr(real, name)]
    assert missing == []


@pytest.mark.parametrize("step", ["cuModuleLoadData", "cuModuleGetFunction", "cudaMalloc", "cudaHostAlloc"])
def test_a_kernel_that_cannot_be_made_leaves_nothing_behind(fakes, tmp_path, frames, step):
    tracker = build(write_engines(tmp_path))
    before = fakes.cuda.live()
    if step.startswith("cuda"):
        fakes.cuda.fail[step] = [CudaError.cudaErrorMemoryAllocation]
    else:
        fakes.driver.fail[step] = 200
    with pytest.raises(
        EngineUnavailable, match="out of" if step.startswith("cuda") else f"{step} failed.*INVALID_IMAGE"
    ):
        tracker.init(Packed(frames[0]), BOX)
    assert fakes.cuda.live() == before
    fakes.cuda.fail.clear()
    tracker.init(Packed(frames[0]), BOX)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_other_engines_refuse_with_one_line(tmp_path, artifact, frames, name):
    pytest.importorskip(name)
    from edgetrack.runtime.tracker import GraphFile

    graphs = {"template": GraphFile(artifact / "template.onnx"), "search": GraphFile(artifact / "search.onnx")}
    graphs["search"] = GraphFile(artifact / "search.onnx", {"kept": (3, 4)})
    with build_tracker(SPECS["fartrack"](), graphs, ENGINES.get(name)("cpu")) as tracker:
        words = f"is a Packed in a device's memory, engine {name} reads frames in host memory only; pass a numpy array"
        with pytest.raises(InputError, match=words) as caught:
            tracker.init(Packed(frames[0]), BOX)
        assert "\n" not in str(caught.value)
        tracker.init(frames[0], BOX)
        with pytest.raises(InputError, match="is a Interfaced in a device's memory"):
            tracker.update(Interfaced(frames[1]))
