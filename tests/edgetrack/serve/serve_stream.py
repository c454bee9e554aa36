"""A server of pictures as network cameras are, and of whatever else a test wants to be sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
from serve_fakes import picture

CAMERA = "/camera"
PICTURES = 12


@dataclass
class StreamServer:
    """What a test knows of the server: `visits` are the paths that were asked for."""

    port: int = 0
    visits: list[str] = field(default_factory=list)

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def stream_server(answers: Mapping[str, tuple[int, dict[str, str], bytes]] | None = None) -> Iterator[StreamServer]:
    """Send 12 pictures to whoever asks for /camera and hang up; `answers` are status, headers and body by path."""
    made = StreamServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.visits.append(self.path)
            if self.path.startswith(CAMERA):
                _send_pictures(self)
                return
            status, headers, body = (answers or {}).get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def _send_pictures(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()
    try:
        for number in range(PICTURES):
            jpeg = cv2.imencode(".jpg", picture(20 * number))[1].tobytes()
            head = f"--frame\r\ncontent-type: image/jpeg\r\ncontent-length: {len(jpeg)}\r\n\r\n"
            handler.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(0.01)
    except OSError:  # the reader has gone
        pass
