"""The web application: routes over a session; it decides nothing about tracking."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from edgetrack.errors import ArtifactError, EdgetrackError, EngineUnavailable
from edgetrack.serve.catalog import Artifacts, Media
from edgetrack.serve.commands import COMMANDS
from edgetrack.serve.errors import NotAllowed, NotNow, one_line
from edgetrack.serve.live import Viewer
from edgetrack.serve.pictures import Pictures, encode_jpeg
from edgetrack.serve.requests import announced_size, read_body
from edgetrack.serve.session import Session
from edgetrack.serve.uploads import TooLarge, Uploads, display_name
from edgetrack.video.boxes import RESULT_FORMATS

__all__ = ["Desk", "Options", "build_app"]

PAGE = Path(__file__).parent / "page"

_TOO_MANY = 1013
_STATUS = {TooLarge: 413, NotNow: 409, NotAllowed: 403, ArtifactError: 422, EngineUnavailable: 503}
_BAD_REQUEST, _INTERNAL_ERROR = 400, 500
_MOST_PACK = 16 << 20  # four times what the largest of any model here has
_SUFFIXES = {"got10k": "txt", "pytracking": "txt", "json": "json", "csv": "csv"}


@dataclass(frozen=True)
class Options:
    """What whoever started the server decided.

    Attributes:
        cameras: cameras may be opened.
        streams: addresses that are typed into the page may be opened.
        max_upload_bytes: of a video.
        max_viewers: at a time.
        quality: of pictures, 1 to 100.
        picture_fps: pictures a second at most.
        device: what the page offers first, see `edgetrack.load`.
        engine: the same.
        threads: of every load.
    """

    cameras: bool = False
    streams: bool = False
    max_upload_bytes: int = 512 << 20
    max_viewers: int = 16
    quality: int = 80
    picture_fps: float = 30.0
    device: str = "auto"
    engine: str | None = None
    threads: int | None = None


@dataclass
class Desk:
    """Everything that requests need."""

    session: Session
    artifacts: Artifacts
    media: Media
    uploads: Uploads
    pictures: Pictures
    options: Options
    viewers: int = 0


def build_app(desk: Desk) -> Starlette:
    """Return the application; put a `Guard` before it."""
    routes: list[BaseRoute] = [
        Route("/", _page),
        Mount("/page", StaticFiles(directory=PAGE)),
        Route("/api/choices", _answering(desk, _choices)),
        Route("/api/status", _answering(desk, _status)),
        Route("/api/frame.jpg", _answering(desk, _frame)),
        Route("/api/boxes", _answering(desk, _boxes)),
        Route("/api/video", _answering(desk, _video)),
        Route("/api/uploads/{kind}", _answering(desk, _upload), methods=["POST"]),
        Route("/api/{command}", _answering(desk, _command), methods=["POST"]),
        WebSocketRoute("/api/live", _live(desk)),
    ]
    return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_found})


Handler = Callable[[Desk, Request], Awaitable[Response]]


def _answering(desk: Desk, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Turn errors into one line of JSON and a status."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(desk, request)
        except Exception as error:  # noqa: BLE001 (whoever asked gets one line for a bug too)
            return JSONResponse({"error": one_line(error)}, _status_of(error))

    return answer


def _status_of(error: Exception) -> int:
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return status
    return _BAD_REQUEST if isinstance(error, EdgetrackError) else _INTERNAL_ERROR


async def _not_found(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return JSONResponse({"error": f"there is no {request.method} {request.url.path[:80]} here"}, status)


async def _page(request: Request) -> Response:  # noqa: ARG001 (the signature is fixed)
    return FileResponse(PAGE / "index.html")


async def _choices(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    """What the page offers; engines are imported and folders read here, so not in the loop of the server."""
    from edgetrack.runtime.engines.inventory import engines_here

    options = desk.options
    engines = await run_in_threadpool(engines_here)
    found: dict[str, Any] = {
        "artifacts": await run_in_threadpool(desk.artifacts.listed),
        "media": await run_in_threadpool(desk.media.listed),
        "engines": [dataclasses.asdict(engine) for engine in engines],
        "cameras": options.cameras,
        "streams": options.streams,
        "max_upload_bytes": options.max_upload_bytes,
        "max_pack_bytes": _MOST_PACK,
        "formats": RESULT_FORMATS,
        "device": options.device,
        "engine": options.engine,
    }
    return JSONResponse(found)


async def _status(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    return JSONResponse(desk.session.status())


async def _frame(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    shown = desk.session.latest.get()[1]
    if shown is None:
        raise NotNow("no frame is shown; open a source first")
    return Response(await run_in_threadpool(encode_jpeg, shown.frame, desk.options.quality), media_type="image/jpeg")


async def _boxes(desk: Desk, request: Request) -> Response:
    results_format = request.query_params.get("format", "csv")
    log = desk.session.log()
    if log is None:
        raise NotNow("there are no boxes yet; start a run first")
    text = await run_in_threadpool(log.text, results_format)
    name = f"boxes-{results_format}.{_SUFFIXES[results_format]}"
    return PlainTextResponse(text, headers={"content-disposition": f'attachment; filename="{name}"'})


async def _video(desk: Desk, request: Request) -> Response:  # noqa: ARG001
    return FileResponse(desk.session.video(), media_type="video/mp4", filename="track.mp4")


async def _upload(desk: Desk, request: Request) -> Response:
    kinds = {
        "video": (desk.options.max_upload_bytes, desk.uploads.accept_video),
        "pack": (_MOST_PACK, desk.uploads.accept_pack),
    }
    kind = request.path_params["kind"]
    if kind not in kinds:
        return JSONResponse({"error": f"uploads are {' and '.join(kinds)}, not {kind[:40]!r}"}, 404)
    limit, accept = kinds[kind]
    label = display_name(request.headers.get("x-file-name"))
    path = await desk.uploads.receive(request.stream(), announced_size(request), limit)
    return JSONResponse({"label": label, **await run_in_threadpool(accept, path, label)})


async def _command(desk: Desk, request: Request) -> Response:
    name = request.path_params["command"]
    if name not in COMMANDS:
        return JSONResponse({"error": f"there is no command {name[:40]!r}; known: {', '.join(COMMANDS)}"}, 404)
    command = COMMANDS[name]
    body = await read_body(request, command.keys)
    done: Future[Any] = await run_in_threadpool(command.run, desk, body)
    return JSONResponse({"result": await asyncio.wrap_future(done)})


def _live(desk: Desk) -> Callable[[WebSocket], Awaitable[None]]:
    async def live(socket: WebSocket) -> None:
        if desk.viewers >= desk.options.max_viewers:
            await socket.close(_TOO_MANY)
            return
        desk.viewers += 1
        try:
            await Viewer(socket, desk.session, desk.pictures).serve()
        finally:
            desk.viewers -= 1

    return live
