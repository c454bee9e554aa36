"""Changing MVLM's thresholds while it runs, through the web application."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
pytest.importorskip("cv2")
pytest.importorskip("onnx")
pytest.importorskip("tokenizers")
import tiny_mvlm_artifact
from serve_desk import client_of

EXPORTED = {"tau": 0.0, "omega": 0.4, "lambda": 0.4, "psi": 0.1}


@pytest.fixture
def client(tmp_path, artifact):
    """A client with the tiny artifact of MVLM, loaded, and FARTrack's."""
    mvlm = tiny_mvlm_artifact.write_artifact(tmp_path / "mvlm")
    (tmp_path / "own").mkdir()
    with client_of(tmp_path / "own", artifacts=[mvlm, artifact]) as made:
        load(made, "mvlm")
        assert made.post("/api/open", json={"media": "bundled/car.mp4"}).status_code == 200
        yield made


def load(client, name: str) -> None:
    (found,) = [entry for entry in client.get("/api/choices").json()["artifacts"] if entry["name"].startswith(name)]
    assert client.post("/api/load", json={"artifact": found["id"]}).status_code == 200


def states(client, count: int) -> list[str]:
    """Track so many frames and return their states."""
    before = len(client.get("/api/boxes?format=json").json()["frames"])
    assert client.post("/api/step", json={"count": count}).status_code == 200
    rows = client.get("/api/boxes?format=json").json()["frames"]
    assert len(rows) == before + count
    return [row["state"] for row in rows[before:]]


def test_a_running_tracker_judges_by_new_thresholds(client):
    told = client.get("/api/status").json()
    assert told["thresholds"] == EXPORTED
    assert told["model"]["thresholds"]["tau"] == {"exported": 0.0, "least": -1.0, "most": 1.0}
    assert client.post("/api/settings", json={"pace": "source"}).status_code == 200
    assert client.post("/api/start", json={"text": "the red car", "record": False}).status_code == 200
    assert client.post("/api/pause").status_code == 200
    assert "LOST" not in states(client, 3)
    assert client.post("/api/thresholds", json={"values": {"tau": 0.9}}).status_code == 200
    assert client.get("/api/status").json()["thresholds"] == EXPORTED | {"tau": 0.9}
    assert states(client, 3) == ["LOST"] * 3
    assert client.post("/api/thresholds", json={"values": EXPORTED}).status_code == 200
    assert client.get("/api/status").json()["thresholds"] == EXPORTED
    assert "LOST" not in states(client, 1)
    assert client.post("/api/thresholds", json={"values": {"tau": 0.9}}).status_code == 200
    assert client.post("/api/restart").status_code == 200  # they stay for the next run
    assert client.post("/api/pause").status_code == 200
    assert states(client, 2) == ["LOST"] * 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "no object with thresholds"),
        ({"values": {}}, "no object with thresholds"),
        ({"values": [0.1]}, "no object with thresholds"),
        ({"values": {f"t{n}": 0 for n in range(17)}}, "no object with thresholds"),
        ({"tau": 0.1}, "'tau', which is unknown"),
        ({"values": {"tau": 2}}, "tau is 2"),
        ({"values": {"tau": "0.1"}}, "'tau' is '0.1', must be a number"),
        ({"values": {"tau": True}}, "'tau' is 'True', must be a number"),
        ({"values": {"tau": None}}, "'tau' is 'None', must be a number"),
        ({"values": {"psi": -0.5, "tau": 0.3}}, "psi is -0.5, must be a number from 0 to 1"),
        ({"values": {"alpha": 0.5}}, "there is no threshold 'alpha'"),
    ],
)
def test_impossible_thresholds_change_nothing(client, body, message):
    answer = client.post("/api/thresholds", json=body)
    assert (answer.status_code, message in answer.json()["error"]) == (400, True), answer.text
    assert client.get("/api/status").json()["thresholds"] == EXPORTED


def test_a_tracker_without_thresholds_has_none_to_show(client):
    load(client, "tiny")
    told = client.get("/api/status").json()
    assert (told["thresholds"], told["model"]["thresholds"]) == ({}, {})
    answer = client.post("/api/thresholds", json={"values": {"tau": 0.1}})
    assert (answer.status_code, "has no thresholds" in answer.json()["error"]) == (400, True)
    load(client, "mvlm")
    assert client.get("/api/status").json()["thresholds"] == EXPORTED


def test_without_an_artifact_there_is_nothing_to_change(tmp_path):
    with client_of(tmp_path) as client:
        answer = client.post("/api/thresholds", json={"values": {"tau": 0.1}})
        assert (answer.status_code, "no artifact is loaded" in answer.json()["error"]) == (409, True)
