"""The comparison with float32 at the end of an export: the manifest, the one line, and what is not measured."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("typer")
pytest.importorskip("torch")
pytest.importorskip("onnxscript")
cv2 = pytest.importorskip("cv2")

import toy_family  # noqa: E402

from edgetrack.artifact import read_artifact  # noqa: E402
from edgetrack.benchmarks import speed_check  # noqa: E402
from edgetrack.benchmarks.loop import Series  # noqa: E402
from edgetrack.cli import main  # noqa: E402
from edgetrack.cli.speed import in_words  # noqa: E402
from edgetrack.export.standin import synth_box, synth_frame  # noqa: E402


@pytest.fixture
def export(monkeypatch, tmp_path, capsys):
    toy_family.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip").mkdir()
    for index in range(9):
        cv2.imwrite(str(tmp_path / "clip" / f"{index}.png"), synth_frame(index, 90, 120)[..., ::-1])
    box = ",".join(f"{value:.2f}" for value in synth_box(0, 90, 120))

    def call(*words):
        common = ("export", "toy-one", "--weights", "stand-in", "--clip", "clip", "--init", box, "--output", "made")
        code = main([*common, *words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def timed(monkeypatch):
    """Say how long the loops of the float32 artifact and of the other take, and see what was measured."""
    seen = []

    def install(base_ms, other_ms):
        def measure(contenders, footage, plan, progress):
            seen.extend([len(footage.frames), len(contenders)])
            return [
                Series(ms=[ms + 0.01 * (index % 3) for index in range(32)], blocks=[index // 8 for index in range(32)])
                for ms in (base_ms, other_ms)
            ]

        monkeypatch.setattr(speed_check, "measure", measure)
        return seen

    return install


def speed_of(folder="made"):
    return read_artifact(folder).manifest["precision"].get("speed")


def test_slower_precision_is_said_in_one_line_and_kept(export, timed, capsys):
    seen = timed(5.0, 10.0)
    code, _, err = export("--precision", "fp16")
    assert code == 0, err
    said = [line for line in err.splitlines() if "warning" in line and "faster" in line]
    assert len(said) == 1
    assert "fp16 is not faster than fp32: 0.50x" in said[0]
    found = speed_of()
    assert (found["faster"], found["frames"]) == (False, 32)
    assert found["ratio"] == pytest.approx(0.5, abs=0.005)
    assert found["fps"] < found["fp32_fps"]
    assert seen == [9, 2], "the clip's frames, two loops"
    assert main(["info", "made"]) == 0
    assert "not faster than fp32: 0.50x" in capsys.readouterr().out


def test_faster_precision_is_said_without_a_warning(export, timed):
    timed(10.0, 5.0)
    code, out, err = export("--precision", "fp16", "--threads", "1")
    assert code == 0, err
    assert "fp16 is faster than fp32: 2.00x" in out
    assert "not faster" not in err
    assert (speed_of()["faster"], speed_of()["threads"]) == (True, 1)


def test_what_the_interval_does_not_show_is_not_called_faster(export, timed):
    timed(5.0, 5.0)
    export("--precision", "fp16")
    assert speed_of()["faster"] is False


def test_real_loops(export, monkeypatch):
    monkeypatch.setattr(
        speed_check.compare_speed,
        "__kwdefaults__",
        {"threads": None, "plan": speed_check.Plan(updates=8, warmup=0, block=4)},
    )
    code, out, err = export("--precision", "fp16", "--json")
    assert code == 0, err
    told = json.loads(out)["speed"]
    assert told == speed_of()
    assert told["frames"] == 8
    assert min(told["fps"], told["fp32_fps"], told["low"]) > 0


@pytest.mark.parametrize(("words", "why"), [(("--no-speed-check",), "not wanted")])
def test_not_measured(export, timed, words, why):
    seen = timed(5.0, 10.0)
    code, _, err = export("--precision", "fp16", *words)
    assert code == 0, err
    assert speed_of() == {"not_measured": why}
    assert "fp32" not in err, "who does not want it knows"
    assert not seen


def test_float32_has_nothing_to_compare_with(export, timed):
    seen = timed(5.0, 10.0)
    code, _, err = export()
    assert code == 0, err
    assert speed_of() is None
    assert not seen


@pytest.mark.parametrize("speed", [None, 3, [], {}, {"fps": "many"}, {"fps": 1.0, "fp32_fps": None}])
def test_manifest_from_elsewhere(speed):
    assert in_words(speed) is None
