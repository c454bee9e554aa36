"""The web application: bad input, uploads, paths, downloads, and what a viewer is sent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
pytest.importorskip("cv2")
from serve_desk import client_of, live
from serve_fakes import BOX, FakeSource, FakeTracker, fake_model, wait_for
from starlette.websockets import WebSocketDisconnect

from edgetrack import demo
from edgetrack.cli import main
from edgetrack.errors import InputError
from edgetrack.serve import uploads as uploads_module
from edgetrack.serve.app import Options
from edgetrack.serve.control import SourceChoice
from edgetrack.serve.errors import NotNow
from edgetrack.serve.model import ModelChoice
from edgetrack.serve.session import Session
from edgetrack.serve.uploads import TooLarge, Uploads

BYTES = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def client(tmp_path, artifact):
    (tmp_path / "own").mkdir()
    with client_of(tmp_path / "own", artifacts=[artifact]) as made:
        yield made


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A client with nothing to load, and nothing loaded."""
    with client_of(tmp_path_factory.mktemp("bare"), options=Options(cameras=True)) as made:
        yield made


@pytest.fixture
def fakes(tmp_path):
    """A client over fakes, with a run that is paused at its start."""
    tracker = FakeTracker()
    session = Session(tmp_path, loader=lambda _: fake_model(tracker), opener=lambda name: FakeSource())
    session.load(ModelChoice(Path("fake"))).result(20)
    tracker.gate.clear()
    with client_of(tmp_path, session=session) as made:
        assert made.post("/api/open", json={"media": "bundled/car.mp4"}).status_code == 200
        assert made.post("/api/start", json={"box": BOX, "record": False}).status_code == 200
        paused = session.pause()
        tracker.gate.set()
        paused.result(20)
        yield made


def error(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    (key,) = answer.json()
    text = answer.json()[key]
    assert key == "error"
    assert "\n" not in text
    return text


def test_a_run_gives_the_boxes_that_track_gives(client, artifact, tmp_path):
    (listed,) = client.get("/api/choices").json()["artifacts"]
    assert listed["variant"] == "fartrack-tiny-test"
    assert client.post("/api/load", json={"artifact": listed["id"], "engine": "onnxruntime"}).status_code == 200
    assert client.get("/api/status").json()["model"]["engine"]["engine"] == "onnxruntime"
    assert client.post("/api/open", json={"media": "bundled/car.mp4"}).json() == {"result": None}
    assert client.get("/api/frame.jpg").content.startswith(b"\xff\xd8")
    assert "no boxes yet" in error(client.get("/api/boxes"), 409)
    assert client.post("/api/start", json={"box": [286, 321, 195, 111]}).status_code == 200
    wait_for(lambda: client.get("/api/status").json()["phase"] == "ended")
    for results_format in ("got10k", "pytracking", "json", "csv"):
        path = tmp_path / "boxes"
        words = ["track", artifact, "--source", demo.CLIP, "--init", "286,321,195,111", "--boxes", path]
        assert main([str(word) for word in (*words, "--results-format", results_format)]) == 0
        answer = client.get(f"/api/boxes?format={results_format}")
        assert "attachment" in answer.headers["content-disposition"]
        assert _without_seconds(answer.text, results_format) == _without_seconds(path.read_text(), results_format)
    assert client.get("/api/video").headers["content-type"] == "video/mp4"
    assert "format 'vot' is unknown" in error(client.get("/api/boxes?format=vot"), 400)


def _without_seconds(text: str, results_format: str) -> object:
    if results_format == "csv":
        return [line.rpartition(",")[0] for line in text.splitlines()]
    if results_format == "json":
        return [{key: value for key, value in row.items() if key != "seconds"} for row in json.loads(text)["frames"]]
    return text


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("start", b"{", 400, "no JSON"),
        ("start", b"[1]", 400, "must be a JSON object"),
        ("start", b'{"box": [1, 2, NaN, 4]}', 400, "NaN"),
        ("start", b"[" * 60_000, 400, "no JSON"),
        ("start", b"\xff\xfe", 400, "no JSON"),
        ("start", b" " * 70_000, 413, "larger than 64 KiB"),
        ("start", {"colour": "red"}, 400, "'colour', which is unknown"),
        ("start", {}, 400, "nothing says what to follow"),
        ("start", {"box": [1, 2, 3]}, 400, "four numbers"),
        ("start", {"box": "1,2,3,4"}, 400, "four numbers"),
        ("start", {"box": [1, 2, True, 4]}, 400, "four numbers"),
        ("start", {"box": [1, 2, {}, 4]}, 400, "four numbers"),
        ("start", {"text": 7}, 400, "must be a sentence"),
        ("start", {"box": [1, 2, 3, 4], "frame": -1}, 400, "frame is '-1'"),
        ("start", {"box": [1, 2, 3, 4], "frame": 1.5}, 400, "whole number"),
        ("start", {"box": [1, 2, 3, 4], "record": 1}, 400, "record is '1'"),
        ("start", {"pack": "../../secret"}, 400, "not here"),
        ("start", {"box": [1, 2, 3, 4]}, 409, "no artifact is loaded"),
        ("load", {"artifact": "../tiny"}, 400, "not in the list"),
        ("load", {"artifact": None}, 400, "not in the list"),
        ("load", {"artifact": "x", "device": 3}, 400, "device is '3'"),
        ("open", {}, 400, "takes one of"),
        ("open", {"media": "bundled/car.mp4", "camera": 0}, 400, "just one"),
        ("open", {"camera": "0"}, 400, "whole number"),
        ("open", {"camera": 97}, 400, "camera 97 cannot be opened"),
        ("open", {"upload": "upload-1"}, 400, "not here"),
        ("open", {"stream": "rtsp://127.0.0.1/x"}, 403, "not allowed"),
        ("seek", {"frame": "3"}, 400, "whole number"),
        ("seek", {"frame": 3}, 409, "no source is open"),
        ("step", {"count": 0}, 400, "1 to 100"),
        ("pin", {"frame": 5}, 409, "not kept"),
        ("settings", {"pace": "slow"}, 400, "pace is 'slow'"),
        ("settings", {"every": 0}, 400, "every is 0"),
        ("settings", {"every": True}, 400, "every is True"),
        ("pause", {}, 409, "cannot pause now"),
        ("explode", {}, 404, "no command 'explode'"),
    ],
)
def test_bad_requests_get_one_clear_line(bare, path, body, status, message):
    if isinstance(body, bytes):
        answer = bare.post(f"/api/{path}", content=body, headers=JSON)
    else:
        answer = bare.post(f"/api/{path}", json=body)
    assert message in error(answer, status)


def test_other_ways_to_ask_wrongly(client):
    assert "content type" in error(client.post("/api/seek", content=b"{}", headers={"content-type": "text/plain"}), 400)
    assert error(client.get("/api/start"), 405)
    assert error(client.delete("/api/status"), 405)
    assert error(client.get("/nowhere"), 404)
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page//etc/passwd", "/page/"):
        assert client.get(path).status_code == 404
    assert "no frame is shown" in error(client.get("/api/frame.jpg"), 409)
    assert "no video was recorded" in error(client.get("/api/video"), 409)


def test_a_damaged_artifact_and_a_device_that_is_not_here(client, artifact):
    (listed,) = client.get("/api/choices").json()["artifacts"]
    no_device = client.post("/api/load", json={"artifact": listed["id"], "device": "cuda:7"})
    assert "cuda:7" in error(no_device, 503)
    (artifact / "search.onnx").write_bytes(b"damaged")
    damaged = error(client.post("/api/load", json={"artifact": listed["id"]}), 422)
    assert damaged.startswith(f"{artifact.name}/search.onnx")
    assert str(artifact.parent) not in damaged
    assert client.get("/api/status").json()["model"] is None
    (artifact / "edgetrack.json").write_text("{")
    (listed,) = client.get("/api/choices").json()["artifacts"]
    assert "not valid JSON" in listed["trouble"]
    assert str(artifact.parent) not in listed["trouble"]
    unreadable = error(client.post("/api/load", json={"artifact": listed["id"]}), 422)
    assert unreadable == listed["trouble"]
    assert unreadable.startswith(f"{artifact.name}/edgetrack.json")


def test_the_folder_where_the_server_was_started_has_a_name_too(tmp_path, artifact, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(artifact)
    with client_of(tmp_path / "own", artifacts=[Path()]) as client:
        (listed,) = client.get("/api/choices").json()["artifacts"]
        assert listed["name"] == artifact.name
        (artifact / "search.onnx").write_bytes(b"damaged")
        text = error(client.post("/api/load", json={"artifact": listed["id"]}), 422)
        assert text.startswith(f"{artifact.name}/search.onnx: sha256 is")
        assert text.endswith("; copy or export the artifact again")
        assert "edgetrack.json says" in text
        assert str(artifact.parent) not in text
        (artifact / "edgetrack.json").write_text("{")
        (listed,) = client.get("/api/choices").json()["artifacts"]
        assert listed["trouble"].startswith(f"{artifact.name}/edgetrack.json: not valid JSON")


def test_an_upload_is_opened_and_stored_under_a_name_of_ours(client, tmp_path):
    headers = BYTES | {"x-file-name": "..%2F..%2Fmy%20car%0A.mp4"}
    answer = client.post("/api/uploads/video", content=demo.CLIP.read_bytes(), headers=headers).json()
    assert answer["label"] == "my car.mp4"
    (stored,) = (tmp_path / "own").iterdir()
    assert stored.name == answer["id"]
    assert client.post("/api/open", json={"upload": answer["id"]}).status_code == 200
    source = client.get("/api/status").json()["source"]
    assert (source["label"], source["count"]) == ("my car.mp4", 65)
    for _ in range(5):
        client.post("/api/uploads/video", content=demo.CLIP.read_bytes(), headers=BYTES)
    assert len(list((tmp_path / "own").iterdir())) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no video of a known kind"),
        (b"just text", "no video of a known kind"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "no video of a known kind"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "no video of a known kind"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no video of a known kind"),
        (demo.CLIP.read_bytes()[:5000], "cannot be opened"),
        (b"\0\0\0\x18ftypmp42" + bytes(500), "cannot be opened"),
    ],
)
def test_an_upload_that_is_no_video_is_refused_and_removed(client, tmp_path, content, message):
    headers = BYTES | {"x-file-name": "car.mp4"}
    text = error(client.post("/api/uploads/video", content=content, headers=headers), 400)
    assert message in text
    assert str(tmp_path) not in text
    assert list((tmp_path / "own").iterdir()) == []


def test_uploads_are_limited_while_they_come(tmp_path):
    with client_of(tmp_path, options=Options(max_upload_bytes=10_240)) as client:
        announced = BYTES | {"content-length": "10241"}
        assert "larger than" in error(client.post("/api/uploads/video", content=bytes(10_241), headers=announced), 413)
        chunks = (bytes(1024) for _ in range(50))
        assert "larger than" in error(client.post("/api/uploads/video", content=chunks, headers=BYTES), 413)
        assert list(tmp_path.iterdir()) == []
        absurd = BYTES | {"content-length": "9" * 5000}
        assert "larger than" in error(client.post("/api/uploads/video", content=b"x", headers=absurd), 413)
        assert "content type" in error(client.post("/api/uploads/video", content=b"x"), 400)
        assert error(client.post("/api/uploads/program", content=b"x", headers=BYTES), 404)
        assert "target pack" in error(client.post("/api/uploads/pack", content=b"x" * 99, headers=BYTES), 400)
        assert list(tmp_path.iterdir()) == []


def test_what_is_too_large_is_not_read_to_its_end(tmp_path):
    sent = []

    async def chunks():
        for index in range(50):
            sent.append(index)
            await asyncio.sleep(0)
            yield bytes(1024)

    async def send() -> None:
        uploads = Uploads(tmp_path, 10_240, None)
        with pytest.raises(TooLarge):
            await uploads.receive(chunks(), announced=None)
        assert len(sent) == 11
        with pytest.raises(TooLarge):
            await uploads.receive(chunks(), announced=10_241)
        assert len(sent) == 11
        under_way = [uploads.receive(chunks(), None, 10**6) for _ in range(3)]
        done = await asyncio.gather(*under_way, return_exceptions=True)
        assert [isinstance(item, NotNow) for item in done] == [False, False, True]

    asyncio.run(send())


def test_who_stops_sending_makes_room_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads_module, "_MOST_WAIT_S", 0.05)

    async def stalled():
        yield bytes(10)
        await asyncio.sleep(30)

    async def send() -> None:
        uploads = Uploads(tmp_path, 10_240, None)
        for _ in range(3):  # more than may come at a time
            with pytest.raises(NotNow, match="nothing more of the file came"):
                await uploads.receive(stalled(), None)
        assert list(tmp_path.iterdir()) == []

    asyncio.run(send())


def test_frames_that_are_too_large_are_refused(tmp_path):
    class Huge(FakeSource):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.size = (8000, 4600)
            opened.append(self)

    opened: list[Huge] = []
    uploads = Uploads(tmp_path, 10**6, Huge)
    sent = tmp_path / "sent"
    sent.write_bytes(demo.CLIP.read_bytes()[:5000])
    with pytest.raises(InputError, match="8000x4600 are larger than 36 megapixels"):
        uploads.accept_video(sent, "huge.mp4")
    assert not sent.exists()
    session = Session(tmp_path, opener=Huge)
    with pytest.raises(InputError, match="8000x4600"):
        session.open(SourceChoice("huge", "huge")).result(20)
    assert session.status()["phase"] == "empty"
    session.close()
    assert [source.closed for source in opened] == [True, True]


def test_media_stay_inside_their_folders(tmp_path, frames):
    import cv2

    media, own = tmp_path / "media", tmp_path / "own"
    for folder in (media / "images", own):
        folder.mkdir(parents=True)
    (media / "a.mp4").write_bytes(demo.CLIP.read_bytes())
    (media / "notes.txt").write_text("secret")
    (tmp_path / "outside.mp4").write_bytes(demo.CLIP.read_bytes())
    (media / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (media / "inner.mp4").symlink_to(media / "a.mp4")
    (media / "up").symlink_to(tmp_path)
    (media / "mixed").mkdir()
    cv2.imwrite(str(tmp_path / "outside.png"), frames[0])
    cv2.imwrite(str(media / "mixed" / "1.png"), frames[0])
    (media / "mixed" / "2.png").symlink_to(tmp_path / "outside.png")
    cv2.imwrite(str(media / "images" / "1.png"), frames[0])
    with client_of(own, media=[media]) as client:
        listed = [entry["path"] for entry in client.get("/api/choices").json()["media"]]
        assert listed == ["bundled/car.mp4", "0/a.mp4", "0/inner.mp4", "0/images", "0/mixed"]
        assert "images that lead out" in error(client.post("/api/open", json={"media": "0/mixed"}), 403)
        for path in listed[:-1]:
            assert client.post("/api/open", json={"media": path}).status_code == 200
        for path in (
            "0/../outside.mp4",
            "0/images/../../outside.mp4",
            "0//etc/passwd",
            f"0/{tmp_path}/outside.mp4",
            "0/link.mp4",
            "0/up/outside.mp4",
            "bundled/../car.mp4",
        ):
            assert "leads out" in error(client.post("/api/open", json={"media": path}), 403)
        for path in ("0/notes.txt", "0/none.mp4", "1/a.mp4", "-1/a.mp4", "/etc/passwd", "a.mp4", "0/a\0.mp4", "0/.", 7):
            assert error(client.post("/api/open", json={"media": path}), 400)


def test_streams_and_cameras_only_where_allowed(tmp_path):
    with client_of(tmp_path, options=Options(streams=True)) as client:
        assert "cameras are not allowed" in error(client.post("/api/open", json={"camera": 0}), 403)
        for url in (
            "file:///etc/passwd",
            "/etc/passwd",
            "concat:a|b",
            "rtsp://",
            "rtsp://a b/",
            "http://[x/",
            "pipe:0",
        ):
            assert "stream" in error(client.post("/api/open", json={"stream": url}), 400)
        text = error(client.post("/api/open", json={"stream": "rtsp://me:secret@127.0.0.1:9/live"}), 400)
        assert "cannot be opened" in text
        assert "secret" not in text


def test_the_password_of_a_stream_is_not_shown():
    from edgetrack.serve.catalog import stream

    choice = stream("rtsp://me:secret@10.0.0.1:554/live?key=secret")
    assert choice.label == "rtsp://10.0.0.1:554/live"


def read_picture(socket) -> dict:
    """Return the header of the next picture; statuses before it are passed over."""
    while True:
        message = socket.receive()
        if (data := message.get("bytes")) is not None:
            length = int.from_bytes(data[:4], "little")
            assert data[4 + length :].startswith(b"\xff\xd8")
            return json.loads(data[4 : 4 + length])


def test_a_viewer_is_sent_the_newest_picture_when_it_is_ready(fakes):
    with live(fakes) as socket:
        assert read_picture(socket)["state"] == "TRACKING"
        for _ in range(10):
            assert fakes.post("/api/step").status_code == 200
        newest = fakes.get("/api/status").json()["source"]["next"] - 1
        second = read_picture(socket)  # two may be on their way
        socket.send_text("shown")
        socket.send_text("shown")
        third = read_picture(socket)
        while third["frame"] < newest:  # the encoder was still at work when it was free to send
            socket.send_text("shown")
            third = read_picture(socket)
        assert second["frame"] < third["frame"] == newest
        assert third["skipped"] > 0
        got = second["points"]["list"] + third["points"]["list"]
        assert [number for number, _, _ in got][-1] == newest
        assert third["box"] == fakes.get("/api/boxes?format=json").json()["frames"][-1]["box"]


def test_every_point_reaches_a_viewer_though_pictures_do_not(fakes):
    with live(fakes) as socket:
        first = read_picture(socket)
        assert fakes.post("/api/step", json={"count": 20}).status_code == 200
        points = first["points"]["list"]
        newest = fakes.get("/api/status").json()["source"]["next"] - 1
        while points[-1][0] < newest:
            socket.send_text("shown")
            points += read_picture(socket)["points"]["list"]
        assert [number for number, _, _ in points] == list(range(newest + 1))
        assert fakes.post("/api/seek", json={"frame": 3}).status_code == 200
        socket.send_text("shown")
        assert fakes.post("/api/step").status_code == 200
        header = read_picture(socket)
        while "state" not in header or header["frame"] != 3:
            socket.send_text("shown")
            header = read_picture(socket)
        assert header["points"]["list"][-1][0] == 3


def test_only_so_many_viewers(tmp_path):
    with client_of(tmp_path, options=Options(max_viewers=1)) as client:
        with live(client) as first:
            assert first.receive_json()["phase"] == "empty"
            with pytest.raises(WebSocketDisconnect) as caught, live(client):
                pass
            assert caught.value.code == 1013
        with live(client) as again:
            assert again.receive_json()["phase"] == "empty"
