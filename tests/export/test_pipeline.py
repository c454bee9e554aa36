"""The pipeline as a whole: on a toy family for its rules, on FARTrack-Pico for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_family
from drawn_clip import TOY_SIZE, drawn_clip
from toy_family import TOY, ToyCore, ToyNet

from edgetrack.artifact import read_artifact
from edgetrack.errors import ArtifactError, CheckpointError, InputError, ParityError
from edgetrack.export import pipeline
from edgetrack.export.parity.clip import Clip, demo_clip, open_clip
from edgetrack.export.parity.gate import check_against_artifact
from edgetrack.export.pipeline import FIXED_STEPS, check_plan, export_tracker, plan_export
from edgetrack.export.standin import synth_frame
from edgetrack.export.verify import verify_artifact

FRAMES = 10


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    toy_family.install(monkeypatch)


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Clip:
    return drawn_clip(tmp_path_factory.mktemp("clip"), FRAMES, TOY_SIZE)


class Listener:
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.steps = 0

    def stage(self, label: str) -> None:
        self.stages.append(label)

    def advance(self, steps: int = 1) -> None:
        self.steps += steps


def export(folder: Path, clip: Clip, **options):
    return export_tracker("toy-one", "stand-in", output=folder, clip=clip, threads=1, **options)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_clip_is_rgb_and_repeats(clip):
    assert clip.count == FRAMES
    frames = list(clip.frames())
    assert np.array_equal(frames[4], synth_frame(4, 90, 120))
    assert np.array_equal(frames[:3], clip.head(3))
    with pytest.raises(InputError, match="does not exist"):
        open_clip("rtsp://camera/1", (0, 0, 5, 5))


def test_demo_clip_has_a_box():
    found = demo_clip()
    assert found.count == 65
    assert min(found.box[2:]) > 0


@pytest.mark.parametrize(("target", "precision"), [("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "fp16")])
def test_export_of_stand_in_weights(tmp_path, clip, target, precision):
    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    listener = Listener()
    result = export(tmp_path / "out" / "toy", clip, target=target, precision=precision, seed=3, progress=listener)
    assert result.path == tmp_path / "out" / "toy"
    assert result.report.verdict == "passed"
    assert left_in(tmp_path / "out") == ["toy"]
    assert listener.steps == FRAMES + FIXED_STEPS
    assert listener.stages[0] == "load weights"
    artifact = read_artifact(result.path)
    assert artifact.model.weights == "stand-in"
    assert artifact.build.seed == 3
    assert "--seed 3" in artifact.build.command
    assert artifact.precision.actual == precision
    assert [entry.role for entry in artifact.graphs] == ["template", "search"]
    assert artifact.graph("search").dims == {"kept": (2, 3)}
    assert [tensor.shape for tensor in artifact.graph("search").inputs] == [(1, 4), (1, "kept", 4)]
    verification = artifact.verification
    assert verification["verdict"] == "passed"
    assert verification["closed_loop"]["frames"] == FRAMES - 1
    assert {item["output"] for item in verification["tensors"]} == {"tokens", "shift", "top"}
    assert all(item["samples"] == 8 and item["finite"] for item in verification["tensors"])


def test_export_of_a_checkpoint(tmp_path, clip):
    torch.manual_seed(5)
    torch.save({"net": ToyNet().state_dict(), "epoch": 1}, tmp_path / "toy.pth")
    result = export_tracker("toy-one", tmp_path / "toy.pth", output=tmp_path / "a", clip=clip, threads=1)
    artifact = read_artifact(result.path)
    assert artifact.model.weights == "checkpoint"
    assert artifact.build.seed is None
    assert verify_artifact(result.path, tmp_path / "toy.pth", clip=clip).verdict == "passed"
    with pytest.raises(InputError, match="--weights"):
        verify_artifact(result.path, clip=clip)
    report = verify_artifact(result.path, "stand-in", clip=clip)
    assert report.failed, "other weights must not verify"


def test_two_exports_are_the_same_but_for_the_time(tmp_path, clip, monkeypatch):
    monkeypatch.undo()
    toy_family.install(monkeypatch, quick=False)
    one, two = (export(tmp_path / name, clip).path for name in "ab")
    for name in left_in(one):
        if name != "edgetrack.json":
            assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_verify_artifact_and_pairs(tmp_path, clip, monkeypatch):
    one = export(tmp_path / "a", clip).path
    other_seed = export(tmp_path / "b", clip, seed=1).path
    assert verify_artifact(one, clip=clip).verdict == "passed"
    assert verify_artifact(one, "stand-in", seed=1, clip=clip).failed
    first, second = read_artifact(one), read_artifact(other_seed)
    with pytest.raises(InputError, match="the same artifact"):
        check_against_artifact(first, first, clip)
    report = check_against_artifact(first, second, clip)
    assert report.failed
    assert report.tensors == ()
    assert "artifact a on onnxruntime" in report.reference


def test_device_that_is_not_here_is_not_passed(tmp_path, clip):
    one = export(tmp_path / "a", clip).path
    report = verify_artifact(one, clip=clip, device="cuda:7")
    assert report.verdict == "not run: no such device here"
    assert "cuda:7" in report.not_run


def test_failed_gate_leaves_only_a_report(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(ToyCore, "box_error", 2.0)
    with pytest.raises(ParityError, match=r"boxes differ by 2 px .* first in frame 1") as caught:
        export(tmp_path / "toy", clip)
    assert caught.value.exit_code == 3
    assert left_in(tmp_path) == ["toy.parity.json"]
    report = json.loads((tmp_path / "toy.parity.json").read_text())
    assert report["verdict"] == "failed"
    assert len(report["closed_loop"]["box_px"]) == FRAMES - 1
    monkeypatch.undo()
    toy_family.install(monkeypatch)
    export(tmp_path / "toy", clip)
    assert left_in(tmp_path) == ["toy"], "the old report would mislead"


def test_failed_tensors_fail_the_gate(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(type(TOY), "tensor_limit", -1.0)
    with pytest.raises(ParityError, match=r"template\.tokens differs"):
        export(tmp_path / "toy", clip)


def test_allowed_mismatch_is_recorded(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(ToyCore, "box_error", 2.0)
    result = export(tmp_path / "toy", clip, allow_mismatch=True)
    verification = read_artifact(result.path).verification
    assert verification["verdict"] == "failed"
    assert verification["allowed_mismatch"] is True


def test_existing_folder(tmp_path, clip):
    export(tmp_path / "toy", clip)
    with pytest.raises(InputError, match="--force"):
        export(tmp_path / "toy", clip)
    export(tmp_path / "toy", clip, force=True, seed=9)
    assert read_artifact(tmp_path / "toy").build.seed == 9
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="not an artifact"):
        export(tmp_path / "mine", clip, force=True)
    assert left_in(tmp_path / "mine") == ["notes.txt"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left on device"), ArtifactError)],
)
def test_interrupted_or_full_disk_leaves_nothing(tmp_path, clip, monkeypatch, error, raised):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pipeline, "check_against_source", fail)
    with pytest.raises(raised):
        export(tmp_path / "toy", clip)
    assert left_in(tmp_path) == []


def test_bad_checkpoint_leaves_nothing(tmp_path, clip):
    torch.save({"net": {"other.weight": torch.ones(2)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError):
        export_tracker("toy-one", tmp_path / "other.pth", output=tmp_path / "toy", clip=clip)
    with pytest.raises(CheckpointError, match="No such file"):
        export_tracker("toy-one", tmp_path / "none.pth", output=tmp_path / "toy", clip=clip)
    assert left_in(tmp_path) == ["other.pth"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "toy-two"}, "unknown model 'toy-two'"),
        ({"target": "tpu"}, "unknown target 'tpu'"),
        ({"target": "onnx", "precision": "int3"}, "no precision 'int3'"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "tpu"}, "no device 'tpu'; give cpu, cuda"),
        ({"seed": 2**53}, "seed is 9007199254740992"),
    ],
)
def test_plan_refuses_what_there_is_not(options, words):
    with pytest.raises(InputError, match=words):
        plan_export(**({"variant": "toy-one", "weights": "stand-in"} | options))


def test_plan_names_the_folder_and_the_command():
    plan = plan_export("toy-one", "some file.pth", target="ov", precision="fp16")
    assert plan.output == Path("toy-one-openvino-fp16")
    assert plan.command == ("edgetrack export toy-one --weights 'some file.pth' --target openvino --precision fp16")


# The shallowest and the deepest in every run; the rest, which takes minutes, with the large networks.
MARKS = {"pico": (), ("tiny", "onnx"): pytest.mark.slow}
REAL = [
    pytest.param(
        f"fartrack-{size}", target, precision, marks=MARKS.get(size, MARKS.get((size, target), pytest.mark.big))
    )
    for size in ("pico", "nano", "tiny")
    for target, precision in (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "fp16"))
    if (size, precision) != ("nano", "fp16")
]


@pytest.mark.parametrize(("variant", "target", "precision"), REAL)
def test_sparse_variants_are_exact(tmp_path, variant, target, precision):
    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    result = export_tracker(variant, "stand-in", target=target, precision=precision, output=tmp_path / "a", threads=2)
    report = result.report
    assert report.verdict == "passed"
    assert report.loop.frames == report.forced.frames == 64
    assert report.engine["engine"] == target.replace("onnx", "onnxruntime")
    if precision == "fp32":
        assert max(report.loop.max_box_px, report.forced.max_corner_px) <= 0.05
        assert (report.forced.max_swapped, report.forced.undecided) == (0, 0)
    if variant == "fartrack-pico":
        assert read_artifact(result.path).size_bytes() < (16e6 if precision == "fp32" else 8e6)


def test_disk_too_full_for_the_report(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(ToyCore, "box_error", 2.0)

    def full(self, *_, **__):
        self.write_bytes(b"{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ParityError, match="not even the report"):
        export(tmp_path / "toy", clip)
    assert [name for name in left_in(tmp_path) if "partial" in name] == []


def test_short_clip_is_refused_before_anything_is_built(tmp_path, clip):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(8):
        (frames / f"{index:02}.png").write_bytes((Path(clip.path) / f"{index:02}.png").read_bytes())
    short, listener = open_clip(frames, clip.box), Listener()
    with pytest.raises(InputError, match="8 frames, fewer than the 9"):
        export(tmp_path / "toy", short, progress=listener)
    assert listener.stages == []
    with pytest.raises(InputError, match="8 frames, fewer than the 9"):
        check_plan(plan_export("toy-one", "stand-in", output=tmp_path / "toy"), clip=short)


def test_killed_while_exporting(tmp_path):
    """SIGTERM in the middle of the gate: no artifact, no leftovers, and a second try works."""
    code = (
        "import os, signal, sys\n"
        "from edgetrack.export import pipeline\n"
        "pipeline.check_against_source = lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM)\n"
        f"pipeline.export_tracker('fartrack-pico', 'stand-in', output={str(tmp_path / 'a')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=dict(os.environ), check=False)
    assert done.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert left_in(tmp_path) == []
