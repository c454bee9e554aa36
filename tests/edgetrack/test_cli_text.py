"""Sentences on the command line: track, bench and encode with a tracker that reads them, and without."""

from __future__ import annotations

import json
import shutil

import pytest

from edgetrack import demo
from edgetrack.cli import main
from edgetrack.runtime.target_pack import read_pack

pytest.importorskip("typer")
pytest.importorskip("cv2")
pytest.importorskip("onnx")
pytest.importorskip("tokenizers")
import tiny_language_artifact

BOX = ("--init", "286,321,195,111")
CLIP = ("--source", demo.CLIP, "--max-frames", 4)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    return {name: tiny_language_artifact.write_artifact(folder / name, boxless=name == "alone") for name in NAMES}


NAMES = ("told", "alone")


@pytest.fixture
def run(capsys):
    def call(*words: object) -> tuple[int, str, str]:
        code = main([*map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def last_box(out: str) -> list[float]:
    return json.loads(out)["last_box"]


def test_track_with_a_sentence(run, written):
    boxes = []
    for text in ("the white man", "the red car"):
        code, out, _ = run("track", written["told"], *CLIP, *BOX, "--text", text, "--json")
        assert code == 0
        boxes.append(last_box(out))
    assert boxes[0] != boxes[1]
    code, out, _ = run("track", written["told"], *CLIP, *BOX, "--json")
    assert code == 0
    assert last_box(out) not in boxes


def test_track_by_a_sentence_alone(run, written):
    code, out, _ = run("track", written["alone"], *CLIP, "--text", "the man", "--json")
    assert code == 0
    assert json.loads(out)["frames"] == 4
    code, _, err = run("track", written["alone"], *CLIP)
    assert (code, "say which target" in err) == (2, True)
    code, _, err = run("track", written["told"], *CLIP, "--text", "the man")
    assert (code, "needs the target's box" in err) == (2, True)


def test_encode_and_track_with_the_pack(run, written, tmp_path):
    pack = tmp_path / "car.pack"
    code, out, _ = run("encode", written["told"], "--text", "the red car", "--output", pack, "--json")
    assert code == 0
    assert json.loads(out)["arrays"] == {"text": [1, 16, 4]}
    assert read_pack(pack).text == "the red car"
    _, by_text, _ = run("track", written["told"], *CLIP, *BOX, "--text", "the red car", "--json")
    code, by_pack, _ = run("track", written["told"], *CLIP, *BOX, "--pack", pack, "--json")
    assert code == 0
    assert last_box(by_pack) == last_box(by_text)
    code, _, err = run("track", written["told"], *CLIP, *BOX, "--pack", pack, "--text", "the red car")
    assert (code, "give one of them" in err) == (2, True)
    other = shutil.copytree(written["told"], tmp_path / "other")
    tiny_language_artifact.change(other, lambda content: content["model"].update(variant="another"))
    code, _, err = run("track", other, *CLIP, *BOX, "--pack", pack)
    assert code == 5
    assert "car.pack was made for language-toy-test, this tracker is another" in err


def test_encode_prints_a_line(run, written, tmp_path):
    code, out, _ = run("encode", written["told"], "--text", "man", "--output", tmp_path / "man.pack")
    assert code == 0
    assert "for language-toy-test" in out
    assert run("encode", written["told"], "--text", "man", "--output", tmp_path / "none" / "man.pack")[0] == 5


@pytest.mark.parametrize("text", ["", " \n", "man " * 2500, "\x00"])
def test_text_that_cannot_be_used(run, written, tmp_path, text):
    code, out, err = run("track", written["told"], *CLIP, *BOX, "--text", text, "--boxes", tmp_path / "boxes.txt")
    assert (code, out) == (5, "")
    assert "Traceback" not in err
    assert "the text" in err.strip().splitlines()[-1]
    assert not (tmp_path / "boxes.txt").exists()
    assert run("encode", written["told"], "--text", text, "--output", tmp_path / "man.pack")[0] == 5
    assert not (tmp_path / "man.pack").exists()


def test_a_sentence_for_a_tracker_without_language(run, artifact, tmp_path):
    for words in (
        ("track", artifact, *CLIP, *BOX, "--text", "the man"),
        ("encode", artifact, "--text", "the man", "--output", tmp_path / "man.pack"),
        ("bench", artifact, "--text", "the man", "--frames", 4, "--warmup", 0, "--no-fresh"),
    ):
        code, _, err = run(*words)
        assert code == 5
        assert "reads no text" in err
    code, _, err = run("track", artifact, *CLIP)
    assert (code, "--init" in err) == (2, True)


def test_bench_with_a_sentence(run, written, tmp_path):
    quick = ("--frames", 4, "--warmup", 0, "--no-fresh", "--threads", 1)
    code, out, _ = run("bench", written["told"], "--text", "the man", *quick)
    assert code == 0
    assert "ms once per target, part of init; at most 0.000 ms in an update" in out
    code, out, _ = run("bench", written["told"], "--text", "the man", *quick, "--json")
    (entry,) = json.loads(out)["contenders"]
    assert entry["text_ms"] > 0 == entry["stages_ms"]["text"]["max"]
    pack = tmp_path / "man.pack"
    assert run("encode", written["told"], "--text", "the man", "--output", pack)[0] == 0
    assert run("bench", written["told"], "--pack", pack, *quick)[0] == 0
