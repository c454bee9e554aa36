"""`edgetrack encode`: make a target pack of a sentence, for devices without a text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgetrack.cli import console
from edgetrack.cli.options import ArtifactArgument, DeviceOption, EngineOption, JsonOption, ThreadsOption
from edgetrack.cli.text_options import PhraseOption, description_of

__all__ = ["run"]


def run(
    artifact: ArtifactArgument,
    *,
    text: Annotated[
        str | None, typer.Option("--text", help="The target in a sentence, as 'the man in the white shirt'.")
    ] = None,
    phrase: PhraseOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The pack to write, as man.pack.")],
    device: DeviceOption = "auto",
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode a sentence once, for `edgetrack track --pack` and `tracker.init(frame, pack=...)` on another machine.

    That machine then needs neither the text encoder nor a vocabulary, but an artifact of the same weights.
    """
    from edgetrack.loading import encode_text
    from edgetrack.video.boxes import check_writable

    said = description_of(text, phrase)
    if said is None:
        raise typer.BadParameter("say what to encode", param_hint="--text, --phrase")
    check_writable(output)
    pack = encode_text(artifact, said, device=device, engine=engine, threads=threads)
    pack.save(output)
    size = output.stat().st_size
    if as_json:
        shapes = {name: list(array.shape) for name, array in pack.arrays.items()}
        facts = {"text": said, "variant": pack.made_by.variant, "arrays": shapes, "bytes": size}
        console.emit_json({"schema": 1, "path": str(output), **facts})
        return
    console.line(f"wrote {output} ({size / 1e3:.0f} kB) for {pack.made_by.variant}")
