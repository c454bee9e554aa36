"""Text and boxes through a whole tracker with a text side: what is encoded when, and what is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import edgetrack
from edgetrack.errors import ArtifactError, EngineUnavailable, InputError
from edgetrack.runtime.target_pack import TargetPack

pytest.importorskip("onnx")
pytest.importorskip("tokenizers")
import tiny_language_artifact
from tiny_language_artifact import CONTEXT, WIDTH, change

BOX = (40.0, 30.0, 24.0, 24.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    return {kind: tiny_language_artifact.write_artifact(folder / kind, boxless=kind == "boxless") for kind in KINDS}


KINDS = ("box", "boxless")


@pytest.fixture
def described(written, tmp_path):
    return shutil.copytree(written["box"], tmp_path / "described")


@pytest.fixture
def boxless(written, tmp_path):
    return shutil.copytree(written["boxless"], tmp_path / "boxless")


def fed(tracker) -> np.ndarray:
    """What the search network is told."""
    return tracker.language._fed["text"][0].copy()


def boxes(tracker, frames, **start) -> list:
    tracker.init(frames[0], BOX, **start)
    return [tracker.update(frame)[1] for frame in frames[1:]]


def refused(call, *parts: str, error: type[Exception] = InputError) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_text_changes_what_is_followed(described, frames):
    with edgetrack.load(described) as tracker:
        assert tracker.language is not None
        man, car = boxes(tracker, frames, text="the white man"), boxes(tracker, frames, text="the red car")
        again = boxes(tracker, frames, text="  The WHITE man ")
        without = boxes(tracker, frames)
    assert man == again
    assert man != car
    assert without not in (man, car)


def test_text_is_encoded_once_per_target(described, frames, monkeypatch):
    with edgetrack.load(described) as tracker:
        runs = []
        opened = tracker.language._chain.open

        def counted(role):
            session = opened(role)
            runs.append(session)
            return session

        monkeypatch.setattr(tracker.language._chain, "open", counted)
        boxes(tracker, frames, text="the man")
        assert len(runs) == 1
        assert tracker.text_ms > 0
        told = fed(tracker)
        boxes(tracker, frames, text="the man")
        assert len(runs) == 1  # the same sentence is remembered
        np.testing.assert_array_equal(fed(tracker), told)
        for number in range(40):
            tracker.encode_text("man " * (number % 10 + 1))
        assert len(tracker.language._kept) <= 16


def test_the_text_graph_is_opened_only_for_a_text(described, frames):
    with edgetrack.load(described) as tracker:
        assert not tracker.language._chain._kept
        boxes(tracker, frames, text="the man")
        assert tracker.language._chain._kept


def test_without_text(described, frames):
    """Padding alone, or an empty sentence, as the manifest says."""
    with edgetrack.load(described) as tracker:
        tracker.init(frames[0], BOX)
        padding = fed(tracker)
        assert (padding == padding[:, :1]).all()
    change(described, lambda content: content["tracker"]["language"].update(without_text="empty"))
    with edgetrack.load(described) as tracker:
        tracker.init(frames[0], BOX)
        empty = fed(tracker)
    np.testing.assert_array_equal(empty[:, 2:], padding[:, 2:])
    assert (empty[:, :2] != padding[:, :2]).any()


def test_a_failed_init_leaves_the_old_target(described, frames):
    with edgetrack.load(described) as tracker, edgetrack.load(described) as other:
        tracker.init(frames[0], BOX, text="the man")
        other.init(frames[0], BOX, text="the man")
        for call, part in (
            (lambda: tracker.init(frames[0], (0, 0, -1, 5), text="the red car"), "box"),
            (lambda: tracker.init(frames[0][:0], BOX, text="the red car"), ""),
            (lambda: tracker.init(frames[0], BOX, text="man " * 90), "at most 16 fit"),
            (lambda: tracker.init(frames[0], BOX, text=""), "says nothing"),
            (lambda: tracker.retarget(text=" \n"), "says nothing"),
        ):
            refused(call, part)
        assert [tracker.update(f) for f in frames[1:]] == [other.update(f) for f in frames[1:]]


def test_retarget(described, frames):
    with edgetrack.load(described) as tracker:
        refused(lambda: tracker.retarget(text="the red car"), "before init")
        boxes(tracker, frames[:3], text="the man")
        refused(tracker.retarget, "was given nothing")
        place = tracker.box
        tracker.retarget(text="the red car")
        assert tracker.box == place
        np.testing.assert_array_equal(fed(tracker), tracker.encode_text("the red car").arrays["text"])
        assert tracker.update(frames[3])[0]
        tracker.reset()
        refused(lambda: tracker.retarget(text="the red car"), "before init")


def test_by_text_alone(boxless, frames):
    with edgetrack.load(boxless) as tracker:
        tracker.init(frames[0], text="the man")
        assert tracker.core.boxless == 1
        assert tracker.update(frames[1])[0]
        tracker.retarget(text="the red car")
        expected = [tracker.encode_text(text).arrays["text"] for text in ("the man", "the red car")]
        assert np.array_equal(tracker.core.told, expected)
        tracker.init(frames[0], BOX, text="the man")
        assert (tracker.box, tracker.core.boxless) == (BOX, 1)
        refused(lambda: tracker.init(frames[0]), "follows what a text describes")
        refused(lambda: tracker.init(frames[0], BOX), "follows what a text describes")


def test_by_text_alone_needs_a_tracker_that_can(described, artifact, frames):
    with edgetrack.load(described) as tracker, edgetrack.load(artifact) as other:
        refused(lambda: tracker.init(frames[0], text="the man"), "box is None")
        refused(lambda: other.init(frames[0]), "box is None")


def test_language_for_a_tracker_without(artifact, frames, tmp_path):
    with edgetrack.load(artifact) as tracker:
        assert tracker.language is None
        assert tracker.text_ms == 0
        for call in (
            lambda: tracker.init(frames[0], BOX, text="the man"),
            lambda: tracker.init(frames[0], BOX, pack=tmp_path / "man.pack"),
            lambda: tracker.encode_text("the man"),
            lambda: tracker.retarget(text="the man"),
        ):
            refused(call, "reads no text")
        tracker.init(frames[0], BOX)
    refused(lambda: edgetrack.encode_text(artifact, "the man"), "reads no text")


def test_a_pack_in_place_of_a_text(described, frames, tmp_path):
    made = edgetrack.encode_text(described, "the red car")
    assert (made.text, made.made_by.variant) == ("the red car", tiny_language_artifact.VARIANT)
    path = made.save(tmp_path / "car.pack")
    with edgetrack.load(described) as tracker:
        expected = boxes(tracker, frames, text="the red car")
        assert boxes(tracker, frames, text="the white man") != expected
    # A device needs neither text graph nor vocabulary for it.
    change(described, lambda content: content["graphs"].pop())
    (described / "text.onnx").unlink()
    with edgetrack.load(described) as tracker:
        assert boxes(tracker, frames, pack=path) == expected
        assert boxes(tracker, frames, pack=str(path)) == expected
        assert boxes(tracker, frames, pack=made) == expected
        refused(lambda: tracker.init(frames[0], BOX, text="the man"), "no text encoder", "--pack")
        refused(lambda: tracker.init(frames[0], BOX, text="the man", pack=path), "both a text and a target pack")
        refused(lambda: tracker.init(frames[0], BOX, pack=3), "pack is a int")
        tracker.retarget(pack=path)


def test_a_pack_of_another_model(described, frames, tmp_path):
    made = edgetrack.encode_text(described, "the red car")
    path = made.save(tmp_path / "car.pack")
    change(described, lambda content: content["model"].update(checkpoint_sha256="1" * 64))
    with edgetrack.load(described) as tracker:
        refused(lambda: tracker.init(frames[0], BOX, pack=path), "car.pack", "other weights", "111111111111")
    change(described, lambda content: content["model"].update(checkpoint_sha256="0" * 64, variant="other-toy"))
    with edgetrack.load(described) as tracker:
        refused(lambda: tracker.init(frames[0], BOX, pack=path), "was made for language-toy-test", "is other-toy")


def test_a_pack_of_other_arrays(described, frames):
    made = edgetrack.encode_text(described, "the red car")
    with edgetrack.load(described) as tracker:
        for arrays in ({"text": np.zeros((1, 3, WIDTH), np.float32)}, {"other": made.arrays["text"]}):
            wrong = TargetPack(made.made_by, "x", arrays)
            told = f"is fed text [1, {CONTEXT}, {WIDTH}]"
            refused(lambda wrong=wrong: tracker.init(frames[0], BOX, pack=wrong), told)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "says nothing"),
        (" \t\n ", "says nothing"),
        ("\x00\x01\x07", "says nothing"),
        ("man " * 2500, "at most 16 fit"),
        ("a" * 10_000, "at most 16 fit"),
        ("a" * 70_000, "at most 65536 are read"),
        ("\ud83d", "none (U+D83D"),
        (b"man", "is a bytes"),
        (["man"], "is a list"),
    ],
)
def test_text_that_cannot_be_used(described, frames, text, part):
    with edgetrack.load(described) as tracker:
        refused(lambda: tracker.init(frames[0], BOX, text=text), part)


@pytest.mark.parametrize("text", ["🚗🚗", "رجل أبيض", "\u202eman\u202c", "\x1b[31mman\x07", "<|endoftext|>", "!"])
def test_odd_text_that_can(described, frames, text):
    with edgetrack.load(described) as tracker:
        assert len(boxes(tracker, frames[:3], text=text)) == 2


def test_phrases_for_a_tracker_that_reads_a_sentence(described, frames):
    with edgetrack.load(described) as tracker:
        refused(lambda: tracker.init(frames[0], BOX, text={"category": "man"}), "reads a sentence, not phrases")
        refused(lambda: tracker.init(frames[0], BOX, text={"verb": "man"}), "key 'verb'")


def test_a_damaged_vocabulary(described, frames):
    path = described / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:-100])
    refused(lambda: edgetrack.load(described), "sha256", error=ArtifactError)
    path.unlink()
    refused(lambda: edgetrack.load(described), "missing", error=ArtifactError)


def test_a_vocabulary_that_does_not_fit_the_encoder(described, frames):
    change(described, lambda content: content["tracker"]["language"]["tokenizer"].update(tokens=49408))
    with edgetrack.load(described) as tracker:
        refused(
            lambda: tracker.init(frames[0], BOX, text="the man"), "tokens, the text encoder 49408", error=ArtifactError
        )


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("feeds", [], "tracker.language.feeds"),
        ("feeds", ["none"], "'none', which 0 graphs have"),
        ("form", "song", "sentence"),
        ("without_text", "guess", "refuse, empty, padding"),
        ("without_box", 1, "true or false"),
        ("encoder_sha256", None, "encoder_sha256"),
        ("tokenizer", None, "tokenizer"),
        ("chain", [], "tracker.language.chain"),
        ("chain", ["text", "text"], "different names"),
        ("noise_seed", -1, "noise_seed"),
        ("half", 1, "true or false"),
    ],
)
def test_a_manifest_that_says_nonsense(described, key, value, part):
    change(described, lambda content: content["tracker"]["language"].update({key: value}))
    refused(lambda: edgetrack.load(described), part, error=ArtifactError)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("file", "../tokenizer.json", "tokenizer.file"),
        ("sha256", "1", "tokenizer.sha256"),
        ("context", 2, "tokenizer.context"),
        ("padding", -1, "tokenizer.padding"),
        ("overflow", "wrap", "refuse, truncate"),
        ("tokens", 0, "tokenizer.tokens"),
    ],
)
def test_tokenizer_rules_that_are_nonsense(described, key, value, part):
    change(described, lambda content: content["tracker"]["language"]["tokenizer"].update({key: value}))
    refused(lambda: edgetrack.load(described), part, error=ArtifactError)


def test_rules_that_do_not_fit_the_text_graph(described, frames):
    change(described, lambda content: content["tracker"]["language"]["tokenizer"].update(context=CONTEXT + 1))
    with edgetrack.load(described) as tracker:
        refused(lambda: tracker.init(frames[0], BOX, text="the man"), "no input 'ids'", error=ArtifactError)
    change(described, lambda content: content["tracker"]["language"]["tokenizer"].update(cleaning="soap"))
    with edgetrack.load(described) as tracker:
        refused(lambda: tracker.init(frames[0], BOX, text="the man"), "soap", error=ArtifactError)


def test_without_the_tokenizers_package(described, frames, monkeypatch):
    import sys

    made = edgetrack.encode_text(described, "the man")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with edgetrack.load(described) as tracker:
        refused(lambda: tracker.init(frames[0], BOX, text="the man"), "edgetrack[language]", error=EngineUnavailable)
        tracker.init(frames[0], BOX, pack=made)
