"""The text side of an export: the encoder's weights, the vocabulary, and what the manifest says about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from pathlib import Path
from typing import Any

from torch import Tensor

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.clip_files import read_clip_text
from edgetrack.export.models import family_of
from edgetrack.export.models.language import LanguageFamily, TextSide
from edgetrack.runtime.clip_tokenizer import ClipTokenizer, checked_text
from edgetrack.runtime.clip_vocabulary import (
    BYTE_SYMBOLS,
    END_SYMBOL,
    START_SYMBOL,
    WORD_END,
    Vocabulary,
    read_vocabulary,
    tokenizer_json,
)
from edgetrack.runtime.language_spec import Inputs, described

__all__ = ["TOKENIZER_FILE", "SourceText", "TextFiles", "text_side_of", "with_text_encoder"]

TOKENIZER_FILE = "tokenizer.json"

_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz, tokenizer.json, or vocab.json with merges.txt"


@dataclass(frozen=True)
class TextFiles:
    """Files that a tracker with language needs beside its checkpoint.

    encoder: weights of the text encoder, see `read_clip_text`; None: they are in the checkpoint, or made up.
    vocabulary: see `read_vocabulary`; None: a made-up one, for made-up weights only.
    """

    encoder: Path | None = None
    vocabulary: Path | None = None

    def check(self, variant: str, *, made_up: bool) -> None:
        """Refuse files that `variant` has no use for, and the want of a vocabulary.

        Args:
            variant: what is exported.
            made_up: whether its weights are stand-ins.

        Raises:
            InputError: see above.
        """
        side = text_side_of(variant)
        if side is None and (self.encoder or self.vocabulary):
            raise InputError(f"{variant} reads no text: leave out --text-encoder and --vocabulary")
        if side is not None and made_up and self.encoder:
            raise InputError("stand-in weights make up the text encoder too: leave out --text-encoder")
        if side is not None and not made_up and self.vocabulary is None:
            raise InputError(f"{variant} reads text: give the vocabulary of CLIP with --vocabulary ({_VOCABULARY})")


@dataclass(frozen=True)
class SourceText:
    """The text side of a loaded network.

    side: how it reads text. encoder_sha256: of the encoder's own file, "" where there is none. vocabulary: whose tokens
    it knows.
    """

    side: TextSide
    encoder_sha256: str
    vocabulary: Vocabulary

    @cached_property
    def tokenizer(self) -> str:
        """Content of the artifact's tokenizer.json."""
        return tokenizer_json(self.vocabulary)

    @cached_property
    def _encoder(self) -> ClipTokenizer:
        return ClipTokenizer(self.vocabulary, self.side.rules)

    def inputs(self, text: str | None) -> Inputs:
        """Return the text graph's inputs for a sentence, as an artifact makes them; None: none is given.

        Raises:
            InputError: see `described`.
            EngineUnavailable: the package tokenizers is missing.
        """
        said = None if text is None else checked_text(text)
        return described(self._encoder, said, form=self.side.form, without_text=self.side.without_text)

    @property
    def section(self) -> dict[str, Any]:
        """The manifest's `tracker.language`."""
        side, rules = self.side, self.side.rules
        return {
            "tokenizer": {
                "file": TOKENIZER_FILE,
                "sha256": hashlib.sha256(self.tokenizer.encode("utf-8")).hexdigest(),
                "tokens": side.encoder.vocabulary,
                "cleaning": rules.cleaning,
                "context": rules.context,
                "padding": rules.padding,
                "overflow": "truncate" if rules.truncate else "refuse",
            },
            "form": side.form,
            "feeds": list(side.feeds),
            "without_text": side.without_text,
            "without_box": side.without_box,
            "encoder_sha256": self.encoder_sha256,
        }

    def write(self, folder: Path) -> None:
        """Write the vocabulary into an artifact's folder."""
        (folder / TOKENIZER_FILE).write_bytes(self.tokenizer.encode("utf-8"))


def text_side_of(variant: str) -> TextSide | None:
    """Return how a variant reads text; None where it reads none."""
    family = family_of(variant)
    return family.text_side(variant) if isinstance(family, LanguageFamily) else None


def with_text_encoder(
    variant: str, state: Mapping[str, Tensor], files: TextFiles, *, made_up: bool
) -> tuple[dict[str, Tensor], SourceText | None]:
    """Return a checkpoint's entries with those of the text encoder, and the text side; (state, None) without one.

    Args:
        variant: what is exported.
        state: entries of the checkpoint.
        files: what was given beside it.
        made_up: whether the weights are stand-ins, which hold the encoder already.

    Raises:
        CheckpointError: the encoder's weights cannot be read, are of another model, or are missing.
        InputError: the vocabulary cannot be read, or does not fit the encoder.
    """
    side = text_side_of(variant)
    if side is None:
        return dict(state), None
    size = side.encoder.vocabulary
    vocabulary = _made_up_vocabulary(size) if files.vocabulary is None else read_vocabulary(files.vocabulary, size=size)
    sha256 = ""
    if files.encoder is not None:
        own = [name for name in state if name.startswith(side.prefix)]
        if own:
            raise CheckpointError(
                f"the checkpoint holds a text encoder of its own ({own[0]}): leave out --text-encoder"
            )
        weights = read_clip_text(files.encoder, side.encoder, final_norm=side.final_norm)
        state = {**state, **{side.prefix + name: value for name, value in weights.state.items()}}
        sha256 = weights.sha256
    elif not made_up and not any(name.startswith(side.prefix) for name in state):
        raise CheckpointError(
            f"the checkpoint of {variant} holds no text encoder; give the weights of {side.encoder.name} with "
            "--text-encoder"
        )
    return dict(state), SourceText(side, sha256, vocabulary)


def _made_up_vocabulary(size: int) -> Vocabulary:
    """Return a vocabulary of `size` that belongs to no published encoder: bytes, and pairs of them in order.

    Raises:
        InputError: there are not so many pairs, or fewer tokens than bytes.
    """
    symbols = [*BYTE_SYMBOLS.values(), *(symbol + WORD_END for symbol in BYTE_SYMBOLS.values())]
    count = size - len(symbols) - 2
    if not 0 <= count <= len(BYTE_SYMBOLS) ** 2:
        raise InputError(f"no vocabulary of {size} tokens can be made up; give one with --vocabulary")
    merges = tuple(islice(product(BYTE_SYMBOLS.values(), BYTE_SYMBOLS.values()), count))
    symbols += [*map("".join, merges), START_SYMBOL, END_SYMBOL]
    return Vocabulary({symbol: number for number, symbol in enumerate(symbols)}, merges)
