"""`edgetrack pack`: what it says and writes."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("cv2")
pytest.importorskip("typer")

from data_sets import sequence, stills

from edgetrack.cli import main
from edgetrack.data import PackedSource


@pytest.fixture
def run(capsys):
    """Run `edgetrack pack` in this process; return its exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = main(["pack", *map(str, words)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def data(tmp_path):
    sequence(tmp_path / "seqs" / "one")
    stills(tmp_path / "pics", {"1.jpg": [[1, 2, 30, 20], [4, 5, 20, 20]]})
    return tmp_path


def test_data_sets_are_packed_together(run, data):
    output = data / "all.etpack"
    words = (data / "seqs", f"images:{data / 'pics'}", "--output", output, "--side", 32, "--quality", 70, "--json")
    code, out, _ = run(*words)
    assert code == 0
    summary = json.loads(out)
    assert summary == {
        "output": str(output),
        "tracks": 3,
        "frames": 6,
        "images": 5,
        "absent": 0,
        "reduced": 5,
        "kept": 0,
        "size_bytes": output.stat().st_size,
    }
    with PackedSource(output) as source:
        assert [track.name for track in source.tracks] == ["one", "pics/1#0", "pics/1#1"]
        assert source.settings == {"side": 32, "quality": 70, "encoding": "jpeg"}


def test_the_line_for_people(run, data):
    output = data / "all.etpack"
    code, out, err = run(data / "seqs", "-o", output, "--side", 0, "--encoding", "webp")
    assert code == 0
    assert out.startswith(f"{output}: 0.0 MiB, 4 images (0 reduced, ")
    assert "1 tracks, 4 frames (0 without the target)" in out
    assert "packing images" in err
    with PackedSource(output) as source:
        assert source.settings == {"side": None, "quality": 85, "encoding": "webp"}


def test_bad_data_give_one_line_and_nothing_else(run, data):
    (data / "seqs" / "one" / "img" / "00000003.jpg").write_bytes(b"\xff\xd8 no more")
    before = sorted(os.listdir(data))
    code, out, err = run(data / "seqs", "--output", data / "all.etpack")
    assert (code, out) == (5, "")
    assert "00000003.jpg is damaged" in err.splitlines()[-1]
    assert sorted(os.listdir(data)) == before


@pytest.mark.parametrize("words", [(), ("--quality", "0"), ("--side", "-1"), ("--encoding", "gif")])
def test_wrong_usage(run, data, words):
    code, out, err = run(data / "seqs", *(("--output", data / "a.etpack") if words else ()), *words)
    assert (code, out) == (2, "")
    assert "--help" in err
