"""Exporting a tracker that reads text: where the encoder and the vocabulary come from, and the gate with a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_vocabulary
import torch
import toy_language_family
from drawn_clip import TOY_SIZE, drawn_clip
from toy_language_family import FAMILY, PREFIX, SHAPE

import edgetrack
from edgetrack.artifact import read_artifact, sha256_of
from edgetrack.errors import CheckpointError, InputError, ParityError
from edgetrack.export.language import TextFiles, with_text_encoder
from edgetrack.export.parity.clip import Clip
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.standin import synth_frame, synth_state
from edgetrack.export.verify import verify_artifact
from edgetrack.runtime.clip_vocabulary import read_vocabulary, tokenizer_json

pytest.importorskip("tokenizers")
BOX = (30.0, 30.0, 24.0, 24.0)


@pytest.fixture(autouse=True)
def family(monkeypatch):
    toy_language_family.install(monkeypatch)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return drawn_clip(tmp_path_factory.mktemp("clip"), 10, TOY_SIZE)


def export(folder: Path, clip: Clip, weights="stand-in", **options):
    return export_tracker("toy-told", weights, output=folder, clip=clip, threads=1, **options)


def checkpoint(path: Path, *, whole: bool = False) -> Path:
    """A checkpoint without its text encoder, as they are published; `whole`: with it."""
    entries = {**FAMILY.entries(""), **(FAMILY.text_side("").entries() if whole else {})}
    torch.save({"net": {name: torch.from_numpy(value) for name, value in synth_state(entries).items()}}, path)
    return path


def clip_file(path: Path) -> Path:
    """A published text encoder: the same values, under names without the prefix, among other things."""
    state = {PREFIX + name: shape for name, shape in SHAPE.entries().items()}
    values = {name.removeprefix(PREFIX): torch.from_numpy(value) for name, value in synth_state(state).items()}
    torch.save({**values, "logit_scale": torch.tensor(1.0), "visual.proj": torch.zeros(2)}, path)
    return path


def test_stand_in(tmp_path, clip):
    """A made-up encoder and vocabulary: the gate passes with a sentence, and a user's sentence can be followed."""
    result = export(tmp_path / "told", clip)
    assert result.report.verdict == "passed"
    assert {(item.role, item.output) for item in result.report.tensors} == {("text", "text"), ("search", "shift")}
    artifact = read_artifact(result.path)
    section = artifact.tracker["language"]
    assert section["tokenizer"]["tokens"] == SHAPE.vocabulary
    assert section["tokenizer"]["sha256"] == sha256_of(result.path / "tokenizer.json")
    assert section["encoder_sha256"] == ""
    assert artifact.graph("text").inputs[0].dtype == "int32"
    frames = [synth_frame(index, 90, 120) for index in range(2)]
    boxes = []
    with edgetrack.load(result.path) as tracker:
        for text in ("man", "car"):
            tracker.init(frames[0], BOX, text=text)
            boxes.append(tracker.update(frames[1])[1])
    assert boxes[0] != boxes[1]
    assert verify_artifact(result.path, clip=clip, threads=1).verdict == "passed"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_openvino(tmp_path, clip, precision):
    """The ids stay whole numbers, in whatever precision the rest is."""
    pytest.importorskip("openvino")
    result = export(tmp_path / "told", clip, target="openvino", precision=precision)
    assert result.report.verdict == "passed"
    assert read_artifact(result.path).graph("text").inputs[0].dtype == "int32"
    with edgetrack.load(result.path) as tracker:
        tracker.init(synth_frame(0, 90, 120), BOX, text="man")
        session = tracker.language._chain.open("text")
        assert session.inputs["ids"].dtype == np.int32
        assert tracker.update(synth_frame(1, 90, 120))[0]


def test_the_gate_hears_the_sentence(tmp_path, clip, monkeypatch):
    """Another prompt on one side is seen in the boxes."""
    real = toy_language_family.ToldLoop.__init__

    def other(loop, graphs):
        real(loop, graphs)
        loop.told = loop.told * 1.5

    monkeypatch.setattr(toy_language_family.ToldLoop, "__init__", other)
    with pytest.raises(ParityError, match="box"):
        export(tmp_path / "told", clip)


def test_published_files(tmp_path, clip):
    files = TextFiles(clip_file(tmp_path / "ViT.pt"), tiny_vocabulary.write_openai(tmp_path))
    weights = checkpoint(tmp_path / "told.pth")
    result = export(tmp_path / "told", clip, weights, text=files)
    artifact = read_artifact(result.path)
    assert artifact.tracker["language"]["encoder_sha256"] == sha256_of(files.encoder)
    assert artifact.model.checkpoint_sha256 == sha256_of(weights)
    assert f"--text-encoder {files.encoder} --vocabulary {files.vocabulary}" in artifact.build.command
    written = read_vocabulary(result.path / "tokenizer.json", size=SHAPE.vocabulary)
    assert written == tiny_vocabulary.tiny_vocabulary()
    again = verify_artifact(result.path, weights, text=TextFiles(files.encoder), clip=clip, threads=1)
    assert again.verdict == "passed"
    pack = edgetrack.encode_text(result.path, "the red car")
    assert pack.made_by.encoder_sha256 == sha256_of(files.encoder)
    assert np.isfinite(pack.arrays["text"]).all()


def state_of(path: Path) -> dict[str, torch.Tensor]:
    from edgetrack.export.checkpoint import load_checkpoint

    return load_checkpoint(path).state


def test_where_the_encoder_comes_from(tmp_path):
    vocabulary = tiny_vocabulary.write_tokenizer(tmp_path)
    bare, whole = checkpoint(tmp_path / "a.pth"), checkpoint(tmp_path / "b.pth", whole=True)
    file = clip_file(tmp_path / "ViT.pt")
    both, text = with_text_encoder("toy-told", state_of(bare), TextFiles(file, vocabulary), made_up=False)
    own, none = with_text_encoder("toy-told", state_of(whole), TextFiles(None, vocabulary), made_up=False)
    assert both.keys() == own.keys()
    assert all(torch.equal(value, own[name]) for name, value in both.items())
    assert (text.encoder_sha256, none.encoder_sha256) == (sha256_of(file), "")
    with pytest.raises(CheckpointError, match=r"holds no text encoder; give the weights of a toy CLIP with --text-enc"):
        with_text_encoder("toy-told", state_of(bare), TextFiles(None, vocabulary), made_up=False)
    with pytest.raises(CheckpointError, match="holds a text encoder of its own"):
        with_text_encoder("toy-told", state_of(whole), TextFiles(file, vocabulary), made_up=False)
    with pytest.raises(CheckpointError, match=r"text encoder .*a\.pth: it does not hold the text transformer of a toy"):
        with_text_encoder("toy-told", state_of(bare), TextFiles(bare, vocabulary), made_up=False)


def test_a_vocabulary_that_does_not_fit_the_encoder(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_json(tiny_vocabulary.tiny_vocabulary((("x", "y"),))), encoding="utf-8")
    with pytest.raises(InputError, match=f"has {SHAPE.vocabulary + 1} tokens, the text encoder {SHAPE.vocabulary}"):
        with_text_encoder("toy-told", {}, TextFiles(None, path), made_up=True)


def test_files_that_have_no_use(tmp_path):
    file = tmp_path / "x"
    with pytest.raises(InputError, match=r"ostrack-256 reads no text: leave out --text-encoder and --vocabulary"):
        TextFiles(file).check("ostrack-256", made_up=False)
    with pytest.raises(InputError, match="stand-in weights make up the text encoder too"):
        TextFiles(file).check("toy-told", made_up=True)
    with pytest.raises(InputError, match="toy-told reads text: give the vocabulary of CLIP with --vocabulary"):
        TextFiles(file).check("toy-told", made_up=False)
    TextFiles().check("ostrack-256", made_up=False)
    TextFiles(None, file).check("toy-told", made_up=True)


def test_a_made_up_vocabulary_is_one_of_the_published_size(tmp_path):
    from edgetrack.export.language import _made_up_vocabulary

    vocabulary = _made_up_vocabulary(49408)
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_json(vocabulary), encoding="utf-8")
    assert read_vocabulary(path) == vocabulary
    assert (vocabulary.start, vocabulary.end) == (49406, 49407)
    assert json.loads(path.read_text(encoding="utf-8"))["model"]["type"] == "BPE"
    with pytest.raises(InputError, match="no vocabulary of 100 tokens"):
        _made_up_vocabulary(100)
