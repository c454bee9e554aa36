"""`edgetrack serve`: a page in the browser to follow targets with."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgetrack.cli import console
from edgetrack.cli.options import DeviceOption, EngineOption, JsonOption, ThreadsOption
from edgetrack.errors import EngineUnavailable, InputError

__all__ = ["run"]

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,128}")
_AUTO = "auto"
_GOODBYE_S = 1.0


def run(
    artifacts: Annotated[
        list[Path] | None, typer.Argument(help="Folders that `edgetrack export` wrote.", show_default=False)
    ] = None,
    *,
    folder: Annotated[list[Path] | None, typer.Option("--folder", help="Folder of artifacts; may be repeated.")] = None,
    media: Annotated[
        list[Path] | None,
        typer.Option("--media", help="Folder of videos that the page may open; may be repeated."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at; others than this get a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="EDGETRACK_SERVE_TOKEN",
            help="What visitors need, 16 characters or more; auto: a new one is made and printed, which is the default "
            "with another --host or with --allow-host.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            help="Further name to visit by, as a proxy's; gets a token; may be repeated.",
        ),
    ] = None,
    cameras: Annotated[
        bool | None,
        typer.Option(
            "--cameras/--no-cameras",
            help="Whether cameras may be opened; default: only with 127.0.0.1 and without --allow-host.",
        ),
    ] = None,
    streams: Annotated[
        bool | None,
        typer.Option(
            "--streams/--no-streams",
            help="Whether any address of rtsp or http may be typed and opened; default: only with 127.0.0.1 and "
            "without --allow-host.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    max_upload_mb: Annotated[
        int, typer.Option("--max-upload-mb", min=0, max=65536, help="Largest video that may be sent; 0: none.")
    ] = 512,
    jpeg_quality: Annotated[int, typer.Option("--jpeg-quality", min=10, max=100, help="Of the live pictures.")] = 80,
    as_json: JsonOption = False,
) -> None:
    """Open a page in the browser: choose artifact and source, draw a box or type a sentence, and watch.

    Needs the extra `serve`. Listens at 127.0.0.1 unless told otherwise; Ctrl-C ends it.
    """
    try:
        from edgetrack.serve.app import Options
        from edgetrack.serve.guard import is_loopback
        from edgetrack.serve.server import Place, new_token, serve
        from edgetrack.serve.worker import still_at_work
    except ImportError as error:
        raise EngineUnavailable(f"the page needs a web server ({error}): pip install 'edgetrack[serve]'") from error
    local = is_loopback(host)
    private = local and not allow_host  # who allows another name has a proxy that others reach
    token = _checked_token(token, new_token, needed=not private)
    _check_folders(*(artifacts or ()), *(folder or ()), *(media or ()))
    place = Place(
        host=host,
        port=port,
        token=token,
        hosts=_names(local, allow_host or []),
        artifacts=artifacts or (),
        folders=folder or (),
        media=media or (),
    )
    options = Options(
        cameras=private if cameras is None else cameras,
        streams=private if streams is None else streams,
        max_upload_bytes=max_upload_mb << 20,
        quality=jpeg_quality,
        device=device,
        engine=engine,
        threads=threads,
    )

    serve(place, options, partial(_tell, token, as_json))
    if still_at_work(_GOODBYE_S):  # a usual end would take the libraries down under it, which then abort
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _checked_token(token: str | None, new_token: Callable[[], str], *, needed: bool) -> str | None:
    """Return the token that visitors need; a new one where it is asked for, or needed and not given."""
    if token == _AUTO or (token is None and needed):
        return new_token()
    if token is not None and not _TOKEN.fullmatch(token):
        raise typer.BadParameter("must be 16 to 128 letters, digits, or . _ ~ -", param_hint="--token")
    return token


def _check_folders(*paths: Path) -> None:
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path} is no folder; give folders of artifacts (ARTIFACT, --folder) or videos (--media)")


def _tell(token: str | None, as_json: bool, address: str) -> None:
    """Say where the page is."""
    if as_json:
        console.emit_json({"schema": 1, "address": address, "token": token})
    else:
        console.line(f"open {address} (Ctrl-C ends)")


def _names(local: bool, given: list[str]) -> list[str]:
    """Return the names that visitors may use: bound wider, this machine's own too."""
    import socket

    return given if local else [*given, socket.gethostname(), socket.getfqdn()]
