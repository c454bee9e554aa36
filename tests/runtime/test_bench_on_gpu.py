"""`edgetrack bench --frames-on gpu` on the stand-ins: frames are copied once, before the clock, and boxes stay."""

from __future__ import annotations

import json

import pytest
from fake_cuda import CudaError
from gpu_case import BOX, install
from test_tensorrt_artifact import key_of, write_artifact

from edgetrack.cli import main
from edgetrack.errors import EngineUnavailable, InputError
from edgetrack.runtime.engines import ENGINES

cv2 = pytest.importorskip("cv2")
pytest.importorskip("typer")
QUICK = ("--frames", "12", "--warmup", "0", "--threads", "1", "--no-fresh")


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr("edgetrack.runtime.engines.tensorrt.driver_version", lambda: "550.1")
    return install(monkeypatch, rtx=False)


@pytest.fixture
def bench(tmp_path, frames, capsys):
    (tmp_path / "video").mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / "video" / f"{index}.png"), frame)
    source = ("--source", str(tmp_path / "video"), "--init", ",".join(map(str, BOX)))

    def call(*words):
        code = main(["bench", *map(str, words), *source, *QUICK])
        return code, *capsys.readouterr()

    return call


def test_frames_are_on_the_gpu_before_the_clock_starts(fakes, bench, tmp_path, frames):
    artifact = write_artifact(tmp_path / "tiny", key_of(False))
    documents = {}
    for where in ("host", "gpu"):
        fakes.cuda.calls.clear()
        code, out, err = bench(artifact, "--frames-on", where, "--json")
        assert code == 0, err
        (documents[where],) = json.loads(out)["contenders"]
        assert documents[where]["frames_on"] == where
        sizes = [arguments[2] for name, arguments in fakes.cuda.calls if name == "cudaMemcpyAsync"]
        assert sizes.count(frames[0].nbytes) == (len(frames) if where == "gpu" else 0)
        names = fakes.cuda.names()
        if where == "gpu":
            copies = [
                index
                for index, (name, arguments) in enumerate(fakes.cuda.calls)
                if name == "cudaMemcpyAsync" and arguments[2] == frames[0].nbytes
            ]
            assert max(copies) < names.index("cuLaunchKernel"), "the first frame is cropped after all are there"
            assert names.count("cuLaunchKernel") >= 12
        else:
            assert "cuLaunchKernel" not in names
    assert documents["gpu"]["states"] == documents["host"]["states"]
    assert fakes.cuda.live() == []


def test_the_table_says_so(fakes, bench, tmp_path):
    code, out, _ = bench(write_artifact(tmp_path / "tiny", key_of(False)), "--frames-on", "gpu")
    assert code == 0
    assert "threads, frames in GPU memory" in out.replace("\n", " ")


def test_an_engine_that_cannot_is_one_line(bench, artifact):
    code, _, err = bench(artifact, "--frames-on", "gpu")
    assert code == EngineUnavailable.exit_code == 4
    assert err.strip().startswith(f"edgetrack: {artifact}: engine onnxruntime reads frames in host memory only")
    assert err.strip().endswith("artifacts of target trt take them there")
    assert len(err.strip().splitlines()) == 1
    code, _, err = bench(artifact, "--frames-on", "disk")
    assert code == 2
    assert "is 'disk'; give host or gpu" in err


def test_placed_frames_are_what_the_engine_takes(fakes, frames):
    engine = ENGINES.get("tensorrt")()
    placed = engine.place_frame(frames[0])
    assert placed.__cuda_array_interface__["shape"] == frames[0].shape
    engine.device_frame(placed)
    fakes.cuda.fail["cudaMalloc"] = [CudaError.cudaErrorMemoryAllocation]
    with pytest.raises(EngineUnavailable, match=r"out of GPU memory for a frame, 0\.0 MiB"):
        engine.place_frame(frames[0])
    del placed
    engine.close()
    assert fakes.cuda.live() == []
    with pytest.raises(EngineUnavailable, match="closed"):
        engine.place_frame(frames[0])


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "tensorrt"])
def test_other_engines_refuse_in_one_line(name, frames):
    try:
        engine = ENGINES.get(name)()
    except EngineUnavailable:
        engine = object.__new__(ENGINES.get(name))  # not installed here; the refusal needs nothing of it
    assert not engine.takes_device_frames
    with pytest.raises(EngineUnavailable, match=f"engine {name} reads frames in host memory only"):
        engine.place_frame(frames[0])
    with pytest.raises(InputError, match=f"engine {name} reads frames in host"):
        engine.device_frame(frames[0])
