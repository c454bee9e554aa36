"""The command `serve`: what it prints, refuses, and leaves behind."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("typer")
pytest.importorskip("cv2")
pytest.importorskip("httpx2")
import httpx2 as httpx
from serve_process import server

from edgetrack import demo
from edgetrack import serve as serve_package
from edgetrack.cli import main
from edgetrack.errors import InputError
from edgetrack.serve.app import Options
from edgetrack.serve.server import Place, serve

BYTES = {"content-type": "application/octet-stream"}


def test_the_server_imports_no_engine_and_nothing_that_builds_for_one():
    code = "import edgetrack.serve.server, sys; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "edgetrack.serve.app" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "openvino", "cv2", "edgetrack.export"}


def test_the_extra_names_what_is_imported():
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    (extra,) = re.findall(r"^serve = \[(.*)\]$", project, re.MULTILINE)
    named = set(re.findall(r'"(\w+)', extra))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(serve_package.__file__).parent.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    assert "starlette" in found
    assert found - {"numpy"} <= named  # edgetrack itself needs numpy


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_cleanly_and_removes_what_was_sent(tmp_path, artifact, how):
    with server(tmp_path, artifact) as (process, told):
        assert told["token"] is None
        with httpx.Client(base_url=told["address"]) as client:
            (listed,) = client.get("/api/choices").json()["artifacts"]
            assert client.post("/api/load", json={"artifact": listed["id"]}).status_code == 200
            sent = client.post("/api/uploads/video", content=demo.CLIP.read_bytes(), headers=BYTES).json()
            assert client.post("/api/open", json={"upload": sent["id"]}).status_code == 200
            assert client.post("/api/start", json={"box": [286, 321, 195, 111]}).status_code == 200
            (folder,) = tmp_path.glob("edgetrack-serve-*")
            assert folder.stat().st_mode & 0o077 == 0
            assert any(path.name == sent["id"] for path in folder.iterdir())
        process.send_signal(how)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
    assert list(tmp_path.glob("edgetrack-serve-*")) == []


@pytest.mark.parametrize("busy", [False, True])
def test_what_cannot_be_stopped_neither_holds_up_the_end_nor_aborts_it(busy):
    """As a graph that describes a target: nothing is taken down while it runs."""
    code = f"""if True:
        import atexit, sys, threading
        from edgetrack.cli import main
        from edgetrack.serve import server
        from edgetrack.serve.worker import THREADS, Worker

        def serve(*_):
            worker = Worker(lambda: None, THREADS + "text")
            worker.start()
            worker.submit(lambda: {busy} and threading.Event().wait(60))
            worker.close(0)

        server.serve = serve
        atexit.register(print, "taken down")
        sys.exit(main(["serve"]))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert (done.stdout, done.stderr) == ("" if busy else "taken down\n", "")


def test_the_token_may_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRACK_SERVE_TOKEN", "correct-horse-battery-staple")
    with server(tmp_path) as (_, told):
        assert told["token"] == "correct-horse-battery-staple"
        with httpx.Client(base_url=told["address"].partition("?")[0]) as client:
            assert client.get("/api/status").status_code == 401
            headers = {"authorization": "Bearer correct-horse-battery-staple"}
            assert client.get("/api/status", headers=headers).json()["settings"]["pace"] == "source"
            choices = client.get("/api/choices", headers=headers).json()
            assert (choices["cameras"], choices["streams"]) == (True, True)  # bound to this machine


def test_bound_wider_a_token_is_made(tmp_path):
    with server(tmp_path, "--host", "0.0.0.0") as (_, told):
        assert len(told["token"]) >= 32
        assert told["address"].endswith(f"/?token={told['token']}")
        port = told["address"].split(":")[2].partition("/")[0]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/").status_code == 401
            headers = {"authorization": f"Bearer {told['token']}"}
            choices = client.get("/api/choices", headers=headers).json()
            assert (choices["cameras"], choices["streams"]) == (False, False)


def test_behind_a_proxy_with_another_name_a_token_is_made_too(tmp_path):
    with server(tmp_path, "--allow-host", "tracker.example") as (_, told):
        assert len(told["token"]) >= 32
        with httpx.Client(base_url=told["address"].partition("?")[0], headers={"host": "tracker.example"}) as client:
            assert client.get("/api/status").status_code == 401
            choices = client.get("/api/choices", headers={"authorization": f"Bearer {told['token']}"}).json()
            assert (choices["cameras"], choices["streams"]) == (False, False)


@pytest.mark.parametrize("place", [{"host": "0.0.0.0"}, {"host": "127.0.0.1", "hosts": ["tracker.example"]}])
def test_no_server_that_others_reach_starts_without_a_token(place):
    with pytest.raises(InputError, match="so a token is needed"):
        serve(Place(port=0, token=None, **place), Options(), pytest.fail)


def test_nothing_is_open_that_was_not_allowed():
    assert (Options().cameras, Options().streams) == (False, False)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--token", "short"), 2, "16 to 128"),
        (("--token", "sixteen chars; no"), 2, "16 to 128"),
        (("--port", "70000"), 2, "65535"),
        (("nowhere",), 5, "nowhere is no folder"),
        (("--media", "nowhere"), 5, "nowhere is no folder"),
        (("--host", "203.0.113.7"), 5, "cannot listen at 203.0.113.7"),
        (("--host", "no such host"), 5, "cannot listen at no such host"),
    ],
)
def test_what_is_refused_before_serving(capsys, tmp_path, monkeypatch, words, code, message):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert main(["serve", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
