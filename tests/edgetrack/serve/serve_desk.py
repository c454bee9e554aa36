"""The application as the server puts it together, over a session of a test's own."""

from __future__ import annotations

from contextlib import contextmanager

from starlette.testclient import TestClient, WebSocketTestSession

from edgetrack import demo
from edgetrack.serve.app import Desk, Options, build_app
from edgetrack.serve.catalog import Artifacts, Media
from edgetrack.serve.guard import Guard
from edgetrack.serve.pictures import Pictures
from edgetrack.serve.session import Session
from edgetrack.serve.uploads import Uploads
from edgetrack.video import open_source

BASE = "http://127.0.0.1:8765"


def live(client: TestClient, **headers: str) -> WebSocketTestSession:
    """Open the web socket of a viewer; the test client itself would name another host."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.websocket_connect("/api/live", headers={"host": BASE.partition("//")[2]} | named)


@contextmanager
def client_of(folder, *, artifacts=(), media=(), options=None, session=None, **guard):
    """Yield a client of a whole application; the session's own folder is `folder`."""
    options = options or Options()
    session = session or Session(folder)
    pictures = Pictures(session.latest, quality=80, max_fps=1000)
    uploads = Uploads(folder, options.max_upload_bytes, open_source)
    desk = Desk(session, Artifacts(artifacts), Media(media, (demo.CLIP,)), uploads, pictures, options)
    app = Guard(build_app(desk), **({"token": None, "local_only": True} | guard))
    try:
        with TestClient(app, base_url=BASE, follow_redirects=False) as client:
            yield client
    finally:
        pictures.close()
        session.close()
