"""A CLIP vocabulary of a few hundred tokens, in every form of file that a real one has."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from edgetrack.runtime.clip_vocabulary import BYTE_SYMBOLS, END_SYMBOL, START_SYMBOL, Vocabulary, tokenizer_json

MERGES = [
    *(("t", "h"), ("th", "e</w>"), ("m", "a"), ("ma", "n</w>"), ("i", "n</w>"), ("w", "h"), ("wh", "i"), ("whi", "t")),
    *(("whit", "e</w>"), ("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "r</w>"), ("do", "g</w>"), ("d", "o")),
]


def tiny_vocabulary(extra: tuple[tuple[str, str], ...] = ()) -> Vocabulary:
    """Numbered as the published one is: bytes, bytes that end a word, merges, start, end."""
    merges = (*MERGES, *extra)
    symbols = [*BYTE_SYMBOLS.values(), *(symbol + "</w>" for symbol in BYTE_SYMBOLS.values())]
    symbols += [*("".join(pair) for pair in merges), START_SYMBOL, END_SYMBOL]
    return Vocabulary({symbol: number for number, symbol in enumerate(symbols)}, merges)


SIZE = len(tiny_vocabulary().ids)


def write_tokenizer(folder: Path) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(tokenizer_json(tiny_vocabulary()), encoding="utf-8")
    return path


def write_pair(folder: Path) -> Path:
    vocabulary = tiny_vocabulary()
    merges = "\n".join(" ".join(pair) for pair in vocabulary.merges)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    path = folder / "vocab.json"
    path.write_text(json.dumps(vocabulary.ids), encoding="utf-8")
    return path


def write_openai(folder: Path) -> Path:
    """With more merges than are taken, as in the published file."""
    lines = ['"bpe_simple_vocab"#version: 0.2', *(" ".join(pair) for pair in MERGES), "x y", "xy z"]
    path = folder / "bpe_simple_vocab_16e6.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode("utf-8")))
    return path


WRITERS = {"tokenizer": write_tokenizer, "pair": write_pair, "openai": write_openai}
