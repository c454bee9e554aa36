"""From an artifact folder to boxes, on both engines."""

from __future__ import annotations

import json

import pytest
import tiny_artifact
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import built_or_refused, paths, values

import edgetrack
from edgetrack.artifact import MANIFEST_NAME, read_artifact
from edgetrack.errors import ArtifactError, EngineUnavailable, InputError, WrongMachine
from edgetrack.loading import load_artifact, open_engine
from edgetrack.runtime.engines.onnxruntime import OnnxRuntimeEngine

BOX = (40, 30, 24, 24)


def boxes_of(tracker, frames) -> list[tuple[float, ...]]:
    tracker.init(frames[0], BOX)
    return [tracker.update(frame)[1] for frame in frames[1:]]


def edit(folder, section, key, value) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest[section][key] = value
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


def test_both_engines_give_the_same_boxes(artifact, frames):
    pytest.importorskip("openvino")
    boxes = {}
    for engine in ("onnxruntime", "openvino"):
        with edgetrack.load(artifact, engine=engine, threads=1) as tracker:
            assert tracker.engine.describe()["engine"] == engine
            boxes[engine] = boxes_of(tracker, frames)
    for first, second in zip(boxes["onnxruntime"], boxes["openvino"], strict=True):
        assert first == pytest.approx(second, abs=1e-3)


def test_boxes_can_be_repeated(artifact, frames):
    with edgetrack.load(str(artifact)) as tracker:
        first = boxes_of(tracker, frames)
        assert boxes_of(tracker, frames) == first
    with edgetrack.load(artifact) as tracker:
        assert boxes_of(tracker, frames) == first


def test_engine_and_device_of_the_manifest(artifact):
    edit(artifact, "target", "engine", "openvino")
    pytest.importorskip("openvino")
    engine = open_engine(read_artifact(artifact))
    assert engine.describe()["engine"] == "openvino"
    engine.close()
    edit(artifact, "target", "device", "NPU")
    with pytest.raises(EngineUnavailable, match="no device 'NPU'"):
        edgetrack.load(artifact)
    with edgetrack.load(artifact, device="cpu"):
        pass


def test_precision_reaches_the_engine(artifact):
    edit(artifact, "precision", "actual", "fp16")
    assert open_engine(read_artifact(artifact)).precision == "fp16"


def test_files_for_another_machine_are_not_opened_and_a_rebuild_is_offered(artifact, monkeypatch):
    def compare(self, key):
        assert key == {"gpu": "Orin"}
        raise WrongMachine("built for GPU Orin, here it is Fake GPU")

    opened = []
    monkeypatch.setattr(OnnxRuntimeEngine, "check_built_for", compare)
    monkeypatch.setattr(OnnxRuntimeEngine, "open", lambda *arguments: opened.append(arguments))
    edit(artifact, "target", "key", {"gpu": "Orin"})
    with pytest.raises(ArtifactError) as caught:
        edgetrack.load(artifact)
    assert str(caught.value) == (
        f"{artifact}: built for GPU Orin, here it is Fake GPU; build it for this machine: edgetrack rebuild {artifact}"
    )
    assert caught.value.exit_code == 5
    assert not opened


def test_unknown_engine_and_device(artifact):
    with pytest.raises(EngineUnavailable, match="unknown engine 'tflite'"):
        edgetrack.load(artifact, engine="tflite")
    with pytest.raises(EngineUnavailable, match="no device 'tpu'"):
        edgetrack.load(artifact, device="tpu")


def test_history_bound(artifact):
    with edgetrack.load(artifact, history_mib=0.5) as tracker:
        assert tracker.core.memory["limit_bytes"] <= 2**19
    for bad in (0, -1, float("nan"), 1e9):
        with pytest.raises(InputError, match="history_mib"):
            edgetrack.load(artifact, history_mib=bad)


def test_history_beyond_the_machine(artifact, monkeypatch):
    def refuse(*_arguments):
        raise MemoryError

    monkeypatch.setattr("edgetrack.runtime.fartrack.FarTracker", refuse)
    with pytest.raises(ArtifactError, match=r"history of 1 MiB does not fit.*history_mib"):
        edgetrack.load(artifact)


def test_an_artifact_that_was_read_can_be_loaded(artifact, frames):
    with load_artifact(read_artifact(artifact)) as tracker:
        assert len(boxes_of(tracker, frames)) == len(frames) - 1


def test_bad_artifacts(artifact, tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        edgetrack.load(tmp_path / "nowhere")
    edit(artifact, "tracker", "family", "kalman")
    with pytest.raises(ArtifactError, match="unknown tracker family"):
        edgetrack.load(artifact)


@pytest.mark.parametrize("key", ["decode", "templates", "memory", "score", "clip_margin_px"])
def test_a_tracker_section_without_a_key(artifact, key):
    manifest = json.loads((artifact / MANIFEST_NAME).read_text())
    del manifest["tracker"][key]
    (artifact / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=key):
        edgetrack.load(artifact)


def test_a_graph_that_does_not_fit_the_spec(artifact):
    edit(artifact, "tracker", "search", {"size": 64, "factor": 4.0})
    with pytest.raises(ArtifactError, match="search"):
        edgetrack.load(artifact)


SPEC = tiny_artifact.tracker_spec()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(paths(SPEC)), value=values)
def test_a_mutated_tracker_section_loads_or_is_an_artifact_error(artifact, frames, path, value):
    def load(spec):
        manifest = json.loads((artifact / MANIFEST_NAME).read_text())
        (artifact / MANIFEST_NAME).write_text(json.dumps(manifest | {"tracker": spec}))
        return edgetrack.load(artifact, threads=1)

    tracker = built_or_refused(load, SPEC, path, value)
    if tracker is None:
        return
    with tracker:
        assert len(boxes_of(tracker, frames[:3])) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": "2"}, "threads is '2'"),
        ({"threads": 2.5}, "threads is 2.5"),
        ({"threads": True}, "threads is True"),
        ({"history_mib": "10"}, "history_mib is '10'"),
        ({"history_mib": [1]}, "history_mib is"),
        ({"device": None}, "device is None"),
        ({"engine": 5}, "engine is 5"),
        ({"cache_dir": 5}, "cache_dir is 5"),
    ],
)
def test_options_of_another_type(artifact, options, message):
    with pytest.raises(InputError, match=message):
        edgetrack.load(artifact, **options)


def test_a_path_of_another_type():
    with pytest.raises(InputError, match="path is None"):
        edgetrack.load(None)


def test_a_memory_section_that_is_no_object(artifact):
    edit(artifact, "tracker", "memory", 5)
    with pytest.raises(ArtifactError, match="memory is 5"):
        edgetrack.load(artifact, history_mib=10)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("kind", "index"), [("inputs", 1), ("outputs", 0)])
def test_a_graph_with_other_tensors_than_the_manifest_says(artifact, engine, kind, index):
    pytest.importorskip(engine)
    manifest = json.loads((artifact / MANIFEST_NAME).read_text())
    tensor = manifest["graphs"][1][kind][index]
    shape = tensor["shape"]
    tensor["shape"] = [*shape[:-1], shape[-1] + 1]
    (artifact / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=rf"search\.onnx: {kind[:-1]} '{tensor['name']}' has shape .*manifest says"):
        edgetrack.load(artifact, engine=engine)
    tensor["shape"] = shape
    tensor["name"] = "another"
    (artifact / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=rf"search\.onnx: its {kind} are .*another"):
        edgetrack.load(artifact, engine=engine)
