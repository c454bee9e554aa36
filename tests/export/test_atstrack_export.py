"""ATSTrack through the whole pipeline at small sizes: built, proven with phrases, loaded and told what to follow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import small_atstrack
import torch
from bench_case import bench_entry
from drawn_clip import HEIGHT, WIDTH, drawn_clip

import edgetrack
from edgetrack import demo
from edgetrack.cli import main
from edgetrack.errors import InputError, ParityError
from edgetrack.export.graphs import atstrack as graphs
from edgetrack.export.loops.atstrack import AtsReference
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.report import ParityReport
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.verify import verify_artifact

pytest.importorskip("typer")
pytest.importorskip("tokenizers")
FRAMES = 24


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return drawn_clip(tmp_path_factory.mktemp("clip"), FRAMES)


@dataclass(frozen=True)
class Made:
    """An artifact of the family at small sizes, what its gate found, and which templates the reference showed."""

    path: Path
    report: ParityReport
    shown: list[tuple[int, ...]] = field(default_factory=list)


def make(clip: Clip, folder: Path, target: str = "onnx", precision: str = "fp32", templates: int = 3) -> Made:
    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    shown: list[tuple[int, ...]] = []
    real = AtsReference.remember

    def remember(loop, frame):
        real(loop, frame)
        shown.append(tuple(loop.shown))

    with pytest.MonkeyPatch.context() as patch:
        small_atstrack.install(patch, templates)
        patch.setattr(AtsReference, "remember", remember)
        options = {"target": target, "precision": precision, "output": folder / "made", "clip": clip, "threads": 1}
        result = export_tracker("atstrack-384", "stand-in", **options)
    return Made(result.path, result.report, shown)


@pytest.fixture(scope="module")
def made(clip, tmp_path_factory) -> Made:
    return make(clip, tmp_path_factory.mktemp("made"))


def check(made: Made, precision: str = "fp32") -> None:
    report = made.report
    assert report.verdict == "passed"
    judged = {f"{item.role}.{item.output}": item for item in report.tensors}
    maps = {f"search.{name}" for name in ("score", "size", "offset", "vl_state_next")}
    assert set(judged) == {"text.vl_state", "text.lang", "template.tokens", "template.qkv"} | maps
    assert judged["search.vl_state_next"].samples == 8
    assert all((item.limit is None) == (precision == "fp16") for item in report.tensors)
    assert report.forced.frames == report.loop.frames == FRAMES - 1
    assert report.forced.undecided < 4 * report.forced.frames


def test_built_and_proven(made):
    check(made)
    assert len({slots[1] for slots in made.shown}) > 3  # templates were renewed,
    assert len({slots[2] for slots in made.shown}) > 3
    assert made.report.loop.at_minimum < FRAMES - 1  # and boxes have a size of their own


@pytest.mark.parametrize(
    ("target", "precision", "templates"),
    [
        ("openvino", "fp32", 3),
        *(
            pytest.param(*case, marks=pytest.mark.big)
            for case in (("onnx", "fp16", 3), ("openvino", "fp16", 2), ("onnx", "fp32", 1), ("onnx", "fp32", 2))
        ),
    ],
)
def test_built_and_proven_otherwise(clip, tmp_path, target, precision, templates):
    check(make(clip, tmp_path, target, precision, templates), precision)


@pytest.mark.big
def test_verified_again(made, clip, monkeypatch):
    small_atstrack.install(monkeypatch)
    assert verify_artifact(made.path, clip=clip, threads=1).verdict == "passed"


BREAKS = ["token", *(pytest.param(name, marks=pytest.mark.big) for name in ("phrases", "slots"))]


@pytest.mark.parametrize("broken", BREAKS)
def test_the_gate_sees_what_is_wrong(clip, tmp_path, monkeypatch, broken):
    """An artifact that is not its source: the token stays, other phrases are followed, templates are never renewed."""
    if broken == "token":
        real = graphs.SearchGraph.forward
        monkeypatch.setattr(graphs.SearchGraph, "forward", lambda self, *fed: (*real(self, *fed)[:3], fed[3] + 0))
    elif broken == "phrases":
        real = AtsReference.__init__
        turned = lambda told: type(told)(told.lang.flip(3), told.mask, told.state)  # noqa: E731
        monkeypatch.setattr(
            AtsReference, "__init__", lambda self, net, told, rule=None: real(self, net, turned(told), rule)
        )
    else:
        monkeypatch.setattr(AtsReference, "_show", lambda *_: None)
    with pytest.raises(ParityError, match=r"boxes differ|vl_state_next|decoded corners differ"):
        make(clip, tmp_path)
    assert not (tmp_path / "made").exists()


def frames(count: int) -> list[np.ndarray]:
    return [synth_frame(index, HEIGHT, WIDTH) for index in range(count)]


def boxes(tracker, video, **start) -> list[tuple[float, ...]]:
    tracker.init(video[0], synth_box(0, HEIGHT, WIDTH), color="rgb", **start)
    found = []
    for frame in video[1:]:
        tracker.update(frame)
        found.append(tracker.raw_box)
    return found


PHRASES = {"category": "man", "appearance": "white", "action": "", "location": "in the car"}


def test_told_what_to_follow(made, tmp_path):
    """A sentence, its phrases, a callable's, and a pack give the same run; other words another one."""
    video = frames(6)
    with edgetrack.load(made.path, threads=1) as tracker:
        first = boxes(tracker, video, text="the white man in the car")
        assert boxes(tracker, video, text=PHRASES) == first
        assert boxes(tracker, video, text="in the car, a white man", splitter=lambda _: PHRASES) == first
        pack = tracker.encode_text("the white man in the car").save(tmp_path / "man.pack")
        assert boxes(tracker, video, text="red dog") != first
        assert boxes(tracker, video, text=PHRASES | {"location": ""}) != first
        silent = boxes(tracker, video)
        assert silent not in (first, [])
    with edgetrack.load(made.path, threads=1) as tracker:
        assert boxes(tracker, video, pack=pack) == first
        assert tracker.text_ms == 0  # nothing was encoded here


def test_another_description_in_the_middle(made, monkeypatch):
    """What was seen stays in the token, what was said is replaced: as the reference loop does."""
    small_atstrack.install(monkeypatch)
    from edgetrack.export.models import family_of
    from edgetrack.export.verify import source_of

    artifact = edgetrack.artifact.read_artifact(made.path)
    source = source_of(artifact, None, None)
    loop = family_of("atstrack-384").reference("atstrack-384", source.net)
    video = frames(9)
    with edgetrack.load(made.path, threads=1) as tracker:
        first, second = tracker.encode_text(PHRASES), tracker.encode_text("red dog")
        loop.told = as_told(first)
        loop.init(video[0], synth_box(0, HEIGHT, WIDTH))
        tracker.init(video[0], synth_box(0, HEIGHT, WIDTH), pack=first, color="rgb")
        for index, frame in enumerate(video[1:]):
            if index == 4:
                kept = tracker.core.network_state[:64]
                tracker.retarget(pack=second)
                loop.tell(as_told(second))
                assert np.array_equal(tracker.core.network_state[:64], kept)
            tracker.update(frame)
            assert tracker.raw_box == pytest.approx(loop.update(frame), abs=0.05)
            np.testing.assert_allclose(tracker.core.network_state, loop.state.numpy().ravel(), rtol=0, atol=1e-4)
            assert tracker.core.slots == loop.shown


def as_told(pack):
    told = {name: torch.from_numpy(np.array(array)) for name, array in pack.arrays.items()}
    return small_atstrack.Told(told["lang"], told["lang_mask"], told["vl_state"])


@pytest.mark.parametrize("text", ["\U0001f600\U0001f600", "!!!", "\x00\x07", "", "   "])
def test_a_text_that_says_nothing_is_refused(made, text):
    with edgetrack.load(made.path, threads=1) as tracker, pytest.raises(InputError, match="says nothing") as error:
        tracker.init(frames(1)[0], synth_box(0, HEIGHT, WIDTH), text=text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["man " * 2500, "الرجل ذو القميص الأبيض", "man\x00 in\x07 white", "the \U0001f600 man"]
)
def test_texts_of_any_kind_are_followed_or_refused_in_one_line(made, text):
    """10,000 characters, right to left, control characters, emoji: boxes stay finite, or one line says why not."""
    with edgetrack.load(made.path, threads=1) as tracker:
        try:
            found = boxes(tracker, frames(3), text=text)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017 (either is right)
            return
        assert np.isfinite(found).all()


def test_a_pack_of_other_weights_is_refused(made):
    with edgetrack.load(made.path, threads=1) as tracker:
        pack = tracker.encode_text("man")
        other = type(pack)(type(pack.made_by)("atstrack-384", "0" * 64), pack.text, pack.arrays)
        with pytest.raises(InputError, match="other weights"):
            tracker.init(frames(1)[0], synth_box(0, HEIGHT, WIDTH), pack=other)


def test_what_a_device_needs_of_a_target_is_small(made):
    spec = json.loads((made.path / "edgetrack.json").read_text())["tracker"]
    assert spec["language"]["feeds"] == ["vl_state", "lang", "lang_mask"]
    with edgetrack.load(made.path, threads=1) as tracker:
        pack = tracker.encode_text("man")
    assert {name: array.shape for name, array in pack.arrays.items()} == {
        "vl_state": (1, 2, 64),
        "lang": (1, 4, 6, 64),
        "lang_mask": (1, 4, 6),
    }


@pytest.fixture
def run(capsys):
    def call(*words: object) -> tuple[int, str, str]:
        code = main([*map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


VIDEO = ("--source", demo.CLIP, "--init", "286,321,195,111", "--max-frames", 4)


def test_track_on_the_command_line(run, made, tmp_path):
    """A sentence, its phrases and a pack give the same boxes; with one phrase less it is another run."""
    words = [option for name, phrase in PHRASES.items() for option in ("--phrase", f"{name}={phrase}")]
    pack = tmp_path / "man.pack"
    code, out, _ = run("encode", made.path, *words, "--output", pack, "--json")
    assert code == 0
    assert json.loads(out)["arrays"] == {"vl_state": [1, 2, 64], "lang": [1, 4, 6, 64], "lang_mask": [1, 4, 6]}
    found = []
    for said in (("--text", "the white man in the car"), words, ("--pack", pack), words[:2]):
        code, out, _ = run("track", made.path, *VIDEO, *said, "--json")
        assert code == 0
        found.append(json.loads(out)["last_box"])
    assert found[0] == found[1] == found[2] != found[3]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("--phrase", "man"), "'man' is no phrase; give NAME=WORDS with one of category, appearance"),
        (("--phrase", "colour=red"), "'colour=red' is no phrase"),
        (("--phrase", "category=man", "--phrase", "category=dog"), "category is given twice"),
        (("--phrase", "category=man", "--text", "man"), "give one of them"),
    ],
)
def test_wrong_phrases_are_wrong_usage(run, made, said, words):
    code, _, err = run("track", made.path, *VIDEO, *said)
    assert code == 2
    assert words in " ".join(err.split())


def test_bench_compares_runs_that_follow_the_same_words(run, made, monkeypatch):
    """The loop in PyTorch hears what the artifact is told; words are encoded by init, and no stage of an update is."""
    small_atstrack.install(monkeypatch)
    entry = bench_entry(run, made.path)
    assert entry["versus"]["max_box_px"] <= 0.05
    assert entry["text_ms"] > 0
    assert entry["total_ms"]["max"] <= sum(values["max"] for values in entry["stages_ms"].values())


@pytest.mark.big
def test_verify_on_the_command_line(run, made, monkeypatch):
    small_atstrack.install(monkeypatch)
    code, out, _ = run("verify", made.path, "--threads", 1)
    assert (code, "verification: passed" in out) == (0, True)
