"""A real stream: pictures over HTTP, as network cameras send them, that breaks off and comes again."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("cv2")
import cv2
from serve_fakes import BOX, FakeTracker, fake_model, picture, wait_for

from edgetrack.serve.control import SourceChoice, Target
from edgetrack.serve.model import ModelChoice
from edgetrack.serve.session import Session

PICTURES = 12


@pytest.fixture
def stream():
    """Address of a server that sends 12 pictures to whoever connects and hangs up; and how often that happened."""
    visits = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visits.append(self.path)
            self.send_response(200)
            self.send_header("content-type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for number in range(PICTURES):
                    jpeg = cv2.imencode(".jpg", picture(20 * number))[1].tobytes()
                    head = f"--frame\r\ncontent-type: image/jpeg\r\ncontent-length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                    time.sleep(0.01)
            except OSError:  # the reader has gone
                pass

        def log_message(self, *_arguments) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/camera?key=secret", visits
    server.shutdown()


def test_a_stream_is_followed_over_its_breaks(tmp_path, stream):
    address, visits = stream
    tracker = FakeTracker()
    session = Session(tmp_path, loader=lambda _: fake_model(tracker))
    session.load(ModelChoice(tmp_path))
    session.open(SourceChoice(address, "the camera")).result(30)
    source = session.status()["source"]
    assert (source["live"], source["count"], source["width"]) == (True, None, 64)
    session.start(Target(BOX)).result(20)
    wait_for(lambda: session.status()["source"]["reconnects"] >= 1)
    seen = len(tracker.seen)
    wait_for(lambda: len(tracker.seen) > seen)
    assert session.status()["phase"] == "running"
    assert len(visits) >= 2
    assert "secret" not in str(session.status())
    numbers = [number for number, _, _ in session.log().points(-1, 1000)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    session.close()
