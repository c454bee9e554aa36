"""CLIP's byte-pair vocabulary out of the files that users have; all of them are read as untrusted data.

Read are transformers' `tokenizer.json` or `vocab.json` with `merges.txt` beside it, and OpenAI's
`bpe_simple_vocab_16e6.txt.gz`. An artifact carries a `tokenizer.json` that `write_tokenizer` made.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetrack.errors import InputError

__all__ = [
    "BYTE_SYMBOLS",
    "END_SYMBOL",
    "PUBLISHED_SIZE",
    "START_SYMBOL",
    "WORD_END",
    "Vocabulary",
    "read_vocabulary",
    "tokenizer_json",
]

PUBLISHED_SIZE = 49408
"""Number of tokens of every published CLIP text encoder."""
START_SYMBOL, END_SYMBOL = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
"""What the last symbol of a word carries."""

_MAX_BYTES = 32 << 20
_MAX_SIZE = 1 << 20
_MAX_SYMBOL = 1024
_BYTES = 256
_REMEDY = "give tokenizer.json, vocab.json with merges.txt beside it, or bpe_simple_vocab_16e6.txt.gz of CLIP"


def _byte_symbols() -> dict[int, str]:
    """Return byte -> printable character in the order of ids, as GPT-2 made it (MVLM spec section 3.1)."""
    themselves = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(_BYTES) if byte not in themselves]
    return {byte: chr(byte) for byte in themselves} | {byte: chr(_BYTES + n) for n, byte in enumerate(others)}


BYTE_SYMBOLS = _byte_symbols()
"""Byte -> the character that stands for it, in the order of their ids."""


@dataclass(frozen=True)
class Vocabulary:
    """Symbols and merges of a byte-pair vocabulary; checked: ids run from 0, and every merge's symbols are there.

    ids: symbol -> id. merges: pairs of symbols by falling rank.
    """

    ids: dict[str, int]
    merges: tuple[tuple[str, str], ...]

    @property
    def start(self) -> int:
        """Id of the token before a sentence."""
        return self.ids[START_SYMBOL]

    @property
    def end(self) -> int:
        """Id of the token after a sentence."""
        return self.ids[END_SYMBOL]

    def check_size(self, wanted: int, what: str) -> None:
        """Refuse a vocabulary that does not fit an encoder.

        Args:
            wanted: rows of the encoder's table of tokens.
            what: names the vocabulary in the message.

        Raises:
            InputError: it has another number of tokens.
        """
        if len(self.ids) != wanted:
            raise InputError(
                f"{what} has {len(self.ids)} tokens, the text encoder {wanted}: they do not belong together; "
                "give the vocabulary that the encoder was trained with"
            )


def read_vocabulary(path: str | Path, *, size: int = PUBLISHED_SIZE) -> Vocabulary:
    """Read a vocabulary, in whichever of the four files it is.

    Args:
        path: `tokenizer.json`; `vocab.json` or `merges.txt`, where the other one is in the same folder; a folder with
            one of these; or OpenAI's `.txt.gz`.
        size: number of tokens wanted. OpenAI's file holds more merges than CLIP uses, so this says how many are taken.

    Raises:
        InputError: it cannot be read, is none of these, larger than 32 MiB, damaged, or of another size.
    """
    path = Path(path)
    try:
        vocabulary = _read(_resolved(path), size)
    except InputError as error:
        raise InputError(f"vocabulary {path}: {error}") from error
    except OSError as error:
        raise InputError(f"vocabulary {path} cannot be read ({error.strerror or error}); {_REMEDY}") from error
    vocabulary.check_size(size, f"vocabulary {path}")
    return vocabulary


def tokenizer_json(vocabulary: Vocabulary) -> str:
    """Return a `tokenizer.json` of the tokenizers library with the vocabulary; how text is prepared is not in it."""
    specials = [
        {
            "id": vocabulary.ids[symbol],
            "content": symbol,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for symbol in sorted((START_SYMBOL, END_SYMBOL), key=vocabulary.ids.__getitem__)
    ]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": END_SYMBOL,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": WORD_END,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": vocabulary.ids,
        "merges": [" ".join(pair) for pair in vocabulary.merges],
    }
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    document = {"version": "1.0", **parts, "added_tokens": specials, "model": model}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _resolved(path: Path) -> Path:
    """Return the file that `path` means: itself, or the one in a folder."""
    if not path.is_dir():
        return path
    for name in ("tokenizer.json", "vocab.json", "bpe_simple_vocab_16e6.txt.gz"):
        if (path / name).is_file():
            return path / name
    raise InputError(f"the folder holds no vocabulary; {_REMEDY}")


def _read(path: Path, size: int) -> Vocabulary:
    if path.suffix == ".gz":
        return _from_openai(_unpacked(path), size)
    if path.suffix == ".txt":
        return _from_pair(path.with_name("vocab.json"), path)
    document = _json(path)
    if isinstance(document, dict) and isinstance(document.get("model"), dict):
        return _from_tokenizer(document)
    return _from_pair(path, path.with_name("merges.txt"))


def _bounded(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise InputError(f"{path.name} is larger than {_MAX_BYTES >> 20} MiB; {_REMEDY}")
    return data


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no UTF-8 text; {_REMEDY}") from error


def _json(path: Path) -> object:
    try:
        return json.loads(_text(_bounded(path), path.name))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:80]
        raise InputError(f"{path.name} is no valid JSON ({reason}); {_REMEDY}") from error


def _unpacked(path: Path) -> str:
    """Return the text of a gzip file; a small one can unpack to any size, so no more than the limit is unpacked."""
    try:
        with gzip.open(path, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"it is no gzip file, or cut off ({error}); {_REMEDY}") from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"it unpacks to more than {_MAX_BYTES >> 20} MiB; {_REMEDY}")
    return _text(data, path.name)


def _from_openai(text: str, size: int) -> Vocabulary:
    """Number OpenAI's merges: 256 bytes, the same at the end of a word, the merges, start and end of a sentence."""
    count = size - 2 * _BYTES - 2
    lines = text.split("\n")[1 : count + 1]  # the first line is a heading
    if count < 0 or len(lines) < count:
        raise InputError(f"it holds {len(lines)} merges, {max(count, 0)} are needed; {_REMEDY}")
    merges = _pairs(lines)
    symbols = [*BYTE_SYMBOLS.values(), *(symbol + WORD_END for symbol in BYTE_SYMBOLS.values())]
    symbols += [*map("".join, merges), START_SYMBOL, END_SYMBOL]
    if len(set(symbols)) != len(symbols):
        raise InputError(f"two merges give the same symbol; {_REMEDY}")
    return _checked({symbol: number for number, symbol in enumerate(symbols)}, merges)


def _from_pair(vocab: Path, merges: Path) -> Vocabulary:
    ids = _json(vocab)
    lines = _text(_bounded(merges), merges.name).split("\n")
    if lines and lines[0].startswith("#version"):
        del lines[0]
    while lines and not lines[-1].strip():
        del lines[-1]
    return _checked(ids, _pairs(lines))


def _from_tokenizer(document: dict[str, Any]) -> Vocabulary:
    model = document["model"]
    if model.get("type", "BPE") != "BPE" or model.get("end_of_word_suffix") != WORD_END:
        raise InputError(f"it is no byte-pair vocabulary whose words end in {WORD_END}, as CLIP's; {_REMEDY}")
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise InputError(f"it has no list of merges; {_REMEDY}")
    ids = model.get("vocab")
    added = document.get("added_tokens")
    if isinstance(ids, dict) and isinstance(added, list):
        # Special tokens may be listed only here.
        ids = {**{t["content"]: t["id"] for t in added if isinstance(t, dict) and _is_special(t)}, **ids}
    return _checked(ids, _pairs(merges))


def _is_special(token: dict[str, Any]) -> bool:
    return token.get("content") in (START_SYMBOL, END_SYMBOL) and type(token.get("id")) is int


def _pairs(merges: Iterable[object]) -> tuple[tuple[str, str], ...]:
    """Return merges given as "left right", or as a list of two."""
    pairs: list[tuple[str, str]] = []
    for number, merge in enumerate(merges):
        parts = merge.rstrip("\r").split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
            raise InputError(f"merge {number} is no pair of symbols; {_REMEDY}")
        pairs.append((parts[0], parts[1]))
    return tuple(pairs)


def _checked(ids: object, merges: tuple[tuple[str, str], ...]) -> Vocabulary:
    """Return a vocabulary after checking everything that encoding relies on."""
    if not isinstance(ids, dict) or not 2 * _BYTES < len(ids) <= _MAX_SIZE:
        raise InputError(f"it is no table of symbols, or has too few or too many of them; {_REMEDY}")
    if not all(type(number) is int for number in ids.values()) or set(ids.values()) != set(range(len(ids))):
        raise InputError(f"its {len(ids)} ids do not run from 0 to {len(ids) - 1}; {_REMEDY}")
    if any(len(symbol) > _MAX_SYMBOL for symbol in ids):
        raise InputError(f"it holds a symbol of more than {_MAX_SYMBOL} characters; {_REMEDY}")
    needed = [START_SYMBOL, END_SYMBOL]
    needed += [symbol + end for symbol in BYTE_SYMBOLS.values() for end in ("", WORD_END)]
    needed += [symbol for left, right in merges for symbol in (left, right, left + right)]
    for symbol in needed:
        if symbol not in ids:
            raise InputError(f"symbol {symbol[:40]!r} is missing in it; {_REMEDY}")
    return Vocabulary(ids, merges)
