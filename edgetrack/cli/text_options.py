"""Options of trackers that read a sentence, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgetrack.runtime.language import Text

__all__ = [
    "BESIDE_CHECKPOINT",
    "DiffusionOption",
    "LoraOption",
    "PackOption",
    "PhraseOption",
    "TextEncoderOption",
    "TextOption",
    "VocabularyOption",
    "check_description",
    "description_of",
]

TextOption = Annotated[
    str | None,
    typer.Option(
        "--text", help="The target in a sentence, as 'the man in the white shirt'; for trackers with language."
    ),
]
PackOption = Annotated[
    Path | None,
    typer.Option("--pack", help="Instead of --text: a target pack that `edgetrack encode` made of a sentence."),
]
PhraseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--phrase",
        metavar="NAME=WORDS",
        help="Instead of --text, for trackers that read phrases: category, appearance, action or location, as "
        "'category=man'; may be given once for each.",
    ),
]
TextEncoderOption = Annotated[
    Path | None,
    typer.Option("--text-encoder", help="Trackers with language: the published weights of their CLIP text encoder."),
]
VocabularyOption = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary",
        help="Trackers with language: CLIP's tokenizer.json, vocab.json (with merges.txt) or "
        "bpe_simple_vocab_16e6.txt.gz.",
    ),
]
DiffusionOption = Annotated[
    Path | None,
    typer.Option(
        "--diffusion",
        help="GLAD: folder of Stable Diffusion v1.5 in diffusers' layout; default: target packs are made elsewhere.",
    ),
]
BESIDE_CHECKPOINT = "--text-encoder, --vocabulary, --diffusion, --lora"
"""Options that name files which a checkpoint needs beside it."""
LoraOption = Annotated[Path | None, typer.Option("--lora", help="With --diffusion: the file of its LCM-LoRA.")]


def check_description(text: str | None, pack: Path | None) -> None:
    """Refuse a sentence and a pack at once; typer.BadParameter."""
    if text is not None and pack is not None:
        raise typer.BadParameter("give one of them: a sentence, or a pack made of one", param_hint="--text, --pack")


def description_of(text: str | None, phrases: list[str] | None, pack: Path | None = None) -> Text | None:
    """Return what describes the target: the sentence, the phrases by their names, or None.

    Raises:
        typer.BadParameter: more than one description, a phrase without a name, of an unknown name, or given twice.
    """
    from edgetrack.runtime.phrases import ATTRIBUTES

    check_description(text, pack)
    if not phrases:
        return text
    if text is not None or pack is not None:
        raise typer.BadParameter(
            "give one of them: phrases, a sentence, or a pack", param_hint="--phrase, --text, --pack"
        )
    found: dict[str, str] = {}
    for given in phrases:
        name, equals, words = given.partition("=")
        if not equals or name not in ATTRIBUTES:
            raise typer.BadParameter(
                f"{given!r} is no phrase; give NAME=WORDS with one of {', '.join(ATTRIBUTES)}", param_hint="--phrase"
            )
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--phrase")
        found[name] = words
    return found
