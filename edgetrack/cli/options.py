"""Options that several commands share, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgetrack.runtime.engines import ENGINES

__all__ = [
    "MAX_SEED",
    "ArtifactArgument",
    "CacheDirOption",
    "DeviceOption",
    "EngineOption",
    "InitOption",
    "JsonOption",
    "MaxFramesOption",
    "SourceOption",
    "ThreadsOption",
    "parse_box",
]

# What every JSON reader keeps exactly: seeds are in manifests.
MAX_SEED = 2**53 - 1

ArtifactArgument = Annotated[Path, typer.Argument(help="The folder that `edgetrack export` wrote.", show_default=False)]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda:0, GPU, NPU, ... ; auto: what the artifact was built for.")
]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help=f"{', '.join(sorted(ENGINES))}; default: what the artifact was built for."),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="CPU threads; default: the engine decides.")
]
CacheDirOption = Annotated[
    Path | None, typer.Option("--cache-dir", help="Folder where the engine may keep compiled networks.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
SourceOption = Annotated[
    str,
    typer.Option(
        "--source", help="Video file, folder of images, camera (number or device), or stream (rtsp, http, srt, ...)."
    ),
]
InitOption = Annotated[
    str | None,
    typer.Option(
        "--init", help="The target in the first frame: x,y,w,h in pixels; a tracker that finds it by --text needs none."
    ),
]
MaxFramesOption = Annotated[
    int | None, typer.Option("--max-frames", min=1, help="Stop after this many frames, the first included.")
]


def parse_box(text: str) -> tuple[float, float, float, float]:
    """Return the box "x,y,w,h" as four floats in pixels; the tracker checks that it can be followed.

    Raises:
        typer.BadParameter: not four numbers.
    """
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not four numbers x,y,w,h in pixels, as in 100,120,60,80", param_hint="--init"
        ) from error
    return (x, y, w, h)
