"""Who may talk to the server."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
pytest.importorskip("cv2")
from serve_desk import BASE, client_of, live
from starlette.websockets import WebSocketDisconnect

from edgetrack.serve.app import PAGE
from edgetrack.serve.guard import is_loopback

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with client_of(tmp_path_factory.mktemp("local")) as made:
        yield made


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """As if bound to all addresses."""
    with client_of(tmp_path_factory.mktemp("wide"), token=TOKEN, local_only=False, hosts=["tracker.lan"]) as made:
        yield made


def test_every_answer_carries_the_policy(client):
    for path in ("/", "/page/main.js", "/api/status", "/nothing", "/api/frame.jpg"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_the_page_keeps_the_policy_and_works_offline():
    files = [path for path in PAGE.iterdir() if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".css", ".js", ".svg"}
    for path in files:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text), path
        assert "eval(" not in text
        assert "innerHTML" not in text
    page = (PAGE / "index.html").read_text()
    assert not re.search(r"\son\w+=|\sstyle=|javascript:|<style", page)
    assert re.findall(r"<script([^>]*)>([^<]*)</script>", page) == [(' type="module" src="/page/main.js"', "")]


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765", "127.8.9.1"])
def test_own_names(client, host):
    assert client.get("/api/status", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8765",
        "192.168.1.5:8765",
        "user@127.0.0.1",
        "127.0.0.1/x",
        "[::1",
        "localhost.evil.example",
        "2130706433",
        "",
    ],
)
def test_foreign_names_are_refused(client, host):
    answer = client.get("/api/status", headers={"host": host})
    assert answer.status_code == 421
    assert "is not this server" in answer.json()["error"]
    with pytest.raises(WebSocketDisconnect), live(client, host=host):
        pass


@pytest.mark.parametrize("host", ["192.168.1.5:8765", "tracker.lan", "TRACKER.lan:8765", "localhost"])
def test_bound_wider_addresses_and_allowed_names_will_do(wide, host):
    headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
    assert wide.get("/api/status", headers=headers).status_code == 200


def test_bound_wider_other_names_are_refused(wide):
    headers = {"host": "evil.example", "authorization": f"Bearer {TOKEN}"}
    assert wide.get("/api/status", headers=headers).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:8765"},
        {"origin": f"{BASE}.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_change_nothing(client, headers):
    answer = client.post("/api/pause", headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.json()["error"]
    with pytest.raises(WebSocketDisconnect), live(client, **headers):
        pass


@pytest.mark.parametrize("headers", [{}, {"origin": BASE}, {"origin": BASE, "sec-fetch-site": "same-origin"}])
def test_the_page_and_programs_may(client, headers):
    assert client.post("/api/pause", headers=headers).status_code == 409  # let through: nothing runs
    with live(client, **headers) as socket:
        assert socket.receive_json()["phase"] == "empty"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": b"Bearer \xff\xfe"},
        {"cookie": "edgetrack=wrong"},
        {"cookie": "other=correct-horse-battery-staple"},
        {"cookie": "=;;edgetrack"},
    ],
)
def test_without_the_token(wide, headers):
    for path in ("/", "/api/status", "/page/main.js", "/api/boxes", "/?token=wrong", f"/api/status?token={TOKEN}"):
        answer = wide.get(path, headers=headers)
        assert answer.status_code == 401
        assert "a token is needed" in answer.json()["error"]
    assert wide.post("/api/pause", headers=headers).status_code == 401
    with pytest.raises(WebSocketDisconnect), live(wide, **headers):
        pass


def test_the_first_visit_gives_a_cookie(wide):
    answer = wide.get(f"/?token={TOKEN}")
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    for part in ("edgetrack=", "httponly", "samesite=strict", "path=/"):
        assert part in cookie
    assert TOKEN not in answer.text
    assert wide.get("/").status_code == 200
    assert wide.post("/api/pause").status_code == 409
    wide.cookies.clear()
    assert wide.get("/").status_code == 401
    with live(wide, cookie=f"edgetrack={TOKEN}") as socket:
        assert socket.receive_json()["phase"] == "empty"


def test_the_token_in_a_header(wide):
    assert wide.get("/api/status", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200


def test_addresses_of_this_machine():
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""))
