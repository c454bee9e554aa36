"""Puts session, application and guard together, and runs them until somebody stops them."""

from __future__ import annotations

import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from edgetrack import demo
from edgetrack.errors import InputError
from edgetrack.serve.app import Desk, Options, build_app
from edgetrack.serve.catalog import Artifacts, Media
from edgetrack.serve.control import Settings
from edgetrack.serve.guard import Guard, is_loopback
from edgetrack.serve.pictures import Pictures
from edgetrack.serve.session import Session
from edgetrack.serve.uploads import Uploads
from edgetrack.video import open_source

__all__ = ["Place", "new_token", "serve"]

_MOST_MESSAGE = 1 << 10
_GOODBYE_S = 2
_MOST_CONNECTIONS = 128


@dataclass(frozen=True)
class Place:
    """Where the server listens and what it serves.

    Attributes:
        host: address to bind to.
        port: 0 for any that is free.
        token: that visitors need; None: none, which only an address of this machine without further names allows.
        hosts: further names of this machine that visitors may use.
        artifacts: folders that `edgetrack export` wrote.
        folders: folders of such folders.
        media: folders of videos.
    """

    host: str
    port: int
    token: str | None
    hosts: Sequence[str] = ()
    artifacts: Sequence[Path] = ()
    folders: Sequence[Path] = ()
    media: Sequence[Path] = ()


def serve(place: Place, options: Options, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; the temporary folder with uploads and recordings is removed then.

    Args:
        place: where.
        options: what is allowed.
        ready: is called with the address to open, once the server listens.

    Raises:
        InputError: the address cannot be bound to, or others can come, directly or by a further name, without a token.
    """
    local = is_loopback(place.host)
    if place.token is None and (place.hosts or not local):
        name = place.host if not local else place.hosts[0]
        raise InputError(f"{name} can be reached by other machines, so a token is needed; give --token auto")
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(place))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgetrack-serve-", ignore_cleanup_errors=True))
        desk = stack.enter_context(_desk(place, options, Path(folder)))
        port = listener.getsockname()[1]
        cookie = f"edgetrack-{port}"
        app = Guard(build_app(desk), token=place.token, local_only=local, hosts=place.hosts, cookie=cookie)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            ws_max_size=_MOST_MESSAGE,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=_GOODBYE_S,
            limit_concurrency=_MOST_CONNECTIONS,
        )
        ready(_address(place, port))
        with suppress(KeyboardInterrupt):  # the usual end
            uvicorn.Server(config).run([listener])


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def _listen(place: Place) -> socket.socket:
    try:
        family = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((place.host, place.port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen at {place.host} port {place.port} ({reason}); choose another --host or --port"
        ) from error


@contextmanager
def _desk(place: Place, options: Options, folder: Path) -> Iterator[Desk]:
    session = Session(folder)
    session.set(Settings(pace="source"))  # for people; a short clip would be over before they see it
    pictures = Pictures(session.latest, quality=options.quality, max_fps=options.picture_fps)
    try:
        yield Desk(
            session=session,
            artifacts=Artifacts(place.artifacts, place.folders),
            media=Media(place.media, (demo.CLIP,)),
            uploads=Uploads(folder, options.max_upload_bytes, open_source),
            pictures=pictures,
            options=options,
        )
    finally:
        pictures.close()
        session.close()


def _address(place: Place, port: int) -> str:
    """Return the address to open; where any address will do, this machine's name."""
    host = socket.gethostname() if place.host in ("0.0.0.0", "::", "") else place.host
    query = f"?token={place.token}" if place.token else ""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{query}"
