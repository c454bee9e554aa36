"""Target `qnn`: what its compiler makes of a small graph for every architecture, and what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest
import torch
import toy_family
from building import build_files
from drawn_clip import TOY_SIZE, drawn_clip
from test_whole import write_plain
from toy_family import TOY, ToyNet

from edgetrack.artifact import read_artifact
from edgetrack.cli import main
from edgetrack.errors import ArtifactError, EngineUnavailable, InputError, WrongMachine
from edgetrack.export.models.base import DeployGraph
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.precision import TypedGraph
from edgetrack.export.precision.whole import quantize_whole
from edgetrack.export.targets import target_of, writer_of
from edgetrack.export.targets.qnn_socs import ARCHITECTURES, SOCS
from edgetrack.loading import open_engine
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.engines.qnn import built_for, load_plugin

pytest.importorskip("onnxruntime_qnn", reason="no onnxruntime-qnn for this Python and system")
import qnn_case


@pytest.fixture(scope="module")
def search():
    torch.manual_seed(0)
    return TOY.deploy_graphs("toy-one", ToyNet().eval())[1]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_emulated_integers_are_those_of_the_cpu(arch, tmp_path):
    path = qnn_case.compile_quantized(tmp_path, htp_arch=str(arch))
    assert built_for(path).arch == arch
    source = tmp_path / "source.onnx"
    qnn_case.write_quantized(source)
    session = ENGINES.get("qnn")("htp-emulator").open(path, {})
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((1, qnn_case.ROWS, qnn_case.INNER)).astype(np.float32)
        expected = qnn_case.run_on_cpu(source, {"x": x})["y"]
        session.inputs["x"][:] = x
        session.run()
        # Both round the same exact sum to a step of the output; they may take a tie either way.
        np.testing.assert_allclose(session.outputs["y"], expected, rtol=0, atol=1.001 * qnn_case.OUT_SCALE)
        assert np.ptp(expected) > 20 * qnn_case.OUT_SCALE


@pytest.mark.parametrize("name", ["QCS6490", "SM8450", "QCS8550", "SM8650", "SM8750", "SM8850"])
def test_chips_have_the_architecture_of_the_table(name, tmp_path):
    soc = SOCS[name]
    path = qnn_case.compile_quantized(tmp_path, htp_arch=str(soc.arch), soc_model=name)
    assert (built_for(path).arch, built_for(path).soc) == (soc.arch, soc.number)
    # The compiler's settings are text inside the context.
    written = set(re.findall(rb"soc_type=(\w+);arch=(\d+)", path.with_name(f"{path.stem}_qnn.bin").read_bytes()))
    assert written == {(name.encode(), str(soc.arch).encode())}


def test_one_pair_of_files_per_size(search, tmp_path):
    names = build_files("qnn", search, tmp_path, "fp16", **{"htp-arch": "79", "soc-model": "SM8750"})
    assert names == (
        "search.kept2.onnx",
        "search.kept2_qnn.bin",
        "search.kept3.onnx",
        "search.kept3_qnn.bin",
    )
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    engine = ENGINES.get("qnn")("htp-emulator")
    for kept in (3, 2, 3):
        session = engine.open(tmp_path / names[0], {"kept": kept})
        for name, buffer in session.inputs.items():
            buffer[:] = np.random.default_rng(len(name)).standard_normal(buffer.shape)
        assert session.inputs["old"].shape == (1, kept, 4)
        session.run()
        with torch.no_grad():
            expected = search.module(*(torch.from_numpy(value) for value in session.inputs.values()))
        for value, found in zip(expected, session.outputs.values(), strict=True):
            # Half precision has 11 bits: values of about 1, after a handful of roundings.
            np.testing.assert_allclose(found, value.numpy(), rtol=0, atol=8 * 2.0**-11)
    with pytest.raises(ArtifactError, match=r"search\.kept4\.onnx: no such file"):
        engine.open(tmp_path / names[0], {"kept": 4})


def test_fp16_needs_a_chip_that_has_it(search, tmp_path):
    with pytest.raises(InputError, match=r"fp16 needs --soc-model.*SM8550"):
        build_files("qnn", search, tmp_path, "fp16", **{"htp-arch": "73"})
    with pytest.raises(ArtifactError, match=r"cannot compile it for HTP v68 SM8350 .*--soc-model"):
        build_files("qnn", search, tmp_path, "fp16", **{"htp-arch": "68", "soc-model": "SM8350"})
    assert not list(tmp_path.iterdir())


def test_bad_options():
    info = target_of("snapdragon")
    with pytest.raises(InputError, match="needs --htp-arch"):
        info.check_options({})
    with pytest.raises(InputError, match="--htp-arch is '70'; give 68, 69, 73"):
        info.check_options({"htp-arch": "70"})
    with pytest.raises(
        WrongMachine, match=r"SM8550 has an HTP v73, --htp-arch says v79.*edgetrack rebuild ARTIFACT --htp"
    ):
        writer_of("htp", info.check_options({"htp-arch": "79", "soc-model": "SM8550"})).check()


def test_a_chip_of_another_architecture_is_named_on_the_command_line(tmp_path, capsys):
    def export(*words):
        out = ["--output", str(tmp_path / "out"), "--dry-run"]
        code = main(["export", "fartrack-pico", "--target", "qnn", "--precision", "fp16", *words, *out])
        return code, capsys.readouterr().err.strip()

    code, told = export("--soc-model", "SM8550", "--htp-arch", "79")
    assert code == WrongMachine.exit_code == 5
    assert "SM8550 has an HTP v73, --htp-arch says v79" in told
    assert "edgetrack rebuild ARTIFACT --htp-arch 73 --soc-model SM8550" in told
    assert len(told.splitlines()) == 1
    assert export("--soc-model", "SM8550", "--htp-arch", "73")[0] == 0
    code, told = export("--soc-model", "SM8550", "--htp-arch", "73", "--device", "cuda")
    assert (code, "--device" in told) == (2, True)


def write_fine(path, fine):
    """Write a graph of integers, from test_whole's product, whose weights have 16 bits if `fine`."""
    write_plain(path)
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(model, path)
    x = np.random.default_rng(3).standard_normal((1, 4, 8)).astype(np.float32)
    onnx.save(quantize_whole(path, [{"x": x}], {"product"} if fine else ()), path)
    return x


@pytest.mark.parametrize("arch", ["69", "73", "81"])
def test_weights_of_16_bits_where_the_htp_has_them(arch, tmp_path):
    source = tmp_path / "source.onnx"
    graph = DeployGraph("search", torch.nn.Identity(), {"x": torch.zeros(1, 4, 8)}, ("y",))
    writer = writer_of("qnn", target_of("qnn").check_options({"htp-arch": arch}))
    x = write_fine(source, fine=True)
    typed = TypedGraph(graph, source, "w8a16", "int8", {})
    if arch == "69":
        with pytest.raises(InputError, match=r"search: 1 products need weights of 16 bits.*HTP v69.*--htp-arch 73"):
            writer.write(typed, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["source.onnx"]
        write_fine(source, fine=False)
        writer.write(typed, tmp_path)
        return
    session = ENGINES.get("qnn")("htp-emulator").open(tmp_path / writer.write(typed, tmp_path)[0], {})
    session.inputs["x"][:] = x
    session.run()
    expected = qnn_case.run_on_cpu(source, {"x": x})["y"]
    np.testing.assert_allclose(session.outputs["y"], expected, rtol=0, atol=1 / 255)  # a step of 8 bits


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime_qnn", None)
    with pytest.raises(EngineUnavailable, match=r"onnxruntime_qnn.*edgetrack\[export,qnn\]"):
        writer_of("qnn", target_of("qnn").check_options({"htp-arch": "73"})).check()


@pytest.fixture
def clip(tmp_path, monkeypatch):
    toy_family.install(monkeypatch)
    folder = tmp_path / "clip"
    folder.mkdir()
    return drawn_clip(folder, 10, TOY_SIZE)


CHIP = {"htp-arch": "73", "soc-model": "SM8550"}


def test_artifact_proven_on_the_emulator(clip, tmp_path):
    result = export_tracker(
        "toy-one",
        "stand-in",
        target="qnn",
        precision="fp16",
        output=tmp_path / "toy",
        clip=clip,
        device="htp-emulator",
        options=CHIP,
    )
    assert result.report.verdict == "passed"
    assert result.report.engine == {"engine": "qnn", "version": load_plugin().version, "device": "htp-emulator"}
    artifact = read_artifact(result.path)
    key = artifact.target.key
    assert (key["htp_arch"], key["qnn_sdk"], artifact.target.soc) == ("73", load_plugin().sdk, "SM8550")
    assert key["compatibility"].endswith(":73:43:0:0")
    assert [(extra.file, extra.kind) for extra in artifact.extras] == [
        ("template.source.onnx", "source"),
        ("search.source.onnx", "source"),
    ]
    manifest = json.loads((result.path / "edgetrack.json").read_text())
    manifest["target"]["key"]["htp_arch"] = "79"
    (result.path / "edgetrack.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="compiled for HTP v73, the manifest says v79"):
        open_engine(read_artifact(result.path)).open(result.path / "search.kept2.onnx", {"kept": 2})


def test_without_a_snapdragon_the_gate_is_not_run(clip, tmp_path):
    options = {**CHIP, "no-source": True}
    result = export_tracker(
        "toy-one", "stand-in", target="qnn", precision="fp16", output=tmp_path / "toy", clip=clip, options=options
    )
    assert "no device 'npu' here; available: htp-emulator" in result.report.not_run
    assert result.report.verdict != "passed"
    assert not read_artifact(result.path).extras
