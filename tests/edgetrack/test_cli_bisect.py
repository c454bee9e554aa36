"""`edgetrack verify --bisect`: exit codes, messages, files."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

pytest.importorskip("typer")
pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("matplotlib")
cv2 = pytest.importorskip("cv2")

import onnx  # noqa: E402
import toy_family  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from edgetrack.artifact import MANIFEST_NAME, sha256_of  # noqa: E402
from edgetrack.cli import main  # noqa: E402
from edgetrack.export.standin import synth_box, synth_frame  # noqa: E402

ARTIFACT = "toy-one-onnx-fp32"


@pytest.fixture
def run(capsys):
    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def clip(tmp_path, monkeypatch, run) -> tuple[str, ...]:
    """A clip, beside it an artifact and a copy of it, in the current folder."""
    toy_family.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip").mkdir()
    for index in range(9):
        cv2.imwrite(str(tmp_path / "clip" / f"{index}.png"), synth_frame(index, 90, 120)[..., ::-1])
    words = ("--clip", "clip", "--init", ",".join(f"{value:.2f}" for value in synth_box(0, 90, 120)))
    assert run("export", "toy-one", "--weights", "stand-in", *words)[0] == 0
    shutil.copytree(ARTIFACT, "other")
    return words


def corrupt(folder, weight):
    """Change one number of a weight of the search graph, and the checksum with it."""
    path, manifest = folder / "search.onnx", folder / MANIFEST_NAME
    model = onnx.load(str(path))
    item = next(item for item in model.graph.initializer if item.name == weight)
    array = numpy_helper.to_array(item).copy()
    array.flat[0] += 0.5
    item.CopyFrom(numpy_helper.from_array(array, weight))
    onnx.save(model, str(path))
    told = json.loads(manifest.read_text())
    next(graph for graph in told["graphs"] if graph["role"] == "search")["sha256"]["search.onnx"] = sha256_of(path)
    manifest.write_text(json.dumps(told))


def test_sound_artifacts_have_no_first_layer(run, clip, tmp_path):
    code, out, err = run("verify", ARTIFACT, "--bisect", *clip)
    assert code == 0, err
    assert "no layer differs by more than 0.0001" in out
    code, out, err = run("verify", ARTIFACT, "other", "--bisect", *clip, "--frame", 3, "-o", "found", "--json")
    assert code == 0, err
    told = json.loads(out)["bisect"]
    assert (told["first"], told["frame"]) == (None, 3)
    assert {layer["role"] for layer in told["layers"]} == {"template", "search"}
    with (tmp_path / "found" / "layers.csv").open() as stream:
        assert [row["tensor"] for row in csv.DictReader(stream)] == [layer["tensor"] for layer in told["layers"]]


@pytest.mark.parametrize("against", [(), ("other",)])
def test_corrupted_layer_is_named_and_drawn(run, clip, tmp_path, against):
    corrupt(tmp_path / ARTIFACT, "move.weight")
    code, out, err = run("verify", ARTIFACT, *against, "--bisect", *clip)
    assert code == 3, err
    assert "first at layer move.linear" in out
    assert "first at layer move.linear" in err.splitlines()[-1]
    assert (tmp_path / f"{ARTIFACT}-bisect" / "error.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("verify", ARTIFACT, *against, "--bisect", *clip, "--limit", 100, "--json")
    assert (code, json.loads(out)["bisect"]["first"]) == (0, None)


@pytest.mark.parametrize(
    ("words", "exit_code", "hint"),
    [
        (("--limit", 1), 2, "only together with --bisect"),
        (("--bisect", "--limit", 0), 2, "give a number above 0"),
        (("--bisect", "--device", "cuda"), 2, "on the CPU"),
        (("--bisect", "--frame", 9), 5, "none of number 9"),
        (("--bisect", "-o", f"{ARTIFACT}/search.onnx/x"), 5, "choose another --output"),
    ],
)
def test_what_cannot_be(run, clip, words, exit_code, hint):
    code, _, err = run("verify", ARTIFACT, *clip, *words)
    assert (code, hint in err) == (exit_code, True), err
