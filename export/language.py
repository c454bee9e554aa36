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
from edgetrack.export.diffusion_files import read_diffusion, vocabulary_of
from edgetrack.export.models import family_of
from edgetrack.export.models.language import DiffusionSide, LanguageFamily, TextSide
from edgetrack.export.precision.plan import CALIBRATED
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

__all__ = ["TOKENIZER_FILE", "SourceText", "TextFiles", "check_precision", "text_side_of", "with_text_encoder"]

TOKENIZER_FILE = "tokenizer.json"

_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz, tokenizer.json, or vocab.json with merges.txt"


@dataclass(frozen=True)
class TextFiles:
    """Files that a tracker with language needs beside its checkpoint.

    encoder: weights of the text encoder, see `read_clip_text`; None: they are in the checkpoint, or made up.
    vocabulary: see `read_vocabulary`; None: that of `diffusion`, or a made-up one, for made-up weights only.
    diffusion: folder of the diffusion model that describes a target, see `read_diffusion`; None: others do that.
    lora: see `read_diffusion`.
    """

    encoder: Path | None = None
    vocabulary: Path | None = None
    diffusion: Path | None = None
    lora: Path | None = None

    def words(self) -> list[str]:
        """Return the options of the command line that name these files."""
        options = {
            "--text-encoder": self.encoder,
            "--vocabulary": self.vocabulary,
            "--diffusion": self.diffusion,
            "--lora": self.lora,
        }
        return [word for option, path in options.items() if path is not None for word in (option, str(path))]

    def check(self, variant: str, *, made_up: bool) -> None:
        """Refuse files that `variant` has no use for, and the want of a vocabulary.

        Args:
            variant: what is exported.
            made_up: whether its weights are stand-ins.

        Raises:
            InputError: see above.
        """
        side = text_side_of(variant)
        self._check_diffusion(variant, side)
        if side is not None and side.diffusion is not None and self.diffusion is not None:
            if self.encoder:
                raise InputError("the diffusion model's folder holds its text encoder: leave out --text-encoder")
            return
        if side is None and (self.encoder or self.vocabulary):
            raise InputError(f"{variant} reads no text: leave out --text-encoder and --vocabulary")
        if side is not None and not side.encodes and (self.encoder or self.vocabulary):
            raise InputError(
                f"{variant} reads text elsewhere, its target packs are made there: leave out --text-encoder and "
                "--vocabulary"
            )
        if side is not None and made_up and self.encoder:
            raise InputError("stand-in weights make up the text encoder too: leave out --text-encoder")
        if side is not None and side.encodes and not made_up and self.vocabulary is None:
            raise InputError(f"{variant} reads text: give the vocabulary of CLIP with --vocabulary ({_VOCABULARY})")

    def _check_diffusion(self, variant: str, side: TextSide | None) -> None:
        if self.diffusion is not None and (side is None or side.diffusion is None):
            raise InputError(f"{variant} has no use for a diffusion model: leave out --diffusion")
        if self.lora is not None and self.diffusion is None:
            raise InputError("a LoRA changes a diffusion model: give that with --diffusion, or leave out --lora")


@dataclass(frozen=True)
class SourceText:
    """The text side of a loaded network.

    side: how it reads text. encoder_sha256: of the encoder's own file, "" where there is none. vocabulary: whose tokens
    it knows; None: no text is encoded there.
    """

    side: TextSide
    encoder_sha256: str
    vocabulary: Vocabulary | None

    @cached_property
    def tokenizer(self) -> str | None:
        """Content of the artifact's tokenizer.json; None: no text is encoded there."""
        return None if self.vocabulary is None else tokenizer_json(self.vocabulary)

    @cached_property
    def _encoder(self) -> ClipTokenizer:
        if self.vocabulary is None:
            raise InputError(
                "no text is encoded here, its target packs are made elsewhere; give an artifact that does, or "
                "--diffusion with the files that do"
            )
        return ClipTokenizer(self.vocabulary, self.side.rules)

    def inputs(self, text: str | None) -> Inputs:
        """Return the text graph's inputs for a sentence, as an artifact makes them; None: none is given.

        Raises:
            InputError: see `described`; or no text is encoded here.
            EngineUnavailable: the package tokenizers is missing.
        """
        said = None if text is None else checked_text(text)
        return described(self._encoder, said, form=self.side.form, without_text=self.side.without_text)

    @property
    def section(self) -> dict[str, Any]:
        """The manifest's `tracker.language`."""
        side = self.side
        return {
            "tokenizer": self._tokenizer(),
            "form": side.form,
            "feeds": list(side.feeds),
            "without_text": side.without_text,
            "without_box": side.without_box,
            "encoder_sha256": self.encoder_sha256,
            "chain": list(side.chain),
            "noise_seed": side.noise_seed,
            "half": side.half,
        }

    def _tokenizer(self) -> dict[str, Any] | None:
        if self.tokenizer is None:
            return None
        rules = self.side.rules
        return {
            "file": TOKENIZER_FILE,
            "sha256": hashlib.sha256(self.tokenizer.encode("utf-8")).hexdigest(),
            "tokens": self.side.encoder.vocabulary,
            "cleaning": rules.cleaning,
            "context": rules.context,
            "padding": rules.padding,
            "overflow": "truncate" if rules.truncate else "refuse",
        }

    def write(self, folder: Path) -> None:
        """Write the vocabulary into an artifact's folder, if there is one."""
        if self.tokenizer is not None:
            (folder / TOKENIZER_FILE).write_bytes(self.tokenizer.encode("utf-8"))


def check_precision(variant: str, precision: str) -> None:
    """Refuse a calibrated precision for a tracker that reads text.

    Calibration follows annotated boxes and tells the tracker no sentence, so the ranges that it would measure are not
    those of a tracker that follows one.

    Raises:
        InputError: see above.
    """
    if precision in CALIBRATED and text_side_of(variant) is not None:
        raise InputError(
            f"{variant} reads text, and {precision} is not supported for such trackers: calibration follows boxes and "
            "tells no sentence; give fp32 or fp16"
        )


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
    if side.diffusion is not None and files.diffusion is not None:
        return _with_diffusion(state, side.diffusion, files, files.diffusion)
    if not side.encodes:
        return dict(state), SourceText(side, "", None)
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


def _with_diffusion(
    state: Mapping[str, Tensor], given: DiffusionSide, files: TextFiles, folder: Path
) -> tuple[dict[str, Tensor], SourceText]:
    """Return a checkpoint's entries with those of the diffusion model, and the text side that it makes."""
    vocabulary = read_vocabulary(files.vocabulary or vocabulary_of(folder), size=given.shape.text.vocabulary)
    weights = read_diffusion(folder, given.shape, files.lora)
    more = {given.prefix + name: value for name, value in weights.state.items()}
    return {**state, **more}, SourceText(given.side, weights.sha256, vocabulary)


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
