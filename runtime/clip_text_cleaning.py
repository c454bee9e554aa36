"""How published trackers prepare a sentence before CLIP's byte-pair encoding splits it."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable

from edgetrack.runtime.clip_vocabulary import END_SYMBOL, START_SYMBOL

__all__ = ["CLEANINGS", "clean_as_openai", "clean_as_transformers"]

_LIGATURES = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
_LIGATURES |= {
    "\ufb05": "ſt",
    "Ĳ": "IJ",
    "ĳ": "ij",
    "ŉ": "ʼn",
    "Ǳ": "DZ",
    "ǲ": "Dz",
    "ǳ": "dz",
    "Ǆ": "DŽ",
    "ǅ": "Dž",
    "ǆ": "dž",
}
_LIGATURES |= {"Ǉ": "LJ", "ǈ": "Lj", "ǉ": "lj", "Ǌ": "NJ", "ǋ": "Nj", "ǌ": "nj"}
_WIDTHS = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFF0)} | {"\u3000": " "}
_QUOTES = dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'") | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
_CONTROLS = (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))
# Control characters of Latin-1 are meant as Windows-1252's; five codes mean nothing there.
_WINDOWS = {chr(c): bytes([c]).decode("cp1252") for c in range(0x80, 0xA0) if c not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}
_ESCAPES = re.compile(r"\x1b\[[\d;]*[a-zA-Z]")  # what colours a terminal
# A table knows single characters, so what one step makes of a character goes through those after it here.
_REPAIRS = {
    ord(before): after.translate(str.maketrans("".join(_QUOTES), "".join(_QUOTES.values())))
    for before, after in (_LIGATURES | _WIDTHS | _WINDOWS).items()
}
_REPAIRS |= {ord(before): after for before, after in _QUOTES.items()}
_REPAIRS |= dict.fromkeys(_CONTROLS, "")

_SPECIAL = re.compile(f"({re.escape(START_SYMBOL)}|{re.escape(END_SYMBOL)})")
_IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


def clean_as_openai(text: str) -> str:
    """Return a sentence as OpenAI's tokenizer prepares it (MVLM spec section 3.1).

    Curly quotes, ligatures, full-width letters, control characters and HTML entities are repaired as the ftfy package
    does it, which the published code calls first; text that was decoded with the wrong encoding is not.
    """
    if "<" not in text:
        text = html.unescape(text)
    text = unicodedata.normalize("NFC", _ESCAPES.sub("", text).translate(_REPAIRS))
    text = html.unescape(html.unescape(text))
    return " ".join(text.split()).lower()


def clean_as_transformers(text: str) -> str:
    """Return a sentence as transformers' CLIPTokenizer prepares it where ftfy is not installed (GLAD spec section 4.4).

    Control and format characters go, Chinese characters stand alone, and special tokens count as such inside words too.
    """
    parts = _SPECIAL.split(text)
    return " ".join(part if index % 2 else _clean_part(part) for index, part in enumerate(parts)).strip()


def _clean_part(text: str) -> str:
    kept = "".join(_spaced(character) for character in text)
    return " ".join(unicodedata.normalize("NFC", kept).split()).lower()


def _spaced(character: str) -> str:
    """Return a character, a space for one that separates, nothing for one that is not printed."""
    code = ord(character)
    if character in "\t\n\r" or unicodedata.category(character) == "Zs":
        return " "
    if code in (0, 0xFFFD) or unicodedata.category(character).startswith("C"):
        return ""
    return f" {character} " if any(low <= code <= high for low, high in _IDEOGRAPHS) else character


CLEANINGS: dict[str, Callable[[str], str]] = {"openai": clean_as_openai, "transformers": clean_as_transformers}
"""Name in a manifest -> what prepares a sentence."""
