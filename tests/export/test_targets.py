"""Targets: their table is light, their files are clean and give what the module gives."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from building import build_files
from torch import nn
from toy_family import SIZES, TOY, ToyNet

from edgetrack.errors import ArtifactError, EngineUnavailable, InputError
from edgetrack.export.models.base import DeployGraph
from edgetrack.export.onnx_graph import OPSET, write_onnx
from edgetrack.export.precision import write_typed
from edgetrack.export.targets import TARGETS, TargetInfo, TargetOption, register, target_of, writer_of
from edgetrack.export.targets.base import require
from edgetrack.runtime.engines import ENGINES

METADATA = {"family": "toy", "variant": "toy-one", "role": "search", "checkpoint_sha256": "0" * 64}


@pytest.fixture(scope="module")
def search() -> DeployGraph:
    torch.manual_seed(0)
    return TOY.deploy_graphs("toy-one", ToyNet().eval())[1]


def run_torch(graph, arrays):
    with torch.no_grad():
        return [out.numpy() for out in graph.module(*(torch.from_numpy(a) for a in arrays.values()))]


def inputs_of(kept):
    generator = np.random.default_rng(kept)
    return {
        "seen": generator.standard_normal((1, 4), np.float32),
        "old": generator.standard_normal((1, kept, 4), np.float32),
    }


def test_table_is_light():
    code = (
        "import sys; from edgetrack.export.targets import TARGETS; "
        "heavy = {'torch', 'onnx', 'cv2', 'openvino', 'onnxruntime', 'numpy'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy or set(TARGETS) < {'onnx', 'openvino'} else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_target_has_an_engine_and_a_writer():
    for name, info in TARGETS.items():
        assert info.name == name
        assert info.engine in ENGINES
        assert writer_of(name).write
        assert info.install.startswith("pip install 'edgetrack[")


def test_names_and_aliases():
    assert target_of("ov") is TARGETS["openvino"]
    with pytest.raises(InputError, match="known: onnx, openvino"):
        target_of("tpu")
    with pytest.raises(InputError, match="fp32 or fp16"):
        target_of("openvino").check_precision("int4")
    twice = TargetInfo("onnx", (), "onnxruntime", ".onnx", ("fp32",), ("cpu",), (), "")
    with pytest.raises(ValueError, match="registered twice"):
        register(twice, "nowhere:Nothing")


def test_missing_package_names_the_pip_line():
    with pytest.raises(EngineUnavailable, match=r"no_such_package.*pip install x"):
        require("no_such_package", "pip install x")


def test_onnx_file_is_clean(search, tmp_path):
    onnx = pytest.importorskip("onnx")
    write_onnx(search, tmp_path / "search.onnx", METADATA)
    model = onnx.load(str(tmp_path / "search.onnx"))
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [OPSET]
    assert {item.key: item.value for item in model.metadata_props} == METADATA
    assert {node.op_type for node in model.graph.node}.isdisjoint({"Shape", "If", "Loop", "Identity", "Constant"})
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"seen": [1, 4], "old": [1, "kept", 4], "shift": [1, 4], "top": [1]}
    text = model.SerializeToString()
    assert b".py" not in text, "source paths of this machine"
    write_onnx(search, tmp_path / "again.onnx", METADATA)
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "search.onnx").read_bytes()


@pytest.mark.parametrize(
    ("target", "precision", "limit"),
    [("onnx", "fp32", 1e-6), ("openvino", "fp32", 1e-6), ("openvino", "fp16", 2e-3)],
)
def test_files_give_what_the_module_gives(search, tmp_path, target, precision, limit):
    info = target_of(target)
    pytest.importorskip(info.engine)
    writer = writer_of(target)
    writer.check()
    assert writer.version()
    names = build_files(target, search, tmp_path, precision, METADATA)
    assert names[0] == f"search{info.suffix}"
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    engine = ENGINES.get(info.engine)("cpu", threads=1, precision=precision)
    worst = 0.0
    for kept in SIZES:
        session = engine.open(tmp_path / names[0], {"kept": kept})
        arrays = inputs_of(kept)
        for name, array in arrays.items():
            session.inputs[name][...] = array
        session.run()
        for name, expected in zip(search.outputs, run_torch(search, arrays), strict=True):
            worst = max(worst, float(np.abs(session.outputs[name] - expected).max()))
    assert worst <= limit
    if precision == "fp16":
        assert worst > 0, "the weights were not stored in half precision"


def test_openvino_file_carries_its_origin(search, tmp_path):
    ov = pytest.importorskip("openvino")
    build_files("openvino", search, tmp_path, "fp32", METADATA)
    model = ov.Core().read_model(str(tmp_path / "search.xml"))
    assert model.get_rt_info(["edgetrack", "variant"]).value == "toy-one"


class Counting(nn.Module):
    """Uses a size that varies as a number, which needs a Shape operator."""

    def forward(self, old):
        return old * old.shape[1]


class Forgetful(nn.Module):
    def forward(self, seen, old):
        return old * 2


def test_graph_with_data_dependent_operators_is_refused(tmp_path):
    inputs = {"old": torch.ones(1, 3, 4)}
    graph = DeployGraph("bad", Counting(), inputs, ("out",), dims={"old": {1: "kept"}}, values={"kept": SIZES})
    with pytest.raises(ArtifactError, match="Shape"):
        write_onnx(graph, tmp_path / "bad.onnx", METADATA)
    assert not (tmp_path / "bad.onnx").exists()


def test_unused_input_stays_in_the_signature(tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = DeployGraph("some", Forgetful(), {"seen": torch.ones(1, 4), "old": torch.ones(1, 3)}, ("out",))
    write_onnx(graph, tmp_path / "some.onnx", METADATA)
    assert [value.name for value in onnx.load(str(tmp_path / "some.onnx")).graph.input] == ["seen", "old"]


@pytest.mark.parametrize(("free", "kind", "words"), [(0, OSError, "No space"), (1 << 40, ArtifactError, "iostream")])
def test_openvino_write_failure_is_named(search, tmp_path, monkeypatch, free, kind, words):
    """OpenVINO raises RuntimeError for a full disk; the artifact writer turns ENOSPC into its one clear line."""
    ov = pytest.importorskip("openvino")

    def fail(*_args, **_options):
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(ov, "save_model", fail)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=free))
    with pytest.raises(kind, match=words):
        build_files("openvino", search, tmp_path, "fp32", METADATA)


def test_typed_graph_of_an_unknown_precision_is_refused(search, tmp_path):
    with pytest.raises(InputError, match="int4"):
        write_typed(search, tmp_path, "int4", METADATA)


OPTIONS = (
    TargetOption("soc", "which chip", choices=("a1", "b2"), required=True),
    TargetOption("workspace-mib", "memory", kind=int, default=64),
)
WITH_OPTIONS = TargetInfo("chip", (), "onnxruntime", ".onnx", ("fp32",), ("cpu",), (), "", options=OPTIONS)


def test_options_get_their_defaults():
    assert WITH_OPTIONS.check_options({"soc": "b2", "other": None}) == {"soc": "b2", "workspace-mib": 64}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "needs --soc: which chip"),
        ({"soc": "c3"}, "--soc is 'c3'; give a1, b2"),
        ({"soc": "a1", "workspace-mib": "much"}, "give a int"),
        ({"soc": "a1", "builder": "x"}, "has no option --builder; it has --soc, --workspace-mib"),
    ],
)
def test_wrong_options_are_named(given, words):
    with pytest.raises(InputError, match=words):
        WITH_OPTIONS.check_options(given)
