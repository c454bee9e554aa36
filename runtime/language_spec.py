"""What a manifest's `tracker.language` says: how text becomes the text graph's inputs, and what its outputs feed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError
from edgetrack.fields import Fields
from edgetrack.runtime.clip_tokenizer import ClipTokenizer, TokenRules
from edgetrack.runtime.phrases import ATTRIBUTES, Phrases, split_sentence

__all__ = ["FORMS", "TEXT_ROLE", "Inputs", "LanguageSpec", "TextForm", "read_language_spec"]

TEXT_ROLE = "text"
"""Role of the graph that turns ids into target data, or into what the next graph of a chain reads."""

_WITHOUT_TEXT = ("refuse", "empty", "padding")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"

Inputs = dict[str, NDArray[Any]]
TextForm = Callable[[ClipTokenizer, str | Phrases], Inputs]


def _sentence(tokenizer: ClipTokenizer, text: str | Phrases) -> Inputs:
    if not isinstance(text, str):
        raise InputError("this tracker reads a sentence, not phrases; give text='...'")
    return {"ids": tokenizer.row(text)[None]}


def _phrases(tokenizer: ClipTokenizer, text: str | Phrases) -> Inputs:
    """See ATSTrack's spec, section 3.1: the start counts for nothing, and an empty phrase not at all."""
    phrases = split_sentence(text) if isinstance(text, str) else text
    rows = np.stack([tokenizer.row(phrases[name]) for name in ATTRIBUTES])
    mask = np.zeros(rows.shape, np.float32)
    room = rows.shape[1] - 2
    for row, name in enumerate(ATTRIBUTES):
        count = min(len(tokenizer.encode(phrases[name])), room)
        mask[row, 1 : count + 2] = count > 0
    return {"ids": rows[None], "lang_mask": mask[None]}


FORMS: dict[str, TextForm] = {"sentence": _sentence, "phrases": _phrases}
"""Name in a manifest -> what makes the text graph's inputs of a description.

"sentence": `ids`, int32 (1, context). "phrases": four phrases, or a sentence split into them: `ids`, int32 (1, 4,
context), and `lang_mask`, float32 of that shape, 1 where a phrase has a token or its end.
"""


@dataclass(frozen=True)
class LanguageSpec:
    """What a manifest says about language.

    Attributes:
        rules: how text becomes ids; None where no graph of the artifact reads any.
        tokens: size of the vocabulary, and of the encoder's table.
        file: name of the vocabulary in the artifact.
        form: name of one of `FORMS`.
        feeds: names of what the search graph is fed: outputs of the text graph, or inputs that `form` makes.
        without_text: what happens if no text is given: "refuse"; "empty": an empty sentence; "padding": padding alone.
        without_box: whether a target may be described by text alone.
        encoder_sha256: of the text encoder's weights, "" where they are part of the checkpoint, or not in the artifact.
        chain: roles of the graphs that describe a target, in the order in which they run.
        noise_seed: of what these are fed as noise.
        half: whether target data are kept in float16.
    """

    rules: TokenRules | None
    tokens: int
    file: str
    form: str
    feeds: tuple[str, ...]
    without_text: str
    without_box: bool
    encoder_sha256: str
    chain: tuple[str, ...] = (TEXT_ROLE,)
    noise_seed: int = 0
    half: bool = False


def read_language_spec(tracker: Fields) -> LanguageSpec | None:
    """Return the section `language` of a manifest's tracker section, None where there is none.

    Raises:
        ArtifactError: a value of it is impossible.
    """
    if "language" not in tracker.value:
        return None
    fields = tracker.section("language")
    feeds = _names(fields, "feeds")
    chain = _names(fields, "chain") if "chain" in fields.value else (TEXT_ROLE,)
    rules, tokens, file = _tokenizer(fields) if TEXT_ROLE in chain else (None, 0, "")
    return LanguageSpec(
        rules=rules,
        tokens=tokens,
        file=file,
        form=fields.text("form", choices=tuple(FORMS)),
        feeds=feeds,
        without_text=fields.text("without_text", choices=_WITHOUT_TEXT),
        without_box=fields.flag("without_box"),
        encoder_sha256=fields.text("encoder_sha256"),
        chain=chain,
        noise_seed=fields.integer("noise_seed", 0, 2**53) if "noise_seed" in fields.value else 0,
        half="half" in fields.value and fields.flag("half"),
    )


def _names(fields: Fields, key: str) -> tuple[str, ...]:
    names = fields.items(key, lambda value: value if isinstance(value, str) else None, "names")
    if not names or len(set(names)) != len(names):
        raise fields.error(key, list(names), "a list of one or more different names")
    return names


def _tokenizer(fields: Fields) -> tuple[TokenRules, int, str]:
    """Return rules, number of tokens and file of a vocabulary."""
    tokenizer = fields.section("tokenizer")
    tokens = tokenizer.integer("tokens", 3, 1 << 20)
    rules = TokenRules(
        cleaning=tokenizer.text("cleaning"),
        context=tokenizer.integer("context", 3, 4096),
        padding=tokenizer.integer("padding", 0, tokens - 1),
        truncate=tokenizer.text("overflow", choices=("refuse", "truncate")) == "truncate",
    )
    return rules, tokens, tokenizer.text("file", pattern=_NAME)
