"""The command line: exit codes, one line on stderr, JSON on stdout."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from edgetrack import cli, demo
from edgetrack.cli import main
from edgetrack.errors import EngineUnavailable
from edgetrack.export.targets import TARGETS
from edgetrack.runtime.engines import ENGINES

pytest.importorskip("typer")

BOX = "286,321,195,111"


@pytest.fixture
def run(capsys):
    """Run a command line in this process; return its exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_the_option_engine_names_every_engine():
    from edgetrack.cli.options import EngineOption

    (option,) = EngineOption.__metadata__
    assert option.help.split(";")[0].split(", ") == sorted(ENGINES)


def shell(*words: object, code: str = "", **options) -> subprocess.Popen:
    program = f"import sys\n{code}\nfrom edgetrack.cli import main\nsys.exit(main())"
    arguments = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def track(artifact, *more: object) -> tuple[object, ...]:
    return ("track", artifact, "--source", demo.CLIP, "--init", BOX, "--threads", "1", *more)


def test_help(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for command in ("track", "info", "doctor", "targets", "models"):
        assert re.search(rf"\b{command}\b", out)
    assert run() == (code, out, err)


def test_every_option_is_hyphenated(run):
    from edgetrack.cli.app import COMMANDS

    for command, _ in COMMANDS:
        code, out, _ = run(command, "--help")
        assert code == 0
        assert not re.findall(r"--\w+_\w+", out)
        assert "--json" in out


def test_version(run):
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    assert out.startswith("edgetrack ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("frob",), "No such command 'frob'"),
        (("--frob",), "No such option"),
        (("track", "x"), "Missing option '--source'"),
        (("info",), "Missing argument"),
        (("track", "x", "--source", "y", "--init", "1,2,3"), "'1,2,3' is not four numbers"),
        (("track", "x", "--source", "y", "--init", "1,2,3,4", "--threads", "0"), "threads"),
        (("track", "x", "--source", "y", "--init", "1,2,3,4", "--results-format", "vot"), "'vot' is not one of"),
    ],
)
def test_wrong_usage_is_2(run, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("edgetrack: ")
    assert message in err
    assert err.count("\n") == 1


def test_artifact_errors_are_5(run, tmp_path):
    code, out, err = run("info", tmp_path / "nowhere")
    assert (code, out) == (5, "")
    assert err == (
        f"edgetrack: artifact {tmp_path}/nowhere does not exist; give the folder that `edgetrack export` wrote\n"
    )


def test_debug_adds_the_traceback(run, tmp_path, monkeypatch):
    _, _, quiet = run("info", tmp_path / "nowhere")
    _, _, debug = run("--debug", "info", tmp_path / "nowhere")
    assert "Traceback" not in quiet
    assert debug.startswith("Traceback")
    assert debug.endswith(quiet)
    monkeypatch.setenv("EDGETRACK_DEBUG", "1")
    assert run("info", tmp_path / "nowhere")[2].startswith("Traceback")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 5, "out of memory"),
        (OSError(28, "No space left on device"), 5, "No space left on device"),
        (PermissionError(13, "Permission denied", "/root/x"), 5, "/root/x: Permission denied"),
    ],
)
def test_other_errors(run, monkeypatch, error, code, message):
    def fail(_words):
        raise error

    monkeypatch.setattr("edgetrack.cli.app.run", fail)
    assert run("doctor")[0] == code
    fallen = run("doctor")[2]
    assert message in fallen
    assert fallen.count("\n") == 1


def test_a_bug_is_one_line_and_a_traceback_with_debug(run, monkeypatch):
    def fail(_words):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("edgetrack.cli.app.run", fail)
    line = "edgetrack: internal error: ZeroDivisionError: by zero; run again with --debug for the traceback\n"
    assert run("doctor") == (1, "", line)
    code, _, err = run("--debug", "doctor")
    assert code == 1
    assert err.startswith("Traceback")
    assert err.endswith(line)


def test_without_typer():
    process = shell("doctor", code="sys.modules['typer'] = None")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "")
    assert err == "edgetrack's command line needs typer: pip install 'edgetrack[cli]'\n".replace(
        "edgetrack's", "edgetrack: edgetrack's"
    )


def test_sigterm_handler_is_given_back():
    before = signal.getsignal(signal.SIGTERM)
    main(["--version"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_info(run, artifact):
    code, out, err = run("info", artifact)
    assert (code, err) == (0, "")
    for part in ("fartrack-tiny-test", "stand-in", "onnxruntime", "fp32", "1x4xkeptx8", "kept is 3 or 4", "passed"):
        assert part in out


def test_info_says_how_far_the_score_can_be_trusted(run, artifact):
    assert (
        "score      bin-mass, uncertain below 0.3, lost below 0.1, not calibrated (default limits)\n"
        in run("info", artifact)[1]
    )
    manifest = json.loads((artifact / "edgetrack.json").read_text())
    manifest["tracker"]["score"]["calibration"] = {"slope": 2.0, "intercept": 0.0}
    (artifact / "edgetrack.json").write_text(json.dumps(manifest))
    assert "lost below 0.1, calibrated\n" in run("info", artifact)[1]


def test_info_json(run, artifact):
    code, out, _ = run("info", artifact, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["manifest"] == json.loads((artifact / "edgetrack.json").read_text())
    assert report["size_bytes"] > 0


def test_doctor(run):
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert "Python" in out
    assert "onnxruntime" in out


def test_doctor_says_what_is_missing(run, monkeypatch):
    missing = ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "onnx", "acl")
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    code, out, _ = run("doctor", "--json")
    assert code == 0
    report = json.loads(out)
    engines = {item["name"]: item for item in report["engines"]}
    assert {*ENGINES} < {*engines}
    for name in ENGINES:
        assert engines[name]["version"] is None
        # Huawei's toolkit is in no package registry.
        install = "install the CANN toolkit" if name == "ascend" else "pip install 'edgetrack["
        assert install in engines[name]["remedy"]
    targets = {item["name"]: item for item in report["targets"]}
    assert {*targets} == {f"target {name}" for name in TARGETS}
    for item in targets.values():
        assert item["version"] is None
        assert "pip install 'edgetrack[" in item["remedy"]
    assert report["machine"]["cores"] >= 1


def test_doctor_tells_software_without_a_device(run, monkeypatch):
    """An engine whose package is here and whose device is not has a version, and says what is missing."""
    monkeypatch.setattr("edgetrack.runtime.engines.tensorrt.open_cuda", no_cuda)
    report = json.loads(run("doctor", "--json")[1])
    engine = next(item for item in report["engines"] if item["name"] == "tensorrt")
    assert engine["version"].startswith("tensorrt")
    assert engine["devices"] == []
    assert engine["remedy"] == "no CUDA device here"
    target = next(item for item in report["targets"] if item["name"] == "target openvino")
    assert target["version"]
    assert target["remedy"] is None


def no_cuda():
    raise EngineUnavailable("no CUDA device here")


def test_targets_and_models_without_torch():
    for command, known in (("targets", "openvino"), ("models", "fartrack-pico")):
        process = shell(command, code="sys.modules['torch'] = sys.modules['onnx'] = None")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert known in out


def test_targets_and_models_json(run):
    targets = {item["name"]: item for item in json.loads(run("targets", "--json")[1])}
    assert targets["openvino"]["precisions"] == ["fp32", "fp16", "int8"]
    assert targets["onnx"]["install"].startswith("pip install")
    models = {item["name"]: item for item in json.loads(run("models", "--json")[1])}
    assert models["fartrack-pico"]["parameters"] > 1e6
    assert models["fartrack-pico"]["gmacs"] > 0.1


def test_track_writes_video_and_boxes(run, artifact, tmp_path):
    pytest.importorskip("cv2")
    words = track(artifact, "--output", tmp_path / "out.mp4", "--boxes", tmp_path / "car.txt", "--max-frames", 20)
    code, out, err = run(*words)
    assert code == 0, err
    assert err == "tracking\n"
    assert out.startswith("20 frames, ")
    rows = (tmp_path / "car.txt").read_text().splitlines()
    assert len(rows) == 20
    assert rows[0] == "286.000,321.000,195.000,111.000"
    assert len((tmp_path / "car_time.txt").read_text().splitlines()) == 20
    from edgetrack.video import open_source

    with open_source(str(tmp_path / "out.mp4")) as source:
        assert source.size == (768, 432)
        assert len(list(source)) == 20


def test_track_json(run, artifact):
    pytest.importorskip("cv2")
    code, out, _ = run(*track(artifact, "--max-frames", 5, "--json"))
    assert code == 0
    report = json.loads(out)
    assert report["frames"] == 5
    assert sum(report["states"].values()) == 4
    assert report["engine"]["engine"] == "onnxruntime"
    assert report["interrupted"] is False
    assert report["written"] == []


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"--source": "nowhere.mp4"}, 5, "does not exist"),
        ({"--init": "5000,5000,10,10"}, 5, "outside"),
        ({"--init": "nan,0,10,10"}, 5, "nan"),
        ({"--init": "0,0,0,10"}, 5, "box"),
        ({"--device": "tpu"}, 4, "no device 'tpu'; available: cpu"),
        ({"--engine": "tflite"}, 4, "unknown engine 'tflite'"),
        ({"--output": "out.webm"}, 5, "must end in .mp4 or .avi"),
        ({"--boxes": "nowhere/boxes.txt"}, 5, "cannot write nowhere/boxes.txt"),
        ({"--output": "nowhere/out.mp4"}, 5, "cannot write nowhere/out.mp4"),
        ({"--output": str(demo.CLIP)}, 5, "is the source itself"),
    ],
)
def test_track_errors(run, artifact, tmp_path, monkeypatch, change, code, message):
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    more = [word for pair in ({"--max-frames": "3"} | change).items() for word in pair]
    result, _, err = run(*track(artifact, *more))
    assert result == code
    (line,) = [line for line in err.splitlines() if line.startswith("edgetrack: ")]
    assert message in line
    assert sorted(os.listdir(tmp_path)) == before


def test_a_video_that_ends_early_is_said(run, artifact, tmp_path, frames):
    pytest.importorskip("cv2")
    from edgetrack.video import VideoSink

    path = tmp_path / "cut.avi"
    with VideoSink(path, (128, 96), 25) as sink:
        for frame in frames * 8:
            sink.write(frame)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"idx1") // 2])
    code, out, err = run("track", artifact, "--source", path, "--init", "40,30,24,24")
    assert code == 0
    assert "frames, " in out
    assert err.count("edgetrack: warning: ") == err.count("ended early") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_done(artifact, tmp_path, number):
    pytest.importorskip("cv2")
    out, boxes = tmp_path / "out.mp4", tmp_path / "boxes.txt"
    slow = "import edgetrack.cli.track as t, time; s = t._step; t._step = lambda *a: (time.sleep(0.1), s(*a))[1]"
    process = shell(*track(artifact, "--output", out, "--boxes", boxes), code=slow)
    assert process.stderr is not None
    assert process.stderr.readline() == "tracking\n"
    time.sleep(1.0)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "edgetrack: interrupted\n"
    rows = len(boxes.read_text().splitlines())
    assert 1 <= rows < 65
    assert stdout.startswith(f"{rows} frames, ")
    from edgetrack.video import open_source

    with open_source(str(out)) as source:
        assert abs(len(list(source)) - rows) <= 1
    assert sorted(path.name for path in tmp_path.glob("[!t]*")) == ["boxes.txt", "boxes_time.txt", "out.mp4"]


def test_debug_is_only_read_before_the_command():
    assert cli._wants_debug(["--debug", "info"])
    assert not cli._wants_debug(["info", "--debug"])
    assert not cli._wants_debug([])


def _rows(run):
    code, out, _ = run("doctor", "--json")
    assert code == 0
    report = json.loads(out)
    return {item["name"]: item for item in (*report["engines"], *report["targets"])}


def test_doctor_names_what_gpu_frames_need(run, monkeypatch):
    pytest.importorskip("tensorrt_rtx_bindings")
    pytest.importorskip("cuda.bindings.nvrtc")
    row = _rows(run)["tensorrt: NVRTC"]
    assert re.fullmatch(r"\d+\.\d+", row["version"])
    assert (row["used_for"], row["remedy"], row["devices"]) == ("frames in GPU memory", None, [])
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", None)
    row = _rows(run)["tensorrt: NVRTC"]
    assert row["version"] is None
    assert row["remedy"].startswith("frames in GPU memory need NVRTC, which is not usable")
    assert row["remedy"].endswith("pip install 'edgetrack[cuda-frames]' (CUDA 12: pip install nvidia-cuda-nvrtc-cu12)")
    table = run("doctor")[1]
    assert any(line.startswith("tensorrt: NVRTC") and "[cuda-frames]" in line for line in table.splitlines())


def test_doctor_tells_tools_from_packages(run, monkeypatch):
    """A target that only lacks its tool and an engine that only lacks a device are not called missing."""
    pytest.importorskip("onnxruntime_qnn")
    monkeypatch.setattr("edgetrack.export.targets.ascend_atc.shutil.which", lambda _name: None)
    rows = _rows(run)
    assert rows["target ascend"]["version"] == "not built"
    assert re.search(r"CANN's atc, which is not on the PATH: install the CANN toolkit", rows["target ascend"]["remedy"])
    assert rows["target onnx"]["remedy"] is None
    assert re.fullmatch(r"[\d.]+", rows["qnn"]["version"])
    assert rows["qnn"]["devices"]
    assert rows["qnn"]["remedy"] is None
