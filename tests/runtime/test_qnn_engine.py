"""Engine `qnn`: devices, and files that are damaged, missing, or not what the manifest says."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest

import edgetrack
from edgetrack.errors import ArtifactError, EngineUnavailable, WrongMachine
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.engines.qnn import QnnEngine, load_plugin, sized_name


def test_file_names_carry_the_sizes():
    assert sized_name("template", {}) == "template.onnx"
    assert sized_name("search", {"kept": 37}) == "search.kept37.onnx"
    assert sized_name("search", {"kept": 37, "dropped": 2}) == "search.dropped2.kept37.onnx"


def test_missing_package_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    with pytest.raises(EngineUnavailable, match=r"engine qnn is not usable .*edgetrack\[qnn\]"):
        QnnEngine("npu")
    with pytest.raises(EngineUnavailable, match=r"edgetrack\[qnn\]"):
        QnnEngine.devices()


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    pytest.importorskip("onnxruntime_qnn", reason="no onnxruntime-qnn for this Python and system")
    pytest.importorskip("onnx")
    pytest.importorskip("torch")
    import qnn_case

    return qnn_case.compile_quantized(tmp_path_factory.mktemp("qnn"), htp_arch="73")


@pytest.fixture
def copied(context, tmp_path):
    for path in context.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / context.name


@pytest.fixture
def engine(context):
    return ENGINES.get("qnn")("htp-emulator")


def test_devices(engine):
    assert QnnEngine.devices() == ["htp-emulator"]
    assert engine.describe() == {"engine": "qnn", "version": load_plugin().version, "device": "htp-emulator"}
    for missing in ("npu", "cpu", "cuda"):
        with pytest.raises(EngineUnavailable, match=rf"no device '{missing}' here; available: htp-emulator"):
            QnnEngine(missing)


def test_buffers_are_bound_once(engine, context):
    session = engine.open(context, {})
    before = session.outputs["y"].ctypes.data
    results = []
    for value in (0.5, -0.5, 0.5):
        session.inputs["x"][:] = value
        session.run()
        results.append(session.outputs["y"].copy())
    assert session.outputs["y"].ctypes.data == before
    np.testing.assert_array_equal(results[0], results[2])
    assert np.abs(results[0] - results[1]).max() > 0.5


@pytest.mark.parametrize("kept", [0, 1000, -100])
def test_truncated_context(engine, copied, kept):
    binary = copied.with_name(f"{copied.stem}_qnn.bin")
    binary.write_bytes(binary.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match=r"search\.onnx: QNN cannot load it .*export the artifact again"):
        engine.open(copied, {})


def test_missing_and_damaged_files(engine, copied):
    copied.with_name(f"{copied.stem}_qnn.bin").unlink()
    with pytest.raises(ArtifactError, match="QNN cannot load it"):
        engine.open(copied, {})
    copied.write_bytes(copied.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot read it"):
        engine.open(copied, {})
    copied.unlink()
    with pytest.raises(ArtifactError, match="no such file"):
        engine.open(copied, {})


def test_a_graph_that_is_not_compiled_is_refused(engine, tmp_path):
    import qnn_case

    qnn_case.write_quantized(tmp_path / "search.onnx")
    with pytest.raises(ArtifactError, match="not a compiled QNN context"):
        engine.open(tmp_path / "search.onnx", {})


def test_a_file_of_another_architecture(engine, context):
    engine.check_built_for({"htp_arch": "79", "qnn_sdk": load_plugin().sdk})
    with pytest.raises(ArtifactError, match=r"compiled for HTP v73, the manifest says v79"):
        engine.open(context, {})


def test_a_file_of_a_newer_compiler(engine):
    engine.check_built_for({"htp_arch": "73", "qnn_sdk": "2.30.9"})
    with pytest.raises(WrongMachine, match=r"compiled by QNN 999\.0\.0, here is .*onnxruntime-qnn>=99\.1"):
        engine.check_built_for({"htp_arch": "73", "qnn_sdk": "999.0.0", "onnxruntime_qnn": "99.1"})


def test_a_chip_with_another_htp_is_offered_a_rebuild(engine, artifact, monkeypatch):
    """On the phone; what the provider there finds is said by a stand-in."""
    state = importlib.import_module("onnxruntime.capi._pybind_state")
    asked = []

    def judge(devices, text):
        asked.append(text)
        return state.OrtCompiledModelCompatibility.EP_UNSUPPORTED

    monkeypatch.setattr(state, "get_model_compatibility_for_ep_devices", judge)
    monkeypatch.setattr(QnnEngine, "devices", classmethod(lambda cls: ["npu"]))
    manifest = json.loads((artifact / "edgetrack.json").read_text())
    key = {"htp_arch": "73", "qnn_sdk": load_plugin().sdk, "compatibility": "told"}
    manifest["target"] |= {"engine": "qnn", "device": "npu", "key": key}
    (artifact / "edgetrack.json").write_text(json.dumps(manifest))
    with pytest.raises(
        WrongMachine, match=r"compiled for HTP v73, which is not the one here.*edgetrack rebuild "
    ) as caught:
        edgetrack.load(artifact)
    assert caught.value.exit_code == 5
    assert asked == ["told"]
