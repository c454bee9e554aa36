"""The tuning table: its cells, which rows are best, and that it goes on where it was."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")

import toy_family
from accuracy_case import write_sequence
from toy_family import ToyCore

from edgetrack.benchmarks.accuracy import tune as module
from edgetrack.benchmarks.accuracy.sequences import read_sequences
from edgetrack.benchmarks.accuracy.tune import Choice, TuneOptions, mark_best, plan_cells, table_rows, tune
from edgetrack.benchmarks.frames import Footage
from edgetrack.errors import InputError, ParityError
from edgetrack.export.parity import clip as clips
from edgetrack.export.precision import CalibrationPlan
from edgetrack.export.standin import synth_box, synth_frame


class Bar:
    def advance(self, steps: int = 1) -> None:
        pass

    def stage(self, label: str) -> None:
        pass


@pytest.fixture
def short_clip(monkeypatch, tmp_path):
    """Replaces edgetrack's clip by nine small frames, for the gate and for the timing."""
    import cv2

    folder = tmp_path / "clip"
    folder.mkdir()
    for index in range(9):
        cv2.imwrite(str(folder / f"{index}.png"), synth_frame(index, 90, 120)[..., ::-1])
    box = synth_box(0, 90, 120)
    monkeypatch.setattr("edgetrack.export.pipeline.demo_clip", lambda: clips.open_clip(folder, box))
    frames = [synth_frame(index, 90, 120) for index in range(9)]
    monkeypatch.setattr(module, "load_footage", lambda: Footage("short", frames, box))


@pytest.fixture
def toy(monkeypatch, short_clip):
    toy_family.install(monkeypatch)


def test_cells_span_the_table_and_none_comes_twice(tmp_path):
    pytest.importorskip("openvino")
    choice = Choice((4, 6), (37, 12), ("fp32", "fp16"))
    plans = plan_cells("fartrack-tiny", "stand-in", choice, target="openvino", seed=0, folder=tmp_path)
    names = [plan.output.name for plan in plans]
    assert names[:2] == ["fartrack-tiny-d4-openvino-fp32", "fartrack-tiny-d4-openvino-fp16"]
    assert names[-1] == "fartrack-pico-k12-openvino-fp16"
    assert len(names) == 8
    twice = plan_cells("fartrack-pico", "stand-in", Choice((None, 6)), target="onnx", seed=0, folder=tmp_path)
    assert [plan.variant for plan in twice] == ["fartrack-pico"]
    thresholds = Choice(division_thresholds=(0.0, 0.5, 0.4))
    plans = plan_cells("grm-256", "stand-in", thresholds, target="onnx", seed=0, folder=tmp_path)
    assert [plan.variant for plan in plans] == ["grm-256", "grm-256-t40"]
    with pytest.raises(InputError, match="ostrack-256 takes no division threshold"):
        plan_cells("ostrack-256", "stand-in", thresholds, target="onnx", seed=0, folder=tmp_path)
    with pytest.raises(InputError, match="depth is 99"):
        plan_cells("fartrack-pico", "stand-in", Choice((99,)), target="onnx", seed=0, folder=tmp_path)
    with pytest.raises(InputError, match="int4"):
        plan_cells("fartrack-pico", "stand-in", Choice(precisions=("int4",)), target="onnx", seed=0, folder=tmp_path)


def test_best_rows_are_beaten_by_none():
    figures = [(60, 100), (60, 90), (70, 50), (65, 50), (70, 50), (50, 100)]
    rows = [{"auc": auc, "fps": speed, "error": None, "unproven": None} for auc, speed in figures]
    rows.append({"auc": None, "fps": None, "error": "failed", "unproven": None})
    rows.append({"auc": 99, "fps": 999, "error": None, "unproven": "boxes differ"})
    mark_best(rows)
    assert [row["best"] for row in rows] == [True, False, True, False, True, False, False, False]


def test_a_table_is_measured_and_goes_on(toy, tmp_path, monkeypatch):
    write_sequence(tmp_path / "data" / "one", 4)
    sequences = read_sequences([f"sequences:{tmp_path / 'data'}"])
    folder = tmp_path / "out"

    def run(options=None):
        plans = plan_cells("toy-one", "stand-in", Choice(), target="onnx", seed=0, folder=folder)
        options = TuneOptions(folder, threads=1, updates=8, plots=False)
        return tune(plans, sequences, options, data=["data"], progress=Bar())

    document = run()
    assert json.loads((folder / "tune.json").read_text()) == document
    assert (document["kind"], document["schema"]) == ("edgetrack-tune", 1)
    (row,) = document["rows"]
    assert row["best"]
    assert (row["variant"], row["depth"], row["kept"], row["precision"]) == ("toy-one", 1, None, "fp32")
    assert 0 <= row["auc"] <= 100
    assert row["fps"] > 0
    assert row["mb"] > 0
    assert (folder / "eval" / "toy-one-onnx-fp32" / "eval.json").is_file()
    (cells,) = table_rows(document)
    assert cells[:5] == ("*", "1", "-", "-", "fp32")

    def refuse(*args, **options):
        raise AssertionError("the artifact was there")

    monkeypatch.setattr(module, "run_plan", refuse)
    assert run()["rows"][0]["auc"] == row["auc"]


def one_cell(tmp_path):
    write_sequence(tmp_path / "data" / "one", 4)
    plans = plan_cells("toy-one", "stand-in", Choice(), target="onnx", seed=0, folder=tmp_path / "out")
    options = TuneOptions(tmp_path / "out", threads=1, updates=8, plots=False)
    document = tune(plans, read_sequences([str(tmp_path / "data")]), options, data=["data"], progress=Bar())
    return document["rows"][0], table_rows(document)[0]


def test_a_cell_that_fails_the_gate_is_measured_and_marked(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(ToyCore, "box_error", 1.0)
    row, cells = one_cell(tmp_path)
    assert row["error"] is None
    assert "boxes differ" in row["unproven"]
    assert 0 <= row["auc"] <= 100
    assert not row["best"]
    assert (cells[0], cells[-1]) == ("", "fails the gate")


def test_a_cell_that_cannot_be_built_has_no_figures(toy, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise ParityError("8 bits cost more than the budget")

    monkeypatch.setattr(module, "run_plan", refuse)
    row, cells = one_cell(tmp_path)
    assert row["error"] == "8 bits cost more than the budget"
    assert (row["auc"], row["fps"], row["best"]) == (None, None, False)
    assert (cells[5], cells[-1]) == ("-", "cannot be built")


def test_artifacts_of_other_weights_are_built_again(toy, tmp_path):
    plan = plan_cells("toy-one", "stand-in", Choice(), target="onnx", seed=0, folder=tmp_path)[0]
    assert not module._is_built(plan)
    module.run_plan(plan)
    assert module._is_built(plan)
    other = plan_cells("toy-one", "stand-in", Choice(), target="onnx", seed=1, folder=tmp_path)[0]
    assert not module._is_built(other)
    checkpoint = tmp_path / "weights.pt"
    checkpoint.write_bytes(b"other")
    from_file = plan_cells("toy-one", str(checkpoint), Choice(), target="onnx", seed=0, folder=tmp_path)[0]
    assert not module._is_built(from_file)


def test_an_artifact_calibrated_otherwise_is_built_again(toy, tmp_path):
    plan = plan_cells("toy-one", "stand-in", Choice(), target="onnx", seed=0, folder=tmp_path)[0]
    module.run_plan(plan)
    manifest = plan.output / "edgetrack.json"
    asked = CalibrationPlan("clips", frames=16)
    found = {**asked.as_dict(), "clips": ["one", "two"], "count": 16}
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "calibration": found}))
    assert module._is_built(replace(plan, calibration=asked))
    assert not module._is_built(replace(plan, calibration=replace(asked, seed=1)))


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    from edgetrack.benchmarks.accuracy.plots import write_trade_off

    row = {"fps": 40.0, "auc": 60.0, "best": True, "unproven": None, "depth": 6, "kept": 37, "precision": "fp32"}
    write_trade_off([row, {**row, "best": False, "fps": 20.0}], tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
