"""Sentences and target packs through the web application, with an artifact that reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
pytest.importorskip("cv2")
pytest.importorskip("onnx")
pytest.importorskip("tokenizers")
import tiny_language_artifact
from serve_desk import client_of
from serve_fakes import wait_for

from edgetrack import demo, encode_text
from edgetrack.artifact import read_artifact
from edgetrack.cli import main
from edgetrack.errors import InputError
from edgetrack.loading import open_text_side

BOX = [286, 321, 195, 111]
BYTES = {"content-type": "application/octet-stream", "x-file-name": "man.pack"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    names = ("told", "alone")
    return {name: tiny_language_artifact.write_artifact(folder / name, boxless=name == "alone") for name in names}


@pytest.fixture
def client_for(tmp_path, written):
    """Open a client that has loaded one of the artifacts and opened the clip."""
    clients = []

    def call(name: str):
        manager = client_of(tmp_path, artifacts=[written[name]])
        client = manager.__enter__()
        clients.append(manager)
        (listed,) = client.get("/api/choices").json()["artifacts"]
        assert listed["reads_text"]
        assert client.post("/api/load", json={"artifact": listed["id"]}).status_code == 200
        assert client.post("/api/open", json={"media": "bundled/car.mp4"}).status_code == 200
        return client

    yield call
    for manager in clients:
        manager.__exit__(None, None, None)


def run(client, **target) -> list[list[float]]:
    """Run to the end of the clip and return the boxes."""
    assert client.post("/api/seek", json={"frame": 0}).status_code == 200
    answer = client.post("/api/start", json={"record": False, **target})
    assert answer.status_code == 200, answer.text
    wait_for(lambda: client.get("/api/status").json()["phase"] == "ended")
    return [row["box"] for row in client.get("/api/boxes?format=json").json()["frames"]]


def tracked(artifact, path, *words: str) -> list[list[float]]:
    usual = ("track", artifact, "--source", demo.CLIP, "--boxes", path, "--results-format", "json")
    assert main([str(word) for word in (*usual, *words)]) == 0
    return [row["box"] for row in json.loads(path.read_text())["frames"]]


def test_the_text_side_alone_makes_what_the_whole_tracker_makes(written, artifact):
    whole = encode_text(written["told"], "the red car")
    with open_text_side(read_artifact(written["told"])) as side:
        alone = side.target("the red car", None)
        assert side.target(None, alone) is alone
        with pytest.raises(InputError, match="says nothing"):
            side.target(" ", None)
    assert alone.made_by == whole.made_by
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(alone.arrays[name], array)
    with pytest.raises(InputError, match="reads no text"), open_text_side(read_artifact(artifact)):
        pass


def test_a_box_and_a_sentence_or_a_pack_of_it(client_for, written, tmp_path):
    client = client_for("told")
    by_text = run(client, box=BOX, text="the red car")
    init = ("--init", "286,321,195,111")
    assert by_text == tracked(written["told"], tmp_path / "a.json", *init, "--text", "the red car")
    assert by_text != run(client, box=BOX, text="the white man")
    assert run(client, box=BOX) == tracked(written["told"], tmp_path / "b.json", *init)
    pack = encode_text(written["told"], "the red car").save(tmp_path / "man.pack")
    sent = client.post("/api/uploads/pack", content=pack.read_bytes(), headers=BYTES).json()
    assert sent["label"] == "man.pack"
    assert run(client, box=BOX, pack=sent["id"]) == by_text


def test_a_sentence_that_cannot_be_used_leaves_the_session_ready(client_for):
    client = client_for("told")
    for text in ("", "\0", "man " * 2500):
        answer = client.post("/api/start", json={"box": BOX, "text": text})
        assert (answer.status_code, "the text" in answer.json()["error"]) == (400, True)
    assert client.get("/api/status").json()["phase"] == "ready"


def test_switching_the_sentence_changes_the_boxes(client_for):
    client = client_for("told")
    plain = run(client, box=BOX, text="the red car")
    assert client.post("/api/settings", json={"pace": "source"}).status_code == 200
    assert client.post("/api/restart").status_code == 200
    assert client.post("/api/pause").status_code == 200
    count = len(client.get("/api/boxes?format=json").json()["frames"])
    assert client.post("/api/switch", json={"text": "the white man"}).status_code == 200
    assert client.get("/api/status").json()["run"]["text"] == "the white man"
    assert client.post("/api/step", json={"count": 2}).status_code == 200
    boxes = [row["box"] for row in client.get("/api/boxes?format=json").json()["frames"]]
    assert boxes[:count] == plain[:count]
    assert boxes[count] != plain[count]


def test_a_sentence_alone_and_where_it_is_found_before_a_run(client_for):
    client = client_for("alone")
    assert client.get("/api/status").json()["model"]["needs_box"] is False
    found = client.post("/api/locate", json={"text": "the man"}).json()["result"]
    assert len(found["box"]) == 4
    assert client.get("/api/boxes").status_code == 409
    assert client.get("/api/status").json()["phase"] == "ready"
    assert len(run(client, text="the man")) == 65
    answer = client.post("/api/locate", json={"box": BOX})
    assert (answer.status_code, "what a text describes" in answer.json()["error"]) == (400, True)
