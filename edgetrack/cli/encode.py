"""`edgetrack encode`: make a target pack of a sentence, for devices without a text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgetrack.cli import console
from edgetrack.cli.options import (
    ArtifactArgument,
    DeviceOption,
    EngineOption,
    JsonOption,
    ThreadsOption,
    parse_box,
)
from edgetrack.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["run"]


def run(
    artifact: ArtifactArgument,
    *,
    text: Annotated[str, typer.Option("--text", help="The target in a sentence, as 'the man in the white shirt'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The pack to write, as man.pack.")],
    image: Annotated[
        Path | None,
        typer.Option("--image", help="GLAD: image that shows the target, or video whose first frame does."),
    ] = None,
    box: Annotated[
        str | None, typer.Option("--box", help="With --image: where the target is in it, x,y,w,h in pixels.")
    ] = None,
    device: DeviceOption = "auto",
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode a sentence once, for `edgetrack track --pack` and `tracker.init(frame, pack=...)` on another machine.

    That machine then needs neither the text encoder nor a vocabulary, but an artifact of the same weights. GLAD is
    shown the target too; there the text encoder comes with a diffusion model, and the other machine does without both.
    """
    if (image is None) != (box is None):
        raise typer.BadParameter(
            "give both or neither: a picture, and where the target is", param_hint="--image, --box"
        )
    place = None if box is None else parse_box(box)
    from edgetrack.loading import encode_text
    from edgetrack.video.boxes import check_writable

    check_writable(output)
    frame = None if image is None else _first_frame(image)
    pack = encode_text(artifact, text, frame, place, device=device, engine=engine, threads=threads)
    pack.save(output)
    size = output.stat().st_size
    if as_json:
        shapes = {name: list(array.shape) for name, array in pack.arrays.items()}
        facts = {"text": text, "variant": pack.made_by.variant, "arrays": shapes, "bytes": size}
        console.emit_json({"schema": 1, "path": str(output), **facts})
        return
    console.line(f"wrote {output} ({size / 1e3:.0f} kB) for {pack.made_by.variant}")


def _first_frame(path: Path) -> NDArray[np.uint8]:
    """Return an image, or the first frame of a video: uint8 (height, width, 3) BGR."""
    from edgetrack.video import open_source

    if not path.exists():
        raise InputError(f"image {path} does not exist; give an image, or a video that starts with the target")
    with open_source(str(path)) as source:
        for frame in source:
            return frame
    raise InputError(f"image {path} holds no picture; give another one")
