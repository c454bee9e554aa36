"""GLAD through the whole pipeline at small sizes: built, proven with a description, loaded and told what to follow.

Here for OpenVINO; test_glad_described.py does it for ONNX Runtime, with a diffusion model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import small_glad
import torch
from drawn_clip import HEIGHT, WIDTH, drawn_clip
from small_glad import SMALL

import edgetrack
from edgetrack.artifact import read_artifact
from edgetrack.benchmarks import footprint, profile
from edgetrack.cli import main
from edgetrack.errors import InputError, ParityError
from edgetrack.export.graphs import glad as graphs
from edgetrack.export.models import glad as module
from edgetrack.export.models.glad import GLAD
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.report import ParityReport
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.verify import verify_artifact
from edgetrack.runtime.target_pack import ModelIdentity, TargetPack, read_pack

FRAMES = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return drawn_clip(tmp_path_factory.mktemp("clip"), FRAMES)


@dataclass(frozen=True)
class Made:
    """An artifact of the family at small sizes, and what its gate found."""

    path: Path
    report: ParityReport


def make(clip: Clip, folder: Path, target: str = "onnx", precision: str = "fp32") -> Made:
    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    with pytest.MonkeyPatch.context() as patch:
        small_glad.install(patch)
        options = {"target": target, "precision": precision, "output": folder / "made", "clip": clip, "threads": 1}
        result = export_tracker("glad-b256", "stand-in", **options)
    return Made(result.path, result.report)


@pytest.fixture(scope="module")
def made(clip, tmp_path_factory) -> Made:
    return make(clip, tmp_path_factory.mktemp("glad"), "openvino")


def check(made: Made, precision: str = "fp32") -> None:
    report = made.report
    assert report.verdict == "passed"
    judged = {f"{item.role}.{item.output}": item for item in report.tensors}
    expected = {"template.tokens", "template.qkv", "search.score", "search.size", "search.offset"}
    assert set(judged) == expected | {f"pool.{name}" for name in graphs.told_names(3)}
    assert judged["search.score"].samples >= 4
    assert all((item.limit is None) == (precision == "fp16") for item in report.tensors)
    assert report.forced.frames == report.loop.frames == FRAMES - 1
    assert report.forced.undecided < 4 * report.forced.frames


def test_built_and_proven(made):
    check(made)


@pytest.mark.big
@pytest.mark.parametrize(("target", "precision"), [("onnx", "fp32"), ("onnx", "fp16"), ("openvino", "fp16")])
def test_built_and_proven_otherwise(clip, tmp_path, target, precision):
    check(make(clip, tmp_path, target, precision), precision)


@pytest.mark.big
def test_verified_again(made, clip, monkeypatch):
    small_glad.install(monkeypatch)
    assert verify_artifact(made.path, clip=clip, threads=1).verdict == "passed"


@pytest.mark.big
@pytest.mark.parametrize("broken", ["rereading", "description", "divisor"])
def test_the_gate_sees_what_is_wrong(clip, tmp_path, monkeypatch, broken):
    """An artifact that is not its source: no rereading (O1), another description, a proper divisor (O2)."""
    if broken == "rereading":
        monkeypatch.setattr(graphs.DecoderGraph, "_cross", _plain)
    elif broken == "description":
        real = module.GladReference.__init__
        flipped = lambda loop, net, of: real(loop, net, lambda image: [-latent for latent in of(image)])  # noqa: E731
        monkeypatch.setattr(module.GladReference, "__init__", flipped)
    else:
        spec = GLAD.tracker_spec("glad-b256")
        monkeypatch.setattr(module.GladFamily, "tracker_spec", lambda *_: {**spec, **small_spec(divisor=6)})
    with pytest.raises(ParityError, match=r"boxes differ|decoded corners differ"):
        make(clip, tmp_path)
    assert not (tmp_path / "made").exists()


def small_spec(divisor: int) -> dict:
    return {
        "template": {"size": SMALL.template_size, "factor": 2.0},
        "search": {"size": SMALL.search_size, "factor": 4.0},
        "decode": {"kind": "centre", "grid": SMALL.search_grid, "window": "hann", "divisor": divisor},
    }


def _plain(block, x, key, value):
    q = torch.nn.functional.linear(block.norm3(x), block.query_weight) + block.query_offset
    return (torch.softmax(q @ key.t(), dim=-1) @ value)[block.first :]


def frames(count: int) -> list[np.ndarray]:
    return [synth_frame(index, HEIGHT, WIDTH) for index in range(count)]


def pack_of(made: Made, seed: int) -> TargetPack:
    """A pack as another machine makes it, of made-up feature maps."""
    artifact = read_artifact(made.path)
    model = ModelIdentity("glad-b256", artifact.model.checkpoint_sha256, "e" * 64)
    features = small_glad.small_inputs(seed)[2]
    with edgetrack.load(made.path, threads=1) as tracker:
        prompt = {f"latent_{k}": feature.numpy() for k, feature in enumerate(features)}
        return TargetPack(model, "the man", tracker.language.run(prompt, "").arrays)


def followed(tracker, video, **described) -> list[tuple[float, ...]]:
    tracker.init(video[0], synth_box(0, HEIGHT, WIDTH), color="rgb", **described)
    boxes = []
    for frame in video[1:]:
        tracker.update(frame)
        boxes.append(tracker.raw_box)
    return boxes


def test_follows_what_a_pack_describes(made, tmp_path):
    """Different packs, different boxes; a change of pack in the middle; the file is small."""
    video, packs = frames(4), [pack_of(made, seed) for seed in (0, 1)]
    packs[0].save(tmp_path / "man.pack")
    with edgetrack.load(made.path, threads=1) as tracker:
        first = followed(tracker, video, pack=tmp_path / "man.pack")
        second = followed(tracker, video, pack=packs[1])
        assert first != second
        assert followed(tracker, video, pack=read_pack(tmp_path / "man.pack")) == first
        tracker.init(video[0], synth_box(0, HEIGHT, WIDTH), pack=packs[0], color="rgb")
        tracker.retarget(pack=packs[1])
        tracker.update(video[1])
        assert tracker.raw_box == second[0]
        assert len(tracker.candidates(3)) >= 1


def test_what_cannot_be_followed(made, tmp_path):
    video, box = frames(1), synth_box(0, HEIGHT, WIDTH)
    pack = pack_of(made, 0)
    other = TargetPack(ModelIdentity("glad-l384", "0" * 64), "the man", pack.arrays)
    lame = TargetPack(pack.made_by, "the man", {"key_0": pack.arrays["key_0"]})
    with edgetrack.load(made.path, threads=1) as tracker:
        for described, words in (
            ({"text": "the man"}, "no text encoder; give a target pack"),
            ({}, "no text encoder; give a target pack"),
            ({"pack": other}, "made for glad-l384, this tracker is glad-b256"),
            ({"pack": lame}, "holds key_0 .*, this tracker is fed"),
        ):
            with pytest.raises(InputError, match=words):
                tracker.init(video[0], box, **described)
        with pytest.raises(InputError, match="box"):
            tracker.init(video[0], pack=pack)
        with pytest.raises(InputError, match="init"):
            tracker.update(video[0])


def test_the_manifest(made):
    spec = read_artifact(made.path).tracker
    assert spec["told"] == spec["language"]["feeds"] == list(graphs.told_names(3))
    assert spec["decode"]["divisor"] == SMALL.divisor
    assert spec["language"]["tokenizer"] is None
    assert spec["language"]["chain"] == ["pool"]


def test_measured_without_a_description(made, clip, monkeypatch, capsys):
    """What stands for one is the same for an artifact and for the published loop, so that boxes can be compared."""
    small_glad.install(monkeypatch)
    box = ",".join(map(str, clip.box))
    words = ["bench", str(made.path), "--source", clip.path, "--init", box, "--compare", "--reference", "stand-in"]
    assert main([*words, "--frames", "3", "--warmup", "0", "--threads", "1", "--no-fresh", "--json"]) == 0
    _, entry = json.loads(capsys.readouterr().out)["contenders"]
    assert entry["versus"]["max_box_px"] < 0.05
    assert entry["text_ms"] == 0  # it is encoded elsewhere
    assert footprint.main([str(made.path), "--threads", "1", "--updates", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    graphs = [file for role in ("template", "search") for file in made.path.glob(f"{role}.*")]
    assert row["device"]["graphs_bytes"] == sum(file.stat().st_size for file in graphs)
    assert row["target_bytes"] == 4 * 2 * sum(SMALL.latent_tokens) * SMALL.channels < row["device"]["pack_bytes"]
    monkeypatch.setattr(profile, "_CHAIN_OPERATIONS", 1e6)
    assert profile.main([str(made.path), "--threads", "1", "--updates", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["operators"]


def test_listed_with_its_costs(capsys):
    assert main(["models", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["glad-b256"]["published_gmacs"] == pytest.approx(40.27, abs=6e-3)  # section 1 of the spec
    assert found["glad-l384"]["published_gmacs"] == pytest.approx(285.18, abs=6e-3)


GLAD_B = ("export", "glad-b256", "--weights", "stand-in")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*GLAD_B, "--search-factor", "0.5"), "--search-factor: search factor is 0.5; give a number from 1 to 99.9"),
        ((*GLAD_B, "--search-factor", "4.25"), "in tenths"),
        ((*GLAD_B, "--search-factor", "nan"), "search factor is nan"),
        ((*GLAD_B, "--search-factor", "inf"), "search factor is inf"),
        ((*GLAD_B, "--search-factor", "wide"), "--search-factor"),
        ((*GLAD_B, "--decode-divisor", "0"), "--decode-divisor: decode divisor is 0"),
        ((*GLAD_B, "--decode-divisor", "2.5"), "--decode-divisor"),
        ((*GLAD_B, "--position-bits", "8"), "--position-bits: position bits is 8"),
        (("export", "mvlm-tf", "--weights", "stand-in", "--search-factor", "4"), "these do: glad-b256, glad-l384"),
        (("export", "mvlm-tf", "--weights", "stand-in", "--diffusion", "sd"), "has no use for a diffusion model"),
        (("export", "ostrack-256", "--weights", "stand-in", "--diffusion", "sd"), "has no use for a diffusion model"),
        ((*GLAD_B, "--lora", "lcm.safetensors"), "give that with --diffusion"),
        ((*GLAD_B, "--diffusion", "sd", "--text-encoder", "t.pt"), "leave out --text-encoder"),
        ((*GLAD_B, "--precision", "int8", "--calib", "sequences:x"), "--precision: glad-b256 reads text, and int8 is"),
        ((*GLAD_B, "--precision", "mixed"), "mixed is not supported for such trackers"),
        (("export", "mvlm-bbox", "--weights", "stand-in", "--precision", "int8"), "mvlm-bbox reads text, and int8 is"),
        (("export", "atstrack-384", "--weights", "stand-in", "--precision", "int8", "--target", "ov"), "give fp32 or"),
    ],
)
def test_wrong_usage(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--search-factor", "4"), "glad-b256"),
        (("--search-factor", "4.5"), "glad-b256-s4.5"),
        (("--search-factor", "5", "--decode-divisor", "17", "--position-bits", "32"), "glad-b256-s5-d17-p32"),
    ],
)
def test_settings_are_in_the_name(capsys, tmp_path, monkeypatch, words, name):
    """And a folder of a diffusion model is read, or refused, before anything is built."""
    small_glad.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    folder = small_glad.write_diffusion(tmp_path / "sd")
    dry = [*GLAD_B, *words, "--dry-run", "--json"]
    assert main([*dry, "--diffusion", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["output"]) == (name, f"{name}-onnx-fp32")
    assert main([*dry, "--diffusion", str(tmp_path / "nowhere")]) == 5
    assert "nowhere" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["sd"]
