"""The table of precisions: its goals and page from a stored document, and what the program refuses."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("onnxruntime")

from edgetrack.benchmarks import precisions, results
from edgetrack.benchmarks.accuracy.records import SequenceRecord
from edgetrack.benchmarks.precisions_page import COLUMNS, cells, precision_goals, precision_section
from edgetrack.errors import InputError


def row(variant="fartrack-pico", engine="onnxruntime", precision="int8", **changed):
    ratio = None if precision == "fp32" else {"value": 1.5, "low": 1.4, "high": 1.6}
    return {
        "variant": variant,
        "target": "onnx",
        "engine": engine,
        "precision": precision,
        "error": None,
        "version": "1",
        "weights": "checkpoint",
        "fps": 90.0,
        "fps_ratio": ratio,
        "bytes": 4_000_000,
        "size_ratio": 0.3,
        "verdict": "passed",
        "islands": 2,
        "int8_path": {"search": {"path": "dynamic", "probe_ms": {}}} if precision == "int8" else None,
        "auc": 41.2,
        "iou": None if precision == "fp32" else 0.995,
        "iou_followed": None if precision == "fp32" else 0.997,
        **changed,
    }


def document(*rows, **changed):
    told = {
        "threads": 2,
        "updates": 320,
        "calibration": "train",
        "data": ["eval"],
        "sequences": [{"name": "a", "frames": 20}],
        "others_share": 0.01,
    }
    return {**told, "rows": list(rows), **changed}


def reached(*rows, **changed):
    return [goal.reached for goal in precision_goals(document(*rows, **changed))]


GOOD = (row(), row("fartrack-tiny", weights="stand-in", auc=None), row(precision="fp16"))


def test_goals_of_a_good_table():
    assert reached(*GOOD) == [True] * 6


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({"fps_ratio": {"value": 1.24, "low": 1.2, "high": 1.3}}, {0}),
        ({"size_ratio": 0.351}, {1}),
        ({"iou": 0.949}, {5}),
        ({"iou": 0.93, "weights": "stand-in"}, set()),
        ({"iou": 0.89, "weights": "stand-in"}, {5}),
        ({"error": "no"}, {0, 1, 5}),
    ],
)
def test_goal_that_is_missed(changed, missed):
    found = reached(row(**changed), *GOOD[1:])
    assert {index for index, good in enumerate(found) if not good} == missed


def test_fp16_has_one_limit_whatever_the_weights():
    assert reached(*GOOD[:2], row(precision="fp16", iou=0.98, weights="stand-in"))[4] is False


def test_what_was_not_measured_is_on_the_list_and_not_reached():
    found = precision_goals(None)
    assert len(found) == 6
    assert {(goal.found, goal.reached) for goal in found} == {("not measured", False)}
    assert [goal.disturbed for goal in precision_goals(document(*GOOD, others_share=0.5))][:1] == [True]


def test_page_has_a_row_for_each_cell_of_the_table():
    made = document(row(precision="fp32"), *GOOD, row("fartrack-tiny", precision="fp16", error="no such kernel"))
    page = "\n".join(precision_section(made))
    lines = [line for line in page.splitlines() if line.startswith("| fartrack")]
    assert len(lines) == 5
    assert all(line.count("|") == len(COLUMNS) + 1 for line in lines)
    assert (
        "1.50x | 1.40 to 1.60 | 4.0 | 0.30x | 0.995 | 0.997 | 41.2 | 2 layers kept in fp32; dynamic ranges" in lines[1]
    )
    assert "stand-in weights" in lines[2]
    assert "no such kernel" in lines[4]
    assert list(precision_section(None)) == []
    assert cells(row(verdict="failed"))[-1].startswith("gate: failed")


def record(truth, boxes):
    count = len(boxes)
    told = {"boxes": boxes, "raw_boxes": boxes, "scores": [1.0] * count, "raw_scores": [1.0] * count}
    return SequenceRecord("a", "d", "a", 90, 60, truth, **told, states=["TRACKING"] * count, seconds=[0.0] * count)


def test_overlap_of_loops_in_all_frames_and_where_the_base_follows():
    here, half, away = [0, 0, 10, 10], [5, 0, 10, 10], [60, 0, 10, 10]
    truth = [here, here, here, here, None]
    base = record(truth, [here, here, here, away, here])
    other = record(truth, [away, here, half, away, away])
    overall, followed = precisions._overlap([base], [other])
    assert overall == pytest.approx((1 + 1 / 3 + 1 + 0) / 4)
    assert followed == pytest.approx((1 + 1 / 3) / 2)
    assert precisions._overlap([record(truth, [away] * 5)], [other])[1] is None


def test_fp32_of_a_later_engine_is_held_against_the_first(monkeypatch, tmp_path):
    here, half = [0, 0, 10, 10], [5, 0, 10, 10]
    boxes = {"onnx": [here, here, here], "openvino": [half, half, here]}

    def group(variant, target, setting):
        base = record([here] * 3, boxes[target])
        return precisions._Group([row(variant, target, "fp32"), row(variant, target, "fp16")], 0.01, [base])

    monkeypatch.setattr(precisions, "_group", group)
    monkeypatch.setattr(precisions, "read_sequences", lambda data, only: [])
    words = ["--calib", "a", "--data", "b", "--variants", "one", "--work", str(tmp_path / "work")]
    target = tmp_path / "made.json"
    assert precisions.main([*words, "--output", str(target)]) == 0
    made = json.loads(target.read_text())
    assert [item["iou"] for item in made["rows"]] == [None, 0.995, pytest.approx((1 / 3 + 1) / 2), 0.995]
    assert [cells(item)[8] for item in made["rows"]] == ["1", "0.995", "0.667", "0.995"]


def test_part_needs_both_kinds_of_data(tmp_path, capsys):
    common = ["--folder", str(tmp_path), "--work", str(tmp_path), "--only", "precisions"]
    assert results.main([*common, "--calib", "a"]) == InputError.exit_code
    assert "give both or neither" in capsys.readouterr().err
    chosen = results._parser().parse_args([*common, "--calib", "a", "--data", "b"])
    (part,) = results._precisions(chosen, tmp_path)
    assert part.name == "precisions"
    assert part.module == "edgetrack.benchmarks.precisions"
    assert list(results._precisions(results._parser().parse_args(common), tmp_path)) == []


def test_clips_that_were_calibrated_with_are_refused(tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    import numpy as np

    folder = tmp_path / "clips" / "one"
    (folder / "img").mkdir(parents=True)
    for index in (1, 2):
        cv2.imwrite(str(folder / "img" / f"{index:08d}.jpg"), np.zeros((40, 40, 3), np.uint8))
    (folder / "groundtruth.txt").write_text("5,5,9,9\n5,5,9,9\n")
    data = str(tmp_path / "clips")
    words = ["--calib", data, "--data", f"sequences:{data}", "--work", str(tmp_path / "work")]
    assert precisions.main(words) == InputError.exit_code
    assert "sequence one is in what int8 is calibrated with" in capsys.readouterr().err
