"""From a sentence to the token ids that CLIP's text encoder reads, by the rules that an artifact states.

Needs the package tokenizers (extra `language`), whose byte-pair model does the merging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import EngineUnavailable, InputError
from edgetrack.runtime.clip_text_cleaning import CLEANINGS
from edgetrack.runtime.clip_vocabulary import BYTE_SYMBOLS, END_SYMBOL, START_SYMBOL, WORD_END, Vocabulary

__all__ = ["MAX_TEXT", "ClipTokenizer", "TokenRules", "checked_text"]

MAX_TEXT = 1 << 16
"""Longest text that is read, in characters."""

_PIECES = (
    rf"(?i){START_SYMBOL}|{END_SYMBOL}|'s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+"
).replace("<|", r"<\|").replace("|>", r"\|>")  # fmt: skip


@dataclass(frozen=True)
class TokenRules:
    """How a tracker's sentences become ids.

    Attributes:
        cleaning: name of what prepares the text, see `CLEANINGS`.
        context: number of ids, start and end included.
        padding: id that fills up behind the end.
        truncate: whether what is too long is cut, the end kept; else it is an error.
    """

    cleaning: str
    context: int
    padding: int
    truncate: bool


class ClipTokenizer:
    """Encodes sentences; made once per tracker."""

    def __init__(self, vocabulary: Vocabulary, rules: TokenRules) -> None:
        """Build the byte-pair model.

        Raises:
            EngineUnavailable: the package tokenizers is not installed.
            InputError: no such cleaning, or the padding is no id of the vocabulary.
        """
        if rules.cleaning not in CLEANINGS:
            raise InputError(f"unknown way to prepare text {rules.cleaning!r}; known: {', '.join(CLEANINGS)}")
        if not 0 <= rules.padding < len(vocabulary.ids):
            raise InputError(f"padding is {rules.padding}, must be an id of the vocabulary's {len(vocabulary.ids)}")
        library = _tokenizers()
        self.rules = rules
        self._vocabulary = vocabulary
        self._clean = CLEANINGS[rules.cleaning]
        self._model = library.models.BPE(
            vocab=vocabulary.ids, merges=list(vocabulary.merges), unk_token=END_SYMBOL, end_of_word_suffix=WORD_END
        )
        self._split = library.pre_tokenizers.Split(library.Regex(_PIECES), "removed", invert=True)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a sentence without start, end and padding.

        Raises:
            InputError: see `checked_text`.
        """
        ids: list[int] = []
        for piece, _ in self._split.pre_tokenize_str(self._clean(checked_text(text))):
            if piece in (START_SYMBOL, END_SYMBOL):
                ids.append(self._vocabulary.ids[piece])
            else:
                symbols = "".join(BYTE_SYMBOLS[byte] for byte in piece.encode("utf-8"))
                ids += [token.id for token in self._model.tokenize(symbols)]
        return ids

    def row(self, text: str) -> NDArray[np.int32]:
        """Return start, the ids of a sentence, end and padding: int32 (context,).

        Raises:
            InputError: see `checked_text`; or the sentence is too long and the rules do not cut it.
        """
        ids, room = self.encode(text), self.rules.context - 2
        if len(ids) > room and not self.rules.truncate:
            raise InputError(
                f"the text takes {len(ids) + 2} tokens with its start and end, at most {self.rules.context} fit; "
                "describe the target in fewer words"
            )
        row = [self._vocabulary.start, *ids[:room], self._vocabulary.end]
        return np.array(row + [self.rules.padding] * (self.rules.context - len(row)), np.int32)


def checked_text(text: object) -> str:
    """Return a text that can be encoded.

    Raises:
        InputError: it is no text, longer than 65536 characters, or holds half a character.
    """
    if not isinstance(text, str):
        raise InputError(f"the text is a {type(text).__name__}, must be a sentence; give a str")
    if len(text) > MAX_TEXT:
        raise InputError(f"the text has {len(text)} characters, at most {MAX_TEXT} are read; give a sentence")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text holds a character that is none (U+{ord(text[error.start]):04X} at place {error.start}); "
            "decode it from UTF-8"
        ) from error
    return text


def _tokenizers() -> Any:  # noqa: ANN401 (a module)
    try:
        import tokenizers
    except ImportError as error:
        raise EngineUnavailable(
            "reading a sentence needs the package tokenizers: pip install 'edgetrack[language]' (a target pack needs "
            "none)"
        ) from error
    return tokenizers
