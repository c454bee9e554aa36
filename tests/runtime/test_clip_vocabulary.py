"""Vocabulary files that users supply: the four forms, and what is refused."""

from __future__ import annotations

import gzip
import json

import pytest
from tiny_vocabulary import SIZE, WRITERS, tiny_vocabulary, write_pair, write_tokenizer

from edgetrack.errors import InputError
from edgetrack.runtime import clip_vocabulary
from edgetrack.runtime.clip_vocabulary import BYTE_SYMBOLS, read_vocabulary, tokenizer_json


def refused(path, size: int = SIZE) -> str:
    with pytest.raises(InputError) as caught:
        read_vocabulary(path, size=size)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("form", WRITERS)
def test_forms(tmp_path, form):
    path = WRITERS[form](tmp_path)
    assert read_vocabulary(path, size=SIZE) == tiny_vocabulary()
    assert read_vocabulary(tmp_path, size=SIZE) == tiny_vocabulary()


def test_merges_file_finds_its_vocabulary(tmp_path):
    write_pair(tmp_path)
    assert read_vocabulary(tmp_path / "merges.txt", size=SIZE) == tiny_vocabulary()


def test_merges_as_pairs(tmp_path):
    """tokenizers from 0.20 on writes a merge as a list of two; special tokens may be listed only as added."""
    path = write_tokenizer(tmp_path)
    document = json.loads(path.read_text())
    document["model"]["merges"] = [merge.split(" ") for merge in document["model"]["merges"]]
    for token in document["added_tokens"]:
        del document["model"]["vocab"][token["content"]]
    path.write_text(json.dumps(document))
    assert read_vocabulary(path, size=SIZE) == tiny_vocabulary()


def test_the_library_reads_what_is_written():
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = tiny_vocabulary()
    tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json(vocabulary))
    assert tokenizer.get_vocab() == vocabulary.ids
    assert tokenizer.model.tokenize("white")[0].id == vocabulary.ids["white</w>"]


def test_byte_alphabet():
    """MVLM spec section 3.1: 188 bytes stand for themselves, the others come behind them."""
    symbols = list(BYTE_SYMBOLS.values())
    assert len(set(symbols)) == 256
    assert symbols[:2] == ["!", '"']
    assert symbols[187] == "ÿ"
    assert symbols[188] == "Ā"
    assert BYTE_SYMBOLS[32] == "Ġ"


def test_size_must_fit_the_encoder(tmp_path):
    message = refused(WRITERS["pair"](tmp_path), 49408)
    assert f"has {SIZE} tokens, the text encoder 49408" in message
    assert "merges, 48894 are needed" in refused(WRITERS["openai"](tmp_path), 49408)


def test_no_file(tmp_path):
    assert "No such file" in refused(tmp_path / "none.json")
    assert "holds no vocabulary" in refused(tmp_path)
    write_pair(tmp_path)
    (tmp_path / "merges.txt").unlink()
    assert "No such file" in refused(tmp_path / "vocab.json")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda ids: ids.pop("a"), "do not run from 0"),
        (lambda ids: ids.update(a="1"), "do not run from 0"),
        (lambda ids: ids.update(a=True), "do not run from 0"),
        (lambda ids: ids.update(a=ids["b"]), "do not run from 0"),
        (lambda ids: ids.clear(), "no table of symbols"),
        (lambda ids: ids.update({"x" * 2000: ids.pop("a")}), "more than 1024 characters"),
        (lambda ids: ids.update({"new": ids.pop("<|endoftext|>")}), "'<|endoftext|>' is missing"),
        (lambda ids: ids.update({"new": ids.pop("whi")}), "'whi' is missing"),
        (lambda ids: ids.update({"new": ids.pop("Ā</w>")}), "'Ā</w>' is missing"),
    ],
)
def test_damaged_table(tmp_path, change, part):
    path = write_pair(tmp_path)
    ids = json.loads(path.read_text())
    change(ids)
    path.write_text(json.dumps(ids))
    assert part in refused(path)


@pytest.mark.parametrize("line", ["a", "a b c", "", " a", "a  b"])
def test_damaged_merge(tmp_path, line):
    path = write_pair(tmp_path)
    lines = (tmp_path / "merges.txt").read_text().split("\n")
    lines[3] = line
    (tmp_path / "merges.txt").write_text("\n".join(lines))
    assert "merge 2 is no pair" in refused(path)


def test_damaged_files(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    for data, part in (
        (b"\xff\xfe", "no UTF-8"),
        (b"{", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b'{"model": {"type": "WordPiece"}}', "no byte-pair vocabulary"),
        (b'{"model": {"type": "BPE", "end_of_word_suffix": "</w>"}}', "no list of merges"),
        (b'{"model": {"end_of_word_suffix": "</w>", "merges": [3]}}', "merge 0 is no pair"),
        (b'{"model": {"end_of_word_suffix": "</w>", "merges": [], "vocab": 3}}', "no table of symbols"),
    ):
        path.write_bytes(data)
        assert part in refused(path)
    packed = tmp_path / "vocab.txt.gz"
    whole = WRITERS["openai"](tmp_path).read_bytes()
    for data, part in ((b"no gzip", "no gzip file"), (whole[:-20], "no gzip file"), (gzip.compress(b"\xff"), "UTF-8")):
        packed.write_bytes(data)
        assert part in refused(packed)
    monkeypatch.setattr(clip_vocabulary, "_MAX_BYTES", 1 << 20)
    packed.write_bytes(gzip.compress(b"a" * (1 << 21)))
    assert "unpacks to more than 1 MiB" in refused(packed)
    path.write_bytes(b" " * (1 << 21))
    assert "larger than 1 MiB" in refused(path)
