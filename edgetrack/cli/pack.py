"""`edgetrack pack`: data sets into one file that opens at once."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgetrack.cli import console
from edgetrack.cli.options import JsonOption

__all__ = ["Encoding", "run"]

_DATA_HELP = (
    "Data sets, each KIND:PATH or PATH (the kind is then guessed). Kinds: got10k, lasot, trackingnet, tnl2k, "
    "otb99-lang, vasttrack, mgit, coco, sequences, images. Options follow a question mark: "
    "'got10k:GOT-10k/train?list=vottrain.txt&every=2'; also "
    "name=, for coco images=, for still images min-side=."
)
_MIB = 2**20


class Encoding(str, Enum):
    """How images are stored."""

    JPEG = "jpeg"
    WEBP = "webp"


def run(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help=_DATA_HELP, show_default=False)],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, *.etpack; replaced if there.")],
    side: Annotated[
        int, typer.Option("--side", min=0, help="Reduce images to this longest side in pixels; 0: keep their sizes.")
    ] = 320,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Of the encoding.")] = 85,
    encoding: Annotated[
        Encoding, typer.Option("--encoding", help="webp: about 0.7 times the size at equal error, slower to pack.")
    ] = Encoding.JPEG,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, max=256, help="CPU threads; default: one a processor, at most 8."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pack annotated sequences and still images into one file for `edgetrack train`.

    The same data give the same bytes. An interrupted run leaves nothing behind.
    """
    from edgetrack.data import pack, read_tracks

    tracks = [track for spec in data for track in read_tracks(spec)]
    count = len({path for track in tracks for path in track.images})
    with console.progress(count, "packing images") as progress:
        summary = pack(
            tracks,
            output,
            side=side or None,
            quality=quality,
            encoding=encoding.value,
            threads=threads,
            progress=progress.advance,
        )
    if as_json:
        console.emit_json({"output": str(output), **asdict(summary)})
        return
    console.line(
        f"{output}: {summary.size_bytes / _MIB:.1f} MiB, {summary.images} images ({summary.reduced} reduced, "
        f"{summary.kept} as they were), {summary.tracks} tracks, {summary.frames} frames "
        f"({summary.absent} without the target)"
    )
