"""GLAD and its like describe a target by its picture: the first frame has to be in host memory, the others need not."""

from __future__ import annotations

import json

import pytest
import tiny_described_artifact
from fake_tensorrt import onnx_engine
from gpu_case import BOX, Packed, install
from test_tensorrt_artifact import key_of

import edgetrack
from edgetrack.artifact import sha256_of
from edgetrack.errors import InputError

pytest.importorskip("tokenizers")
TEXT = "the red car"


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr("edgetrack.runtime.engines.tensorrt.driver_version", lambda: "550.1")
    return install(monkeypatch, rtx=False)


@pytest.fixture
def described(tmp_path):
    """The tiny artifact, its graphs as engines of the stand-in."""
    folder = tiny_described_artifact.write_artifact(tmp_path / "described")
    content = json.loads((folder / "edgetrack.json").read_text())
    for graph in content["graphs"]:
        source = (folder / graph["file"]).rename(tmp_path / graph["file"])
        name = f"{graph['role']}.engine"
        (folder / name).write_bytes(onnx_engine(source))
        graph |= {"file": name, "files": [name], "sha256": {name: sha256_of(folder / name)}}
    content["target"] |= {"name": "trt", "engine": "tensorrt", "device": "cuda", "key": key_of(False)}
    (folder / "edgetrack.json").write_text(json.dumps(content))
    return folder


def test_the_first_frame_has_to_be_here(fakes, described, frames):
    with edgetrack.load(described) as tracker, edgetrack.load(described) as twin:
        with pytest.raises(InputError) as caught:
            tracker.init(Packed(frames[0]), BOX, text=TEXT)
        assert str(caught.value) == "this tracker describes a target by its picture; give init a frame in host memory"
        with pytest.raises(InputError, match="update was called before init"):
            tracker.update(Packed(frames[1]))
        assert "cuLaunchKernel" not in fakes.cuda.names(), "nothing was cropped"
        for each in (tracker, twin):
            each.init(frames[0], BOX, text=TEXT)
        for frame in frames[1:]:
            assert tracker.update(Packed(frame)) == twin.update(frame)
        assert "cuLaunchKernel" in fakes.cuda.names()


def test_a_pack_says_what_the_picture_would(fakes, described, frames, tmp_path):
    with edgetrack.load(described) as tracker, edgetrack.load(described) as twin:
        twin.init(frames[0], BOX, text=TEXT)
        pack = twin.language.encode(TEXT, twin.picture(frames[0], BOX, "bgr")).save(tmp_path / "car.pack")
        tracker.init(Packed(frames[0]), BOX, pack=pack)
        for frame in frames[1:]:
            assert tracker.update(Packed(frame)) == twin.update(frame)
        with pytest.raises(InputError, match="picture"):
            tracker.retarget(text=TEXT)
