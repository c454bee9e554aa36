"""The commands eval, calibrate and tune: exit codes, messages, files."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")

from accuracy_case import write_fates, write_sequence

from edgetrack.cli import main


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def data(tmp_path) -> str:
    write_sequence(tmp_path / "data" / "first", 5)
    write_sequence(tmp_path / "data" / "second", 5, absent=2, seed=7)
    return f"sequences:{tmp_path / 'data'}"


@pytest.fixture
def two_fates(run, artifact, tmp_path) -> str:
    """Sequences that are followed and ones that are lost, tracked into x; raw scores, all 1, are made to differ."""
    write_fates(tmp_path / "fates")
    spec = f"sequences:{tmp_path / 'fates'}"
    assert run("eval", artifact, "--data", spec, "--threads", 1, "--no-plots", "-o", "x")[0] == 0
    generator = np.random.default_rng(2)
    for path in sorted((tmp_path / "x" / "sequences").iterdir()):
        document = json.loads(path.read_text())
        low = 0.4 if path.name.startswith("rests") else 0.1
        document["record"]["raw_scores"] = [0.0, *generator.uniform(low, low + 0.5, 3).tolist()]
        path.write_text(json.dumps(document))
    return spec


def test_eval_shows_a_table_and_its_conventions(run, artifact, data, tmp_path):
    code, out, err = run("eval", artifact, "--data", data, "--threads", 1, "--no-plots")
    assert (code, "stand-in weights" in err) == (0, True)
    lines = out.splitlines()
    assert lines[1].split()[:4] == ["sequence", "frames", "absent", "AUC"]
    assert [line.split()[0] for line in lines[2:5]] == ["first", "second", "all"]
    assert "boxes cut to integers" in out
    assert "first frame not scored" in out
    assert "absent frames" in out
    assert (tmp_path / "eval-tiny-onnx-fp32" / "eval.json").is_file()
    code, again, _ = run("eval", artifact, "--data", data, "--threads", 1, "--no-plots")
    assert (code, again) == (0, out)  # nothing was tracked again, not even the times changed


def test_eval_as_json(run, artifact, data):
    code, out, _ = run("eval", artifact, "--data", data, "--only", "first", "--no-plots", "--json", "-o", "x")
    document = json.loads(out)
    assert (code, document["schema"], document["overall"]["sequences"]) == (0, 1, 1)
    assert document["subject"]["kind"] == "artifact"


def test_eval_refuses_what_does_not_go_together(run, artifact, data, tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"no checkpoint")
    for words, code, message in (
        ((artifact, "--data", data, "--model", "fartrack-pico"), 2, "is for a checkpoint"),
        (("stand-in", "--data", data), 2, "say which network"),
        (("weights.pt", "--data", data), 2, "say which network"),
        (("stand-in", "--model", "nothing", "--data", data), 2, "unknown model"),
        (("stand-in", "--model", "fartrack-pico", "--device", "cuda", "--data", data), 2, "PyTorch on the CPU"),
        (("nowhere", "--data", data), 5, "does not exist"),
        ((artifact, "--data", tmp_path / "nothing"), 5, "nothing"),
        ((artifact, "--data", data, "--only", "third"), 5, "matches 'third'"),
        ((artifact, "--data", data, "-o", "weights.pt"), 5, "cannot make folder"),
        ((artifact,), 2, "--data"),
    ):
        found, out, err = run("eval", *words)
        assert (found, out) == (code, ""), (words, err)
        assert message in err


def test_eval_of_a_damaged_checkpoint(run, data, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "weights.pt").write_bytes(b"no checkpoint")
    code, _, err = run("eval", "weights.pt", "--model", "fartrack-pico", "--data", data, "--no-plots")
    assert code == 5
    assert "weights.pt" in err.splitlines()[-1]


def test_eval_of_weights_in_the_published_loop(run, data):
    pytest.importorskip("torch")
    words = ("stand-in", "--model", "fartrack-pico-d1", "--data", data, "--only", "first", "--no-plots", "--json")
    code, out, _ = run("eval", *words, "--threads", 1)
    document = json.loads(out)
    assert (code, document["subject"]["kind"], document["subject"]["variant"]) == (0, "reference", "fartrack-pico-d1")
    assert document["overall"]["loss"]["present_frames"] == 4


def test_calibrate_stores_a_rule(run, artifact, two_fates, tmp_path):
    before = json.loads((artifact / "edgetrack.json").read_text())
    words = ("calibrate", artifact, "--data", two_fates, "--threads", 1, "--no-plots", "--false-lost", 0.2, "-o", "x")
    code, out, err = run(*words, "--dry-run", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert (document["kind"], document["schema"], document["stored"]) == ("edgetrack-calibration", 1, False)
    assert document["states_after"]["false_lost_rate"] <= 0.2
    assert json.loads((artifact / "edgetrack.json").read_text()) == before
    code, out, _ = run(*words)
    assert code == 0
    assert "stored in" in out
    manifest = json.loads((artifact / "edgetrack.json").read_text())
    assert manifest["tracker"]["score"]["calibration"] == document["rule"]["calibration"]
    assert manifest["score_calibration"]["data"] == [two_fates]
    assert manifest["graphs"] == before["graphs"]
    code, out, _ = run("eval", artifact, "--data", two_fates, "--no-plots", "--json", "-o", "x", "--threads", 1)
    assert json.loads(out)["overall"]["loss"] == document["states_after"]
    code, out, _ = run(*words, "--json")  # calibrating what is calibrated gives the same
    assert json.loads(out)["rule"] == document["rule"]


def test_calibrate_says_what_data_it_needs(run, artifact, data):
    before = (artifact / "edgetrack.json").read_bytes()
    code, out, err = run("calibrate", artifact, "--data", data, "--no-plots")
    assert (code, out) == (5, "")
    assert "give sequences that are followed and ones that are lost" in err
    assert (artifact / "edgetrack.json").read_bytes() == before


def test_calibrate_draws_reliability(run, artifact, two_fates, tmp_path):
    pytest.importorskip("matplotlib")
    code, _, _ = run("calibrate", artifact, "--data", two_fates, "--dry-run", "-o", "x")
    assert code == 0
    assert (tmp_path / "x" / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_tune_refuses_wrong_numbers(run, data):
    pytest.importorskip("torch")
    for words, message in (
        (("--depths", "four"), "no list of numbers"),
        (("--depths", "99"), "depth is 99"),
        (("--keeps", "1"), "kept tokens are 1"),
        (("--precisions", "int3"), "int3"),
        (("--target", "nothing"), "nothing"),
    ):
        code, _, err = run("tune", "stand-in", "--model", "fartrack-pico", "--data", data, *words)
        assert (code, message in err) == (2, True), err
