"""`edgetrack track`: what is in its files, and when there are none."""

from __future__ import annotations

import json
import os

import pytest

from edgetrack import demo
from edgetrack.cli import main

pytest.importorskip("typer")
pytest.importorskip("cv2")


@pytest.fixture
def track(capsys, artifact):
    """Run `edgetrack track` on the demo clip in this process; return its exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        usual = ("track", artifact, "--source", demo.CLIP, "--init", "286,321,195,111", "--threads", "1")
        code = main([str(word) for word in (*usual, *words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize("results_format", ["got10k", "json"])
def test_box_files_hold_the_published_boxes(track, artifact, tmp_path, results_format):
    manifest = json.loads((artifact / "edgetrack.json").read_text())
    manifest["tracker"]["score"]["calibration"] = {"slope": 1.0, "intercept": -50.0}
    (artifact / "edgetrack.json").write_text(json.dumps(manifest))
    path = tmp_path / "boxes"
    words = ("--boxes", path, "--results-format", results_format, "--max-frames", 3)
    assert track(*words)[0] == 0
    if results_format == "got10k":
        rows = path.read_text().splitlines()
        assert len(set(rows)) == 3
        return
    frames = json.loads(path.read_text())["frames"]
    assert [frame["state"] for frame in frames[1:]] == ["LOST", "LOST"]
    assert frames[2]["box"] == frames[0]["box"] == frames[0]["raw_box"]
    assert frames[2]["raw_box"] != frames[0]["raw_box"]


@pytest.mark.parametrize(
    ("output", "boxes", "results_format"),
    [
        ("a.mp4", "./a.mp4", "json"),
        ("a_time.txt", "a.txt", "got10k"),
        ("link.mp4", "a.mp4", "json"),
    ],
)
def test_two_outputs_of_one_name_are_wrong_usage(track, artifact, tmp_path, monkeypatch, output, boxes, results_format):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    code, out, err = track("--output", output, "--boxes", boxes, "--results-format", results_format)
    assert (code, out) == (2, "")
    assert "would be written twice" in err


def test_an_interrupt_before_the_first_frame_writes_nothing(track, artifact, tmp_path, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgetrack.cli.track._step", interrupt)
    before = sorted(os.listdir(tmp_path))
    words = ("--output", tmp_path / "out.mp4", "--boxes", tmp_path / "boxes.txt", "--json")
    code, out, _ = track(*words)
    assert code == 130
    assert json.loads(out)["written"] == []
    assert sorted(os.listdir(tmp_path)) == before
