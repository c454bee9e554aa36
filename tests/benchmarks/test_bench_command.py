"""`edgetrack bench` on a tiny artifact: the document against its schema, tables, exit codes. No times are judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from json_schema import violations

import edgetrack.benchmarks as package
from edgetrack import demo
from edgetrack.benchmarks import bench
from edgetrack.cli import main

pytest.importorskip("typer")
pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")

SCHEMA = json.loads((Path(package.__path__[0]) / "bench-1.schema.json").read_text())
QUICK = ("--frames", 6, "--warmup", 0, "--threads", 1)


@pytest.fixture
def run(capsys):
    """Run `edgetrack bench`; return exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = main(["bench", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def twin(artifact):
    return shutil.copytree(artifact, artifact.parent / "twin-onnx-fp32")


def document(out: str) -> dict:
    found = json.loads(out)
    assert list(violations(found, SCHEMA)) == []
    return found


def test_the_checker_finds_what_is_wrong():
    assert SCHEMA["$id"] == bench.SCHEMA
    ratio = SCHEMA["$defs"]["ratio"]
    assert list(violations({"value": 1, "low": 0.5, "high": 2}, ratio)) == []
    assert list(violations({"value": -1, "low": True, "extra": 2}, ratio)) == [
        "$ has no high",
        "$.value is -1, below 0",
        "$.low is True, not ['number']",
        "$ has an unknown extra",
    ]


def test_a_tracker_with_language(run, tmp_path):
    """Without a sentence it is told the clip's own, and the document says what that cost."""
    pytest.importorskip("tokenizers")
    import tiny_language_artifact

    told = tiny_language_artifact.write_artifact(tmp_path / "told", boxless=True)
    code, out, _ = run(told, *QUICK, "--no-fresh", "--json")
    assert code == 0
    (entry,) = document(out)["contenders"]
    assert entry["text_ms"] > 0 == entry["stages_ms"]["text"]["max"]
    assert "text" not in entry["stage_notes"]
    frames = ("--source", demo.CLIP, "--init", "286,321,195,111")
    code, _, err = run(told, *QUICK, *frames, "--no-fresh")
    assert code == 5
    assert "follows what a text describes" in err


def test_text_in_an_update_is_seen(run, tmp_path, monkeypatch):
    """The stage would show it, if updates encoded what init has to."""
    pytest.importorskip("tokenizers")
    import tiny_language_artifact

    from edgetrack.runtime.tracker import Tracker

    told = tiny_language_artifact.write_artifact(tmp_path / "told", boxless=True)
    update = Tracker.update
    monkeypatch.setattr(
        Tracker,
        "update",
        lambda tracker, frame, **how: (tracker.encode_text("the man"), update(tracker, frame, **how))[1],
    )
    code, out, _ = run(told, *QUICK, "--no-fresh", "--json")
    assert code == 0
    (entry,) = document(out)["contenders"]
    assert entry["stages_ms"]["text"]["max"] > 0


def test_one_artifact(run, artifact, monkeypatch):
    monkeypatch.setattr(bench, "COLD_STARTS", 2)
    monkeypatch.setattr(bench, "MEMORY_UPDATES", 3)
    code, out, err = run(artifact, *QUICK, "--json")
    assert code == 0, err
    found = document(out)
    (entry,) = found["contenders"]
    assert found["clip"]["name"] == "demo/car.mp4"
    assert found["plan"]["interleaved"] is False
    assert (entry["name"], entry["updates"], entry["versus"]) == ("tiny-onnx-fp32", 6, None)
    assert entry["engine"] == {"engine": "onnxruntime", "device": "cpu", "threads": 1} | {
        "version": entry["engine"]["version"]
    }
    assert set(entry["stage_notes"]) == {"to_device", "from_device", "text"}
    assert entry["stage_notes"]["text"] == "none: the tracker reads no text"
    assert entry["stages_ms"]["run"]["p50"] > 0 == entry["stages_ms"]["to_device"]["max"]
    assert entry["fps"] == pytest.approx(1e3 * 6 / sum(entry["updates_ms"]), rel=0.01)
    cold = entry["cold_start"]
    assert len(cold["runs"]) == 2
    assert cold["median"]["to_first_box_ms"] > cold["median"]["load_ms"] > 0
    memory = entry["memory"]
    assert memory["interpreter"] <= memory["engine_import"] <= memory["load"] <= memory["peak"]


def test_compare_takes_turns_and_reports_ratios(run, artifact, twin, monkeypatch):
    code, out, err = run(artifact, twin, "--compare", *QUICK, "--no-fresh", "--json")
    assert code == 0, err
    found = document(out)
    first, second = found["contenders"]
    assert found["plan"]["interleaved"] is True
    assert (found["plan"]["settle"], found["plan"]["pause_s"]) == (1, 0.05)
    assert first["versus"] is None
    versus = second["versus"]
    assert versus["base"] == "tiny-onnx-fp32"
    assert versus["max_box_px"] == 0
    assert versus["fps_ratio"]["low"] <= versus["fps_ratio"]["value"] <= versus["fps_ratio"]["high"]
    assert versus["fps_ratio"]["value"] == pytest.approx(second["fps"] / first["fps"])
    assert versus["median_ratio"]["value"] == pytest.approx(first["total_ms"]["p50"] / second["total_ms"]["p50"])


def test_boxes_of_another_network_are_not_compared(run, artifact, twin):
    manifest = json.loads((twin / "edgetrack.json").read_text())
    manifest["model"]["variant"] = "another"
    (twin / "edgetrack.json").write_text(json.dumps(manifest))
    code, out, _ = run(artifact, twin, "--compare", *QUICK, "--no-fresh", "--json")
    assert code == 0
    assert document(out)["contenders"][1]["versus"]["max_box_px"] is None


def test_the_same_artifact_on_two_engines(run, artifact, twin):
    pytest.importorskip("openvino")
    code, out, err = run(artifact, artifact, "--compare", *QUICK, "--no-fresh", "--json", "--engine", "ov")
    assert code == 0, err
    found = document(out)
    assert [entry["name"] for entry in found["contenders"]] == ["tiny-onnx-fp32", "tiny-onnx-fp32 (2)"]
    assert {entry["engine"]["engine"] for entry in found["contenders"]} == {"openvino"}


def test_tables(run, artifact, twin):
    code, out, err = run(artifact, twin, "--compare", *QUICK, "--no-fresh", "--pace", 200)
    assert code == 0, err
    for part in ("cores", "demo/car.mp4: 65 frames of 768x432", "p99", "updates/s over 6 updates", "FPS ratio", "0 px"):
        assert part in out
    assert "0 ms for to_device, from_device; none: " in out
    assert "at 200 frames/s" in out


def test_without_compare_each_runs_alone(run, artifact, twin):
    code, out, _ = run(artifact, twin, *QUICK, "--no-fresh", "--json")
    assert code == 0
    found = document(out)
    assert [entry["versus"] for entry in found["contenders"]] == [None, None]
    assert (found["plan"]["settle"], found["plan"]["pause_s"]) == (0, 0)


def test_files(run, artifact, tmp_path):
    pytest.importorskip("matplotlib")
    picture, stored = tmp_path / "latency.png", tmp_path / "bench.json"
    code, out, _ = run(artifact, *QUICK, "--no-fresh", "--json", "--plot", picture, "--output", stored)
    assert code == 0
    assert json.loads(stored.read_text()) == document(out)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "latency.png", "tiny-onnx-fp32"]


def test_own_clip(run, artifact):
    words = ("--source", demo.CLIP, "--init", "286,321,195,111", *QUICK, "--no-fresh", "--json")
    code, out, _ = run(artifact, *words)
    assert code == 0
    assert document(out)["clip"]["box"] == [286, 321, 195, 111]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--compare",), 2, "several artifacts"),
        (("--reference", "stand-in"), 2, "add --compare"),
        (("--source", "x.mp4"), 2, "both or neither"),
        (("--init", "1,2,3,4"), 2, "both or neither"),
        (("--frames", "0"), 2, "--frames"),
        (("--duration", "0"), 5, "--duration is 0.0, must be above 0"),
        (("--pace", "-3"), 5, "--pace is -3.0"),
        (("--engine", "tflite"), 4, "unknown engine 'tflite'"),
        (("--device", "tpu"), 4, "no device 'tpu'"),
        (("--source", "x.mp4", "--init", "1,2,3,4"), 5, "x.mp4 does not exist"),
        (("--output", "nowhere/x.json"), 5, "cannot write nowhere/x.json"),
        (("--plot", "nowhere/x.png"), 5, "cannot write nowhere/x.png"),
        (("--compare", "--reference", "stand-in"), 5, "unknown model 'fartrack-tiny-test'"),
    ],
)
def test_errors(run, artifact, tmp_path, monkeypatch, words, code, message):
    if "--reference" in words:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    result, out, err = run(artifact, "--no-fresh", *words)
    (line,) = [line for line in err.splitlines() if line.startswith("edgetrack: ")]
    assert (result, out) == (code, "")
    assert message in line


def test_an_error_in_a_fresh_process_arrives_as_itself(run, artifact):
    code, _, err = run(artifact, *QUICK, "--device", "tpu")
    assert code == 4
    assert "no device 'tpu'; available: cpu" in err


def test_a_damaged_artifact_is_5(run, artifact):
    (artifact / "search.onnx").write_bytes(b"")
    code, _, err = run(artifact, *QUICK)
    assert code == 5
    assert "sha256" in err


def test_plot_without_matplotlib_is_4(run, artifact, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    code, _, err = run(artifact, *QUICK, "--no-fresh", "--plot", tmp_path / "x.png")
    assert code == 4
    assert "pip install 'edgetrack[plot]'" in err
