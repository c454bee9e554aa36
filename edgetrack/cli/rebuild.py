"""`edgetrack rebuild`: build an artifact's engine files again, on and for this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetrack.cli import console
from edgetrack.cli.export import ClipInitOption, ClipOption, check_torch, clip_from_options
from edgetrack.cli.options import ArtifactArgument, JsonOption, ThreadsOption
from edgetrack.cli.target_options import with_target_options

if TYPE_CHECKING:
    from edgetrack.export.parity.clip import Clip

__all__ = ["run"]


@with_target_options
def run(
    artifact: ArtifactArgument,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the result; default: in place of the artifact.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an artifact that is at --output.")] = False,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="The checkpoint it was built from: verify the result; needs PyTorch."),
    ] = None,
    clip: ClipOption = None,
    init: ClipInitOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    options: Mapping[str, Any],
) -> None:
    """Build an artifact's engine files again from the graphs that it carries, for this machine; needs no PyTorch.

    The artifact is replaced in one step once everything went well.
    """
    chosen: Clip | None = None
    steps: int | None = 0
    if weights is not None:
        check_torch()
        chosen = clip_from_options(clip, init)
        steps = chosen.count
    elif clip is not None or init is not None:
        raise typer.BadParameter("these are for verifying; give --weights too", param_hint="--clip, --init")
    from edgetrack.artifact import read_artifact
    from edgetrack.export.rebuild import REBUILD_STEPS, rebuild_artifact

    with console.progress(None if steps is None else steps + REBUILD_STEPS, f"rebuild {artifact.name}") as bar:
        path = rebuild_artifact(
            artifact,
            output=output,
            force=force,
            options=options,
            weights=weights,
            clip=chosen,
            threads=threads,
            progress=bar,
        )
    built = read_artifact(path, verify_checksums=False)
    verdict = str((built.verification or {}).get("verdict"))
    if as_json:
        console.emit_json({"schema": 1, "path": str(path), "target": built.manifest["target"], "verdict": verdict})
        return
    console.line(f"wrote {path} ({built.size_bytes() / 1e6:.1f} MB), verification: {verdict}")
