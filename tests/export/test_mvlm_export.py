"""MVLM through the whole pipeline at small sizes: built, proven with a sentence, loaded and told what to follow."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_mvlm
import torch
from bench_case import bench_entry
from drawn_clip import HEIGHT, WIDTH, drawn_clip
from onnx import numpy_helper

import edgetrack
from edgetrack.artifact import read_artifact
from edgetrack.cli import main
from edgetrack.errors import InputError, ParityError
from edgetrack.export.bisect.search import bisect_artifacts
from edgetrack.export.graphs import mvlm as graphs
from edgetrack.export.loops.mvlm import MvlmReference
from edgetrack.export.models import mvlm as module
from edgetrack.export.models.mvlm_variants import GateRule
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.report import ParityReport
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.verify import verify_artifact

pytest.importorskip("tokenizers")
FRAMES = 12
# With these the small network's loop goes through both views.
GATE = {"tf": GateRule(0.9, 0.02, 0.4, 0.4, 0.1), "bbox": GateRule(0.9, 0.02, 0.5, 0.5, 0.1)}


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return drawn_clip(tmp_path_factory.mktemp("clip"), FRAMES)


@dataclass(frozen=True)
class Made:
    """An artifact of the family at small sizes, what its gate found, and which views the reference took."""

    kind: str
    path: Path
    report: ParityReport
    views: set[bool]


def make(kind: str, clip: Clip, folder: Path, target: str = "onnx", precision: str = "fp32") -> Made:
    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    views: set[bool] = set()
    real = MvlmReference.update

    def update(loop, frame):
        box = real(loop, frame)
        views.add(loop.step.is_global)
        return box

    with pytest.MonkeyPatch.context() as patch:
        small_mvlm.install(patch, kind, GATE[kind])
        patch.setattr(MvlmReference, "update", update)
        options = {"target": target, "precision": precision, "output": folder / "made", "clip": clip, "threads": 1}
        result = export_tracker(f"mvlm-{kind}", "stand-in", **options)
    return Made(kind, result.path, result.report, views)


@pytest.fixture(scope="module", params=["tf", "bbox"])
def made(request, clip, tmp_path_factory) -> Made:
    return make(request.param, clip, tmp_path_factory.mktemp(request.param))


def check(made: Made, precision: str = "fp32") -> None:
    report = made.report
    assert report.verdict == "passed"
    assert made.views == {False, True}
    judged = {f"{item.role}.{item.output}": item for item in report.tensors}
    expected = {"text.text", "search.cls", "search.boxes", "search.sims"}
    assert set(judged) == expected | ({"template.tokens"} if made.kind == "bbox" else set())
    assert judged["search.sims"].samples >= 4
    assert all((item.limit is None) == (precision == "fp16") for item in report.tensors)
    assert report.forced.frames == report.loop.frames == FRAMES - 1
    assert report.forced.undecided < 4 * report.forced.frames


def test_built_and_proven(made):
    check(made)


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("bbox", "fp32"), *(pytest.param(*case, marks=pytest.mark.big) for case in (("tf", "fp32"), ("tf", "fp16")))],
)
def test_built_and_proven_for_openvino(clip, tmp_path, kind, precision):
    check(make(kind, clip, tmp_path, "openvino", precision), precision)


@pytest.mark.big
def test_verified_again(made, clip, monkeypatch):
    small_mvlm.install(monkeypatch, made.kind, GATE[made.kind])
    assert verify_artifact(made.path, clip=clip, threads=1).verdict == "passed"


def test_two_artifacts_are_bisected(made, clip, tmp_path, monkeypatch):
    """The sentence reaches the text graph, whose broken weights are named as the first that differ."""
    monkeypatch.setattr("edgetrack.export.bisect.inputs.TEXT", "a")  # the small encoder takes few tokens
    other = tmp_path / "other"
    shutil.copytree(made.path, other)
    same = bisect_artifacts(read_artifact(made.path), read_artifact(other), clip, 3, threads=1)
    assert same.report.first is None
    assert {item.role for item in same.report.layers} == {"text", "search"} | (
        {"template"} if made.kind == "bbox" else set()
    )
    break_file(other, "text.onnx")
    found = bisect_artifacts(read_artifact(made.path), read_artifact(other, verify_checksums=False), clip, 3, threads=1)
    assert found.report.first.role == "text"


def break_file(folder: Path, name: str) -> None:
    """Change the largest weights of a graph."""
    model = onnx.load(folder / name)
    largest = max(model.graph.initializer, key=lambda item: len(item.raw_data))
    array = numpy_helper.to_array(largest).copy()
    largest.CopyFrom(numpy_helper.from_array(array[::-1].copy(), largest.name))
    onnx.save(model, folder / name)


BREAKS = ["pooling", *(pytest.param(name, marks=pytest.mark.big) for name in ("window", "sentence"))]


@pytest.mark.parametrize("broken", BREAKS)
def test_the_gate_sees_what_is_wrong(clip, tmp_path, monkeypatch, broken):
    """An artifact that is not its source: other rectangles, other scores, or it does not hear the sentence."""
    if broken == "pooling":
        real = graphs.token_cells
        monkeypatch.setattr(graphs, "token_cells", lambda boxes, grid: real(boxes, grid) - torch.tensor([1, 1, 0, 0]))
    elif broken == "window":
        monkeypatch.setattr(graphs, "hann_window", lambda side: torch.full((side, side), 0.9))
    else:
        text_of = module.MVLM.text_of
        monkeypatch.setattr(module.MVLM, "text_of", lambda net, ids: text_of(net, ids).flip(2), raising=False)
    with pytest.raises(ParityError, match=r"boxes differ|decoded corners differ"):
        make("tf", clip, tmp_path)
    assert not (tmp_path / "made").exists()


def frames(count: int) -> list[np.ndarray]:
    return [synth_frame(index, HEIGHT, WIDTH) for index in range(count)]


def test_told_what_to_follow(made):
    """A sentence with and without a box, another one in the middle; each says how it searches."""
    video, box = frames(6), synth_box(0, HEIGHT, WIDTH)
    with edgetrack.load(made.path, threads=1) as tracker:
        if made.kind == "tf":
            tracker.init(video[0], text="a", color="rgb")
            assert (tracker.state, tracker.box) == (edgetrack.State.LOST, (0.0, 0.0, 200.0, 150.0))
        else:
            with pytest.raises(InputError, match="box"):
                tracker.init(video[0], text="a", color="rgb")
            tracker.init(video[0], box, text="a", color="rgb")
        core = tracker.core
        first = []
        for frame in video[1:4]:
            tracker.update(frame)
            first.append(tracker.raw_box)
            assert -1 <= core.confidence <= 1
            assert 0 < core.response < 1
            assert tracker.score == pytest.approx(0.5 + 0.5 * core.confidence)
            assert (tracker.state == edgetrack.State.LOST) == (core.selected == 0) == (core.mode == "global")
        tracker.retarget(text="b")
        assert core.mode == ("global" if made.kind == "tf" else "local")
        tracker.update(video[4])
        tracker.init(video[0], box, text="b", color="rgb")
        for frame in video[1:4]:
            tracker.update(frame)
        assert tracker.raw_box != first[-1]
        tracker.init(video[0], box, text="a", color="rgb")
        for frame, expected in zip(video[1:4], first, strict=True):
            tracker.update(frame)
            assert tracker.raw_box == expected


def test_without_a_sentence(made):
    """A box alone is followed as published, where `text=None` is padding (spec section 3.1); else one is needed."""
    video, box = frames(2), synth_box(0, HEIGHT, WIDTH)
    with edgetrack.load(made.path) as tracker:
        if made.kind == "tf":
            with pytest.raises(InputError, match="follows what a text describes"):
                tracker.init(video[0], box)
            return
        tracker.init(video[0], box, color="rgb")
        tracker.update(video[1])
        assert tracker.core.frame_index == 1


@pytest.mark.big
def test_bench_compares_runs_that_follow_the_same_sentence(made, capsys, monkeypatch):
    if made.kind == "tf":
        return  # it is in both views; the loop in PyTorch begins in the other one

    def run(*words: object) -> tuple[int, str, str]:
        code = main([*map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    small_mvlm.install(monkeypatch, made.kind, GATE[made.kind])
    entry = bench_entry(run, made.path)
    assert entry["versus"]["max_box_px"] <= 0.05
    assert entry["text_ms"] > 0
