"""Real streams and missing cameras: pictures over HTTP that break off, servers that are not there, and traps."""

from __future__ import annotations

import socket
import time

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
pytest.importorskip("cv2")
import cv2
from serve_desk import client_of
from serve_fakes import BOX, FakeTracker, fake_model, picture, wait_for
from serve_stream import CAMERA, stream_server

from edgetrack import demo
from edgetrack.serve.app import Options
from edgetrack.serve.control import SourceChoice, Target
from edgetrack.serve.model import ModelChoice
from edgetrack.serve.session import Session

TOKEN = "correct-horse-battery-staple"
SECRET = f"{CAMERA}?key=secret"


@pytest.fixture
def tracker():
    return FakeTracker()


@pytest.fixture
def client(tmp_path, tracker):
    """A client that may open streams, with a fake tracker loaded and the real reader."""
    session = Session(tmp_path, loader=lambda _: fake_model(tracker))
    session.load(ModelChoice(tmp_path)).result(20)
    with client_of(tmp_path, session=session, options=Options(cameras=True, streams=True)) as made:
        yield made


def refusal(answer, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    text = answer.json()["error"]
    assert "\n" not in text
    return text


def source(client) -> dict:
    return client.get("/api/status").json()["source"]


def test_a_stream_is_followed_over_its_breaks(tmp_path, tracker):
    with stream_server() as server:
        session = Session(tmp_path, loader=lambda _: fake_model(tracker))
        session.load(ModelChoice(tmp_path))
        session.open(SourceChoice(server.address(SECRET), "the camera")).result(30)
        found = session.status()["source"]
        assert (found["live"], found["count"], found["width"]) == (True, None, 64)
        session.start(Target(BOX)).result(20)
        wait_for(lambda: session.status()["source"]["reconnects"] >= 1)
        seen = len(tracker.seen)
        wait_for(lambda: len(tracker.seen) > seen)
        assert session.status()["phase"] == "running"
        assert len(server.visits) >= 2
        assert "secret" not in str(session.status())
        numbers = [number for number, _, _ in session.log().points(-1, 1000)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        session.close()


def test_a_stream_that_ends_for_good_is_told_in_one_line(client, tracker):
    with stream_server() as server:
        assert client.post("/api/open", json={"stream": server.address(SECRET)}).status_code == 200
        assert client.post("/api/start", json={"box": BOX, "record": False}).status_code == 200
        wait_for(lambda: len(tracker.seen) >= 3)
        wait_for(lambda: source(client)["trouble"])
    told = wait_for(lambda: "trying again" in source(client)["trouble"] and source(client)["trouble"])
    assert told.startswith(f"stream {server.address(CAMERA)} cannot be opened")
    assert "\n" not in told
    assert "secret" not in client.get("/api/status").text
    assert client.get("/api/status").json()["phase"] == "running"  # should it come again
    assert len(client.get("/api/boxes?format=csv").text.splitlines()) > 3
    assert client.post("/api/stop").status_code == 200
    assert client.post("/api/close").status_code == 200
    assert client.get("/api/status").json()["phase"] == "empty"


def test_nobody_there(client):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for scheme in ("http", "rtsp"):
        text = refusal(client.post("/api/open", json={"stream": f"{scheme}://me:secret@127.0.0.1:{port}/live"}))
        assert text.startswith(f"stream {scheme}://127.0.0.1:{port}/live cannot be opened")
        assert "secret" not in text
    assert client.get("/api/status").json()["phase"] == "empty"
    assert client.post("/api/open", json={"media": "bundled/car.mp4"}).status_code == 200


@pytest.fixture
def segment(tmp_path):
    """A video that a playlist may name: one of MPEG-TS, which can be read from its beginning."""
    path = tmp_path / "segment.ts"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mpg2"), 25, (64, 48))
    assert writer.isOpened()
    for number in range(25):
        writer.write(picture(10 * number))
    writer.release()
    return path


def traps(names: dict[str, str]) -> dict[str, tuple[int, dict[str, str], bytes]]:
    """What leads to other addresses: a redirect and a playlist for each, by the path that it is sent for."""
    kind = {"content-type": "application/vnd.apple.mpegurl"}
    playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
    redirects = {f"/redirect/{name}": (302, {"location": address}, b"") for name, address in names.items()}
    playlists = {f"/{name}.m3u8": (200, kind, playlist.format(address).encode()) for name, address in names.items()}
    return redirects | playlists


def test_what_a_server_sends_opens_no_file_of_this_machine(client, segment):
    """Redirects and playlists that name a video which is here, and that open it where it lies in the network."""
    answers = {"/segment.ts": (200, {}, segment.read_bytes()), "/missing": (404, {}, b"nothing here")}
    with stream_server(answers) as server:
        open_ones = traps({"network": server.address("/segment.ts")})
        shut_ones = traps({"url": segment.as_uri(), "path": str(segment)})
        answers |= open_ones | shut_ones
        for path in open_ones:
            answer = client.post("/api/open", json={"stream": server.address(path)})
            assert answer.status_code == 200, (path, answer.text)
            assert (source(client)["width"], source(client)["height"]) == (64, 48)
            assert client.post("/api/close").status_code == 200
        for path in (*shut_ones, "/missing"):
            assert "cannot be opened" in refusal(client.post("/api/open", json={"stream": server.address(path)}))
        assert set(answers) <= set(server.visits)
        assert str(segment) in server.visits  # a path is one of the server's
    assert client.get("/api/status").json()["source"] is None


@pytest.mark.parametrize("address", ["file://{clip}", "{clip}", "FILE:{clip}", "http:{clip}", "concat:{clip}", "0"])
def test_only_addresses_of_the_network_are_streams(client, address):
    asked = {"stream": address.format(clip=demo.CLIP.resolve())}
    assert "give one as rtsp://host/live" in refusal(client.post("/api/open", json=asked))


def test_a_folder_that_is_named_like_an_address_is_no_stream(client, tmp_path, monkeypatch):
    (tmp_path / "http:" / "127.0.0.1:9").mkdir(parents=True)
    (tmp_path / "http:" / "127.0.0.1:9" / "car.mp4").write_bytes(demo.CLIP.read_bytes())
    monkeypatch.chdir(tmp_path)
    text = refusal(client.post("/api/open", json={"stream": "http://127.0.0.1:9/car.mp4"}))
    assert "stream http://127.0.0.1:9/car.mp4 cannot be opened" in text


def test_without_the_token_no_address_is_visited(tmp_path):
    guard = {"token": TOKEN, "local_only": False, "options": Options(streams=True)}
    with stream_server() as server, client_of(tmp_path, **guard) as client:
        body = {"stream": server.address(CAMERA)}
        assert client.post("/api/open", json=body).status_code == 401
        assert client.post("/api/open", json=body, headers={"origin": "http://evil.example"}).status_code == 403
        assert server.visits == []
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert client.post("/api/open", json=body, headers=headers).status_code == 200
        assert server.visits


def test_a_camera_that_is_not_there(client):
    began = time.monotonic()
    text = refusal(client.post("/api/open", json={"camera": 97}))
    assert text == "camera 97 cannot be opened; check that it is there and that its format is known"
    assert time.monotonic() - began < 10
    assert client.get("/api/status").json()["phase"] == "empty"
