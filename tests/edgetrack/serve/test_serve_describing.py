"""Targets that are described by a sentence and a picture, as GLAD's: by the artifact, by one beside it, by a pack."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
pytest.importorskip("cv2")
pytest.importorskip("onnx")
pytest.importorskip("tokenizers")
import tiny_described_artifact
import tiny_language_artifact
from serve_desk import client_of
from serve_fakes import BOX as FAKE_BOX
from serve_fakes import FakeSource, FakeTracker, fake_model, wait_for

import edgetrack
from edgetrack import demo
from edgetrack.artifact import read_artifact
from edgetrack.serve.control import SourceChoice, Target
from edgetrack.serve.describe import Describer
from edgetrack.serve.errors import NotNow
from edgetrack.serve.model import ModelChoice
from edgetrack.serve.session import Session
from edgetrack.video import open_source

BOX = [286, 321, 195, 111]
SAID = "the red car"
BYTES = {"content-type": "application/octet-stream", "x-file-name": "car.pack"}
FRAMES = 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An artifact that describes targets by itself."""
    return tiny_described_artifact.write_artifact(tmp_path_factory.mktemp("whole") / "whole")


@pytest.fixture(scope="module")
def slim(tmp_path_factory):
    """The same as a device has it: it takes packs alone."""
    return tiny_described_artifact.write_artifact(tmp_path_factory.mktemp("slim") / "slim", whole=False)


@pytest.fixture(scope="module")
def video():
    with open_source(str(demo.CLIP)) as source:
        return list(source)


@pytest.fixture
def client_for(tmp_path):
    """Open a client that has loaded the first of some artifacts and opened the clip."""
    clients = []

    def call(*artifacts):
        manager = client_of(tmp_path, artifacts=artifacts)
        client = manager.__enter__()
        clients.append(manager)
        listed = client.get("/api/choices").json()["artifacts"][0]
        assert client.post("/api/load", json={"artifact": listed["id"]}).status_code == 200
        assert client.post("/api/open", json={"media": "bundled/car.mp4"}).status_code == 200
        assert client.post("/api/settings", json={"pace": "source"}).status_code == 200
        return client

    yield call
    for manager in clients:
        manager.__exit__(None, None, None)


@pytest.fixture
def slow(monkeypatch):
    """Descriptions that take until the gate is open; says which were begun."""
    made = SimpleNamespace(gate=threading.Event(), begun=[])

    def described(describer, text, pack, view):
        made.begun.append(text)
        assert made.gate.wait(20)
        return text

    monkeypatch.setattr(Describer, "_described", described)
    yield made
    made.gate.set()


def expected(whole, video, text: str | None = SAID) -> list[tuple[float, ...]]:
    """What `edgetrack.load` gives for the clip's first frames."""
    with edgetrack.load(whole) as tracker:
        tracker.init(video[0], BOX, text=text)
        return [tracker.box, *(tracker.update(frame)[1] for frame in video[1:FRAMES])]


def followed(client, **target) -> list[tuple[float, ...]]:
    """The boxes of a run over the clip's first frames."""
    assert client.post("/api/seek", json={"frame": 0}).status_code == 200
    answer = client.post("/api/start", json={"box": BOX, "record": False, **target})
    assert answer.status_code == 200, answer.text
    assert client.post("/api/pause").status_code == 200
    count = client.get("/api/status").json()["run"]["frames"]
    if count < FRAMES:
        assert client.post("/api/step", json={"count": FRAMES - count}).status_code == 200
    rows = client.get("/api/boxes?format=json").json()["frames"][:FRAMES]
    assert client.post("/api/stop").status_code == 200
    return [tuple(row["box"]) for row in rows]


def same(boxes, others) -> bool:
    """Tell whether boxes are equal, up to the digits of a file."""
    return np.shape(boxes) == np.shape(others) and np.abs(np.subtract(boxes, others)).max() < 1e-3


def refusal(answer, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def test_an_artifact_that_describes_is_shown_the_box_that_was_drawn(client_for, whole, video):
    client = client_for(whole)
    model = client.get("/api/status").json()["model"]
    assert (model["reads_text"], model["needs_pack"], model["described_by"]) == (True, False, "whole")
    man = expected(whole, video, "the white man")
    boxes = followed(client, text=SAID)
    assert same(boxes, expected(whole, video))
    assert not same(boxes, man)
    assert same(followed(client, text="the white man"), man)
    assert same(followed(client), expected(whole, video, None))  # by its picture alone
    shifted = client.post("/api/start", json={"text": SAID})
    assert "needs the target's box" in refusal(shifted)


def test_another_sentence_is_about_the_picture_of_the_start(client_for, whole, video):
    client = client_for(whole)
    assert client.post("/api/start", json={"box": BOX, "text": SAID, "record": False}).status_code == 200
    assert client.post("/api/pause").status_code == 200
    done = client.get("/api/status").json()["run"]["frames"]
    assert done < len(video) - 2
    assert client.post("/api/switch", json={"text": "the white man"}).status_code == 200
    assert client.post("/api/step", json={"count": 2}).status_code == 200
    found = [tuple(row["box"]) for row in client.get("/api/boxes?format=json").json()["frames"][done:]]
    with edgetrack.load(whole) as tracker:
        tracker.init(video[0], BOX, text=SAID)
        for frame in video[1:done]:
            tracker.update(frame)
        tracker.retarget(text="the white man")
        assert same(found, [tracker.update(frame)[1] for frame in video[done : done + 2]])


def test_the_artifact_beside_describes(client_for, slim, whole, video):
    client = client_for(slim, whole)
    model = client.get("/api/status").json()["model"]
    assert (model["needs_pack"], model["described_by"], model["name"]) == (False, "whole", "slim")
    assert same(followed(client, text=SAID), expected(whole, video))


def test_a_describer_that_is_damaged_is_called_by_its_name(client_for, slim, whole, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(whole, damaged)
    client = client_for(slim, damaged)
    (damaged / "see.onnx").write_bytes(b"damaged")
    text = refusal(client.post("/api/start", json={"box": BOX, "text": SAID}), 422)
    assert "damaged/see.onnx" in text
    assert str(tmp_path) not in text
    assert client.get("/api/status").json()["phase"] == "ready"


def test_alone_it_says_what_is_missing_and_takes_packs(client_for, slim, whole, video, tmp_path):
    client = client_for(slim)
    assert client.get("/api/status").json()["model"]["needs_pack"]
    for target in ({"text": SAID}, {}):
        text = refusal(client.post("/api/start", json={"box": BOX, **target}))
        assert "choose a target pack that `edgetrack encode` made with --image and --box" in text
        assert "--diffusion" in text
    assert client.get("/api/status").json()["phase"] == "ready"
    pack = edgetrack.encode_text(whole, SAID, video[0], BOX).save(tmp_path / "car.pack").read_bytes()
    sent = client.post("/api/uploads/pack", content=pack, headers=BYTES).json()
    assert (sent["label"], sent["text"], sent["variant"]) == ("car.pack", SAID, "described-toy-test")
    assert not any(path.name.startswith("upload") for path in tmp_path.iterdir())
    assert same(followed(client, pack=sent["id"]), expected(whole, video))
    assert client.get("/api/status").json()["run"]["text"] == SAID


def test_packs_that_cannot_be_used(client_for, slim, tmp_path):
    client = client_for(slim)
    other = tiny_language_artifact.write_artifact(tmp_path / "other")
    pack = edgetrack.encode_text(other, SAID).save(tmp_path / "other.pack").read_bytes()
    sent = client.post("/api/uploads/pack", content=pack, headers=BYTES).json()
    text = refusal(client.post("/api/start", json={"box": BOX, "pack": sent["id"]}))
    assert "was made for language-toy-test, this tracker is described-toy-test" in text
    assert str(tmp_path) not in text
    assert "no target pack" in refusal(client.post("/api/uploads/pack", content=pack[:-5] + b"x", headers=BYTES))
    large = BYTES | {"content-length": str(17 << 20)}
    assert "larger than 16 MiB" in refusal(client.post("/api/uploads/pack", content=b"x", headers=large), 413)
    assert client.get("/api/status").json()["phase"] == "ready"


def test_what_waits_to_be_described_is_given_up_for_what_comes_later(whole, slow):
    describer = Describer(read_artifact(whole))
    futures = [describer.describe("first", None, None)]
    wait_for(lambda: slow.begun)
    futures += [describer.describe(text, None, None) for text in ("second", "third")]
    slow.gate.set()
    assert [futures[0].result(20), futures[2].result(20)] == ["first", "third"]
    assert futures[1].cancelled()
    assert slow.begun == ["first", "third"]
    describer.close()


def test_another_artifact_does_not_wait_for_a_description_that_nobody_wants(whole, tmp_path, slow):
    closed = []

    class Tracker(FakeTracker):
        def close(self) -> None:
            closed.append(session.status()["busy"])

    def load(choice):
        return fake_model(Tracker(), Describer(read_artifact(whole)), needs_box=False)

    session = Session(tmp_path, loader=load, opener=lambda name: FakeSource())
    session.load(ModelChoice(tmp_path)).result(20)
    session.open(SourceChoice("file", "file")).result(20)
    started = session.start(Target(FAKE_BOX, text="first"))
    wait_for(lambda: slow.begun)
    session.stop().result(20)
    waiting = [session.locate(Target(FAKE_BOX, text="second"))]
    session.load(ModelChoice(tmp_path / "other")).result(5)
    assert closed == ["loading other"]
    waiting.append(session.locate(Target(FAKE_BOX, text="third")))
    wait_for(lambda: slow.begun == ["first", "third"])  # the new artifact's thread is free
    session.load(ModelChoice(tmp_path / "last")).result(5)
    slow.gate.set()
    for overtaken in (started, *waiting):
        with pytest.raises(NotNow, match="a later command came"):
            overtaken.result(20)
    session.close()


def test_a_description_does_not_hold_up_the_end_of_the_program(whole):
    code = """if True:
        import sys, threading
        from edgetrack.artifact import read_artifact
        from edgetrack.serve.describe import Describer
        begun = threading.Event()
        Describer._described = lambda *_: (begun.set(), threading.Event().wait(60))
        describer = Describer(read_artifact(sys.argv[1]))
        describer.describe("the car", None, None)
        assert begun.wait(20)
        describer.close()
    """
    subprocess.run([sys.executable, "-c", code, str(whole)], check=True, timeout=30)
