"""The commands export, verify and demo: exit codes, messages, files."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("typer")
pytest.importorskip("torch")
pytest.importorskip("onnxscript")
cv2 = pytest.importorskip("cv2")

import torch  # noqa: E402
import toy_family  # noqa: E402
from toy_family import ToyCore, ToyNet  # noqa: E402

from edgetrack.artifact import read_artifact  # noqa: E402
from edgetrack.cli import main  # noqa: E402
from edgetrack.export.standin import synth_box, synth_frame  # noqa: E402


@pytest.fixture
def run(capsys):
    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    toy_family.install(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("clip")
    for index in range(9):
        cv2.imwrite(str(folder / f"{index}.png"), synth_frame(index, 90, 120)[..., ::-1])
    return ("--clip", str(folder), "--init", ",".join(f"{value:.2f}" for value in synth_box(0, 90, 120)))


@pytest.fixture
def export(run, clip):
    def call(*words: object, weights: object = "stand-in") -> tuple[int, str, str]:
        return run("export", "toy-one", "--weights", weights, *clip, *words)

    return call


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_export_writes_an_artifact_and_says_what_was_found(export, tmp_path):
    code, out, err = export("--seed", 4)
    assert code == 0
    artifact = read_artifact(tmp_path / "toy-one-onnx-fp32")
    assert artifact.build.seed == 4
    assert "search.shift, largest difference" in out
    assert "boxes, smallest IoU" in out
    assert last_line(out).endswith("verification: passed")
    assert "do not follow a target" in err
    assert "verify: boxes on the clip" in err, "stages are told"


def test_export_json_and_output_folder(export, tmp_path):
    code, out, _ = export("--json", "-o", tmp_path / "deep" / "here", "--target", "ov", "--precision", "fp16")
    assert code == 0
    found = json.loads(out)
    assert found["path"] == str(tmp_path / "deep" / "here")
    assert found["verification"]["verdict"] == "passed"
    assert read_artifact(found["path"]).target.name == "openvino"


def test_export_of_a_checkpoint_warns_of_nothing(export, tmp_path):
    torch.save({"net": ToyNet().state_dict()}, tmp_path / "toy.pth")
    code, out, err = export(weights=tmp_path / "toy.pth")
    assert code == 0
    assert "warning" not in err
    assert "stand-in" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "toy-one"), "--weights"),
        (("export", "nothing", "--weights", "stand-in"), "unknown model 'nothing'; known: fartrack-tiny"),
        (("export", "toy-one", "--weights", "stand-in", "--target", "tpu"), "known: onnx, openvino"),
        (("export", "toy-one", "--weights", "stand-in", "--precision", "int4"), "has no precision 'int4'; give fp32"),
        (("export", "toy-one", "--weights", "stand-in", "--clip", "a.mp4"), "give both or neither"),
        (("export", "toy-one", "--weights", "stand-in", "--init", "1,2,3,4"), "give both or neither"),
        (("export", "toy-one", "--weights", "stand-in", "--seed", "-1"), "--seed"),
        (("export", "toy-one", "--weights", "stand-in", "--seed", str(2**53)), "--seed"),
        (("export", "grm-256", "--weights", "stand-in", "--division-threshold", "1.5"), "--division-threshold: divisi"),
        (("export", "grm-256", "--weights", "stand-in", "--division-threshold", "nan"), "a whole percentage"),
        (("export", "grm-256", "--weights", "stand-in", "--division-threshold", "x"), "--division-threshold"),
        (("export", "grm-256", "--weights", "stand-in", "--depth", "6"), "cannot be cut to a depth"),
        (("export", "ostrack-256", "--weights", "stand-in", "--division-threshold", "0.4"), "these do: grm-256, grm-"),
        (
            ("export", "fartrack-pico", "--weights", "stand-in", "--division-threshold", "0.4"),
            "these do: grm-256, grm-",
        ),
        (("tune", "stand-in", "--model", "grm-256", "--data", "x", "--division-thresholds", "a"), "as in 0,0.4"),
        (("verify", "a", "--seed", str(2**53)), "--seed"),
        (("demo", "--model", "nothing"), "unknown model 'nothing'"),
        (("verify",), "Missing argument"),
        (("verify", "a", "b", "--weights", "c.pth"), "either another artifact or --weights"),
    ],
)
def test_wrong_usage(run, tmp_path, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"PK\x03\x04 and then nothing", "truncated"),
        ({"net": {"encode.weight": torch.ones(1)}}, "not one of toy-one"),
        ({"epoch": 3}, "no 'net' but 'epoch'"),
    ],
)
def test_bad_checkpoint(export, tmp_path, content, message):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    code, out, err = export(weights=path)
    assert (code, out) == (5, "")
    assert message in last_line(err)
    assert [item for item in tmp_path.iterdir() if item != path] == []


def test_taken_folder_and_force(export, tmp_path):
    assert export()[0] == 0
    code, _, err = export()
    assert code == 5
    assert "--force" in last_line(err)
    assert export("--force", "--seed", 2)[0] == 0
    assert read_artifact(tmp_path / "toy-one-onnx-fp32").build.seed == 2


def test_dry_run_builds_nothing(export, tmp_path):
    code, out, _ = export("--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert plan["output"] == "toy-one-onnx-fp32"
    assert len(plan["checkpoint_sha256"]) == 64
    assert list(tmp_path.iterdir()) == []
    assert export("--dry-run", "-o", tmp_path / "deep" / "below" / "here")[0] == 0
    assert list(tmp_path.iterdir()) == []
    code, _, err = export("--dry-run", weights="none.pth")
    assert code == 5
    assert "No such file" in err


def test_mismatch_is_exit_code_3(export, run, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(ToyCore, "box_error", 2.0)
    code, out, err = export()
    assert (code, out) == (3, "")
    assert "boxes differ by 2 px" in last_line(err)
    assert [item.name for item in tmp_path.iterdir()] == ["toy-one-onnx-fp32.parity.json"]
    code, out, err = export("--allow-mismatch")
    assert code == 0
    assert "FAILED" in out
    assert last_line(out).endswith("verification: failed")
    assert "kept with --allow-mismatch" in err
    code, out, err = run("verify", "toy-one-onnx-fp32", *clip, "--json")
    assert code == 3
    assert json.loads(out)["verification"]["verdict"] == "failed"
    assert "differs from its reference" in last_line(err)


def test_verify(export, run, clip, tmp_path):
    assert export()[0] == 0
    assert export("--seed", 1, "-o", "other")[0] == 0
    code, out, err = run("verify", "toy-one-onnx-fp32", *clip)
    assert code == 0
    assert last_line(out) == "verification: passed"
    assert run("verify", "toy-one-onnx-fp32", "toy-one-onnx-fp32", *clip)[0] == 5
    code, out, err = run("verify", "toy-one-onnx-fp32", "other", *clip)
    assert code == 3
    assert "against artifact other" in out
    code, _, err = run("verify", "toy-one-onnx-fp32", *clip, "--seed", 1)
    assert code == 3
    code, _, err = run("verify", "toy-one-onnx-fp32", *clip, "--device", "cuda:9")
    assert code == 4
    assert "was not verified" in last_line(err)
    code, _, err = run("verify", tmp_path / "nowhere")
    assert code == 5
    (tmp_path / "other" / "search.onnx").write_bytes(b"changed")
    code, _, err = run("verify", "other", *clip)
    assert code == 5
    assert "sha256" in err


def test_demo_with_a_toy(run, tmp_path):
    code, out, err = run("demo", "--model", "toy-one", "--threads", 1, "-o", tmp_path / "demo")
    assert code == 0, err
    assert "do not follow a target" in out
    assert "toy-one, eager PyTorch" in out
    assert "toy-one-onnx-fp32 " in out
    capture = cv2.VideoCapture(str(tmp_path / "demo" / "track.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 65
    assert read_artifact(tmp_path / "demo" / "toy-one-onnx-fp32").verification["verdict"] == "passed"
    code, out, _ = run("demo", "--model", "toy-one", "--threads", 1, "-o", tmp_path / "demo", "--json")
    assert code == 0, "a second run replaces the first"
    found = json.loads(out)
    assert [entry["kind"] for entry in found["bench"]["contenders"]][:2] == ["reference", "artifact"]
    assert all(item["verification"]["verdict"] == "passed" for item in found["artifacts"])
