"""Options of trackers that read a sentence, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DiffusionOption",
    "LoraOption",
    "PackOption",
    "TextEncoderOption",
    "TextOption",
    "VocabularyOption",
    "check_description",
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
LoraOption = Annotated[Path | None, typer.Option("--lora", help="With --diffusion: the file of its LCM-LoRA.")]


def check_description(text: str | None, pack: Path | None) -> None:
    """Refuse a sentence and a pack at once; typer.BadParameter."""
    if text is not None and pack is not None:
        raise typer.BadParameter("give one of them: a sentence, or a pack made of one", param_hint="--text, --pack")
