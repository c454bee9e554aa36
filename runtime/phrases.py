"""Splits a description into four phrases - category, appearance, action, location - by rules (ATSTrack spec 4.5, 4.6).

Deterministic, without a model. Verbs outside the list that do not end in -ing, metaphors, several targets in one
sentence and other languages than English are not understood; users then give the phrases, or a splitter of their own.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgetrack.errors import InputError
from edgetrack.runtime.clip_tokenizer import checked_text
from edgetrack.runtime.phrase_words import (
    ADJECTIVES,
    AUXILIARIES,
    CLOTHING,
    COLOURS,
    DETERMINERS,
    ING_NOUNS,
    LOCATIONS,
    PARTICLES,
    PREPOSITIONS,
    RELATIVES,
    VERBS,
    WEARING,
)

__all__ = ["ATTRIBUTES", "Phrases", "Splitter", "checked_phrases", "clean_sentence", "split_sentence", "split_with"]

ATTRIBUTES = ("category", "appearance", "action", "location")
"""Names of the phrases, in their order."""

Phrases = dict[str, str]
Splitter = Callable[[str], Mapping[str, str]]

_TOKEN = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*|[,;]")
_LEAD = re.compile(
    r"^(?:(?:please )?(?:(?:we|i) want to )?(?:track|follow|find|locate) |there (?:is|are) |this is |it is "
    r"|the (?:tracking )?target (?:object )?is )"
)
_BREAKS = (",", ";")
_LOOK_AHEAD = 3
_HEAD = "head"

_log = logging.getLogger(__name__)


def clean_sentence(text: str) -> str:
    """Return a sentence in lower case, NFC, with single blanks and without the stop at its end."""
    text = " ".join(unicodedata.normalize("NFC", checked_text(text)).lower().split())
    return text.rstrip(".!? ")


def split_sentence(text: str) -> Phrases:
    """Return the four phrases of a sentence; those it does not have are empty.

    Raises:
        InputError: see `checked_text`.
    """
    words = _TOKEN.findall(_LEAD.sub("", clean_sentence(text), count=1))
    chunks = _Scan(words).run()
    found: dict[str, list[str]] = {name: [] for name in ATTRIBUTES}
    for kind, chunk in chunks:
        if kind == _HEAD:
            for name, phrase in _head_phrases(chunk).items():
                found[name].append(phrase)
        else:
            found[kind].append(" ".join(chunk))
    return {name: ", ".join(phrase for phrase in found[name] if phrase) for name in ATTRIBUTES}


def checked_phrases(given: object) -> Phrases:
    """Return four cleaned phrases of a mapping; those left out are empty.

    Raises:
        InputError: it is no mapping, has other keys, or values that are no texts.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"phrases are a {type(given).__name__}, must be a mapping of {', '.join(ATTRIBUTES)} to texts")
    if unknown := [key for key in given if key not in ATTRIBUTES]:
        raise InputError(f"phrases have a key {unknown[0]!r}; known: {', '.join(ATTRIBUTES)}")
    return {name: clean_sentence(given.get(name, "")) for name in ATTRIBUTES}


def split_with(splitter: Splitter, text: str, *, strict: bool = True) -> Phrases:
    """Return the phrases that a user's splitter makes of a sentence.

    Args:
        splitter: sentence -> mapping of the four names to phrases.
        text: the sentence.
        strict: a phrase with a word that the sentence does not have discards the whole answer; a warning is logged and
            the rules split the sentence.

    Raises:
        InputError: see `checked_phrases` and `checked_text`.
    """
    phrases = checked_phrases(splitter(checked_text(text)))
    said = set(re.findall(r"\w+", clean_sentence(text)))
    made_up = [word for phrase in phrases.values() for word in re.findall(r"\w+", phrase) if word not in said]
    if strict and made_up:
        _log.warning("the splitter made up the word %r; the sentence is split by rules instead", made_up[0][:40])
        return split_sentence(text)
    return phrases


@dataclass
class _Scan:
    """Goes through the words from left to right; the first rule that fits decides, numbered as in the spec."""

    words: list[str]
    chunks: list[tuple[str, list[str]]] = field(default_factory=lambda: [(_HEAD, [])])
    pending: str | None = None

    def run(self) -> list[tuple[str, list[str]]]:
        index = 0
        while index < len(self.words):
            index += self._take(index)
        return [(kind, chunk) for kind, chunk in self.chunks if chunk]

    @property
    def _kind(self) -> str:
        return self.chunks[-1][0]

    def _open(self, kind: str, words: list[str]) -> int:
        self.chunks.append((kind, list(words)))
        self.pending = None
        return len(words)

    def _take(self, index: int) -> int:
        """Handle the word at `index`; return how many words that used up."""
        word = self.words[index]
        if word in _BREAKS:  # 1
            self.pending = "any"
        elif (word in RELATIVES and self._head_has_words()) or word in AUXILIARIES:  # 2
            self.pending = "verb"
        elif (kind := self._kind_that_opens(index)) is not None:  # 3 to 6
            return self._open(kind, self._preposition(index) if kind == "location" else [word])
        elif self.pending is None:  # 8
            self.chunks[-1][1].append(word)
        elif word not in DETERMINERS:  # 7
            return self._open(self._kind_after_break(word), [word])
        return 1

    def _kind_that_opens(self, index: int) -> str | None:
        """Return the kind of chunk that the word at `index` begins by itself; None: it begins none."""
        word = self.words[index]
        if word in WEARING or (word == "with" and self._kind != "action"):  # 3, 4
            return "appearance"
        preposition = self._preposition(index)
        if preposition and not (preposition == ["by"] and self._kind == "action"):  # 5
            shows = preposition == ["in"] and self._looks_like_clothes(index + 1)
            return "appearance" if shows else "location"
        return "action" if self._is_verb(word) and not self._is_modifier(index) else None  # 6

    def _head_has_words(self) -> bool:
        return any(word not in DETERMINERS for word in self.chunks[0][1])

    def _preposition(self, index: int) -> list[str]:
        for words in PREPOSITIONS:
            if tuple(self.words[index : index + len(words)]) == words:
                return list(words)
        return []

    def _looks_like_clothes(self, index: int) -> bool:
        for place in range(index, min(index + _LOOK_AHEAD, len(self.words))):
            word = self.words[place]
            if word in COLOURS or word in CLOTHING:
                return True
            if word in _BREAKS or self._preposition(place) or _ends_in_ing(word):
                return False
        return False

    @staticmethod
    def _is_verb(word: str) -> bool:
        return _ends_in_ing(word) or word in VERBS

    def _is_modifier(self, index: int) -> bool:
        """Tell whether an -ing word of the head phrase describes what follows, as in "running dog"."""
        if self._kind != _HEAD or self.pending is not None or not _ends_in_ing(self.words[index]):
            return False
        if not all(word in DETERMINERS or _is_adjective_like(word) for word in self.chunks[0][1]):
            return False
        follower = self.words[index + 1] if index + 1 < len(self.words) else ","
        blocked = follower in _BREAKS or follower in DETERMINERS or follower in PARTICLES or follower in AUXILIARIES
        return not (blocked or self._preposition(index + 1))

    def _kind_after_break(self, word: str) -> str:
        if word in COLOURS or word in ADJECTIVES or word in CLOTHING:
            return "appearance"
        if word in LOCATIONS:
            return "location"
        return "action" if self.pending == "verb" else "appearance"


def _ends_in_ing(word: str) -> bool:
    return word.endswith("ing") and len(word) > 4 and word not in ING_NOUNS


def _is_adjective_like(word: str) -> bool:
    listed = word in COLOURS or word in ADJECTIVES or word in LOCATIONS or word in CLOTHING
    return listed or _ends_in_ing(word) or word.endswith("ed") or "-" in word or word == "and"


def _head_phrases(chunk: list[str]) -> Phrases:
    """Divide the head noun phrase into the category and what its modifiers say."""
    words = chunk[:]
    while words and words[0] in DETERMINERS:
        del words[0]
    if not words:
        return {}
    at = words.index("of") - 1 if "of" in words[1:] else len(words) - 1
    start = at
    while start > 0 and not _is_adjective_like(words[start - 1]) and words[start - 1] not in DETERMINERS:
        start -= 1
    modifiers = [word for word in words[:start] if word not in DETERMINERS]
    places = [word for word in modifiers if word in LOCATIONS]
    actions = [word for word in modifiers if _ends_in_ing(word)]
    looks = [word for word in modifiers if word not in LOCATIONS and not _ends_in_ing(word)]
    while looks and looks[0] == "and":
        del looks[0]
    while looks and looks[-1] == "and":
        del looks[-1]
    return {
        "category": " ".join(words[start:]),
        "appearance": " ".join(looks),
        "action": " ".join(actions),
        "location": " ".join(places),
    }
