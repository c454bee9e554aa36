"""Target `trt`, really built by TensorRT-RTX, which needs no GPU: types asked for are types built."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from toy_family import TOY, ToyNet

from edgetrack.errors import ArtifactError, EngineUnavailable, InputError
from edgetrack.export.models import VARIANTS
from edgetrack.export.onnx_graph import infer_types
from edgetrack.export.parity.gate import Silent
from edgetrack.export.precision import CalibrationPlan, quantize, write_typed
from edgetrack.export.precision.plan import CALIBRATED
from edgetrack.export.source import load_source
from edgetrack.export.targets import target_of, writer_of
from edgetrack.runtime.tensorrt.api import MessageLog, open_tensorrt
from edgetrack.runtime.tensorrt.engine_file import read_engine


def typed_of(graphs, folder, precision="fp32", quantization=None):
    return [write_typed(graph, folder, precision, {}, quantization=quantization) for graph in graphs]


def build(typed, out, say=lambda _: None, **options):
    """Build typed graphs into a new folder; return the writer and the extra files."""
    info = target_of("trt")
    writer = writer_of("trt", info.check_options({"builder": "tensorrt-rtx", **options}))
    writer.check()
    writer.say = say
    out.mkdir()
    for item in typed:
        assert writer.write(item, out) == (f"{item.role}.engine",)
    return writer, writer.finish(typed, out)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The toy family's typed graphs."""
    torch.manual_seed(0)
    return typed_of(TOY.deploy_graphs("toy-one", ToyNet().eval()), tmp_path_factory.mktemp("typed"))


@pytest.fixture(scope="module")
def built(toy, tmp_path_factory):
    """The toy built: writer, extra files, folder, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("built") / "out"
    said = []
    return (*build(toy, folder, say=said.append), folder, said)


def section(log, role, heading):
    """The lines under a heading of one graph's part of a build log."""
    part = log.partition(f"\ngraph {role}\n")[2].partition("\ngraph ")[0]
    lines = part.partition(f"{heading}:\n")[2].splitlines()
    end = next((index for index, line in enumerate(lines) if not line.startswith("  ")), len(lines))
    return [line.strip() for line in lines[:end]]


def engine_layers(log, role):
    """(kind, name, types read, types written) of every layer that computes, as TensorRT reports it of the engine."""
    found = [
        re.fullmatch(r"(\S+) (.*): (\S+) -> (\S+)", line)
        for line in section(log, role, "engine layers (kind, name, types in -> out)")
    ]
    assert found, "the log tells no layers"
    assert all(found), "a line is of another form"
    layers = [(m[1], m[2], set(m[3].split(",")), set(m[4].split(","))) for m in found]
    return [layer for layer in layers if layer[0] not in {"signal", "wait"}]


def onnx_matrix_types(path):
    """Type of the result -> how many matrix products and convolutions of an ONNX file, by onnx's own inference."""
    import onnx

    model = onnx.load(str(path))
    types = infer_types(model)
    kinds = {"MatMul", "Gemm", "Conv", "Einsum"}
    names = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF"}
    return Counter(names[types[node.output[0]]] for node in model.graph.node if node.op_type in kinds)


def network_counts(log, role):
    """Kind of layer -> type -> how many, of the network as TensorRT parsed it."""
    lines = [line.partition(" ") for line in section(log, role, "network types")]
    return {
        kind: {name: int(number) for number, name in (item.split() for item in counts.split(", "))}
        for kind, _, counts in lines
    }


def check_types(log, typed):
    """What TensorRT parsed is of the types of the file, and what it built computes in them."""
    for item in typed:
        counts = network_counts(log, item.role)
        found = Counter()
        for kind in ("MATRIX_MULTIPLY", "CONVOLUTION"):
            found.update(counts.get(kind, {}))
        assert found == onnx_matrix_types(item.path), "TensorRT's network is not of the graph's types"
        for kind in ("SOFTMAX", "NORMALIZATION"):
            assert set(counts.get(kind, {"FLOAT": 0})) == {"FLOAT"}
        layers = engine_layers(log, item.role)
        products = [reads for kind, _, reads, _ in layers if kind != "kgen"]
        pairs = sum(counts.get("QUANTIZE", {}).values())
        weights = sum(counts.get("DEQUANTIZE", {}).values()) - pairs  # as many products are 8-bit
        halves = sum(reads == {"Half"} for reads in products)
        assert (halves > 0) == (item.precision in {"fp16", "mixed"} and found["HALF"] > weights)
        if item.precision == "fp16":
            assert halves >= found["HALF"] // 4, "products that follow each other may be one layer, not most of them"
        eights = sum("Int8" in reads for reads in products)
        assert eights >= pairs
        assert (eights > 0) == (item.precision in {"int8", "mixed"})
        if item.precision in {"fp32", "int8"}:
            assert not any("Half" in reads | writes for _, _, reads, writes in layers)
        assert all(reads == {"Float"} for _, name, reads, _ in layers if "ExpSum" in name), "softmax"


def check_readable(path):
    """Deserialise as far as that works without a GPU: the plan is whole, and what is missing is CUDA."""
    trt = open_tensorrt("tensorrt-rtx")
    log = MessageLog()
    runtime = trt.package.Runtime(trt.logger(log))
    data = path.read_bytes()
    malformed = int(trt.package.EngineInvalidityDiagnostics.MALFORMED_ENGINE)
    validity, diagnostics = runtime.get_engine_validity(data[: runtime.engine_header_size])
    assert not int(diagnostics) & malformed
    if validity != trt.package.EngineValidity.INVALID:
        assert runtime.deserialize_cuda_engine(data) is not None
        return
    log.clear()
    assert runtime.deserialize_cuda_engine(data) is None
    assert "cudaError" in log.reason()
    log.clear()
    assert runtime.deserialize_cuda_engine(data[:-1]) is None
    assert "Serialization" in log.reason(), "a cut-off plan must look different from a whole one"


def check_build(model, folder, precision):
    source = load_source(model, "stand-in", 0)
    quantization = None
    if precision in CALIBRATED:  # on few frames: this is about types, not about accuracy
        (folder / "calibration").mkdir()
        plan = CalibrationPlan("demo", frames=4)
        quantization = quantize(source, plan, folder / "calibration", threads=1, progress=Silent())
    typed = typed_of(source.graphs, folder, precision, quantization)
    build(typed, folder / "out")
    check_types((folder / "out" / "build.log").read_text(), typed)
    for item in typed:
        check_readable(folder / "out" / f"{item.role}.engine")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", pytest.param("mixed", marks=pytest.mark.big)])
def test_pico_is_built_in_the_types_asked_for(tmp_path, precision):
    check_build("fartrack-pico", tmp_path, precision)


LARGE = [name for name, variant in VARIANTS.items() if variant.family == "fartrack" and name != "fartrack-pico"]


@pytest.mark.big
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("model", [*LARGE, "ostrack-256"])
def test_large_networks_are_built_in_the_types_asked_for(tmp_path, model, precision):
    check_build(model, tmp_path, precision)


def test_a_profile_for_every_size(built):
    """TensorRT lists an engine's layers once per profile, each under a number of its own."""
    log = (built[2] / "build.log").read_text()
    for role, profiles in (("search", {"0", "1"}), ("template", {"0"})):
        numbers = [re.search(r"_myl(\d+)", name) for _, name, _, _ in engine_layers(log, role)]
        assert {found[1] for found in numbers if found} == profiles


def test_files_log_and_sources(toy, built):
    _, extras, folder, said = built
    assert [(item.file, item.kind, item.role) for item in extras] == [
        ("build.log", "log", None),
        ("template.onnx", "source", "template"),
        ("search.onnx", "source", "search"),
    ]
    for item in toy:
        assert (folder / f"{item.role}.onnx").read_bytes() == item.path.read_bytes()
    assert {path.name for path in folder.iterdir()} == {
        *(item.file for item in extras),
        "template.engine",
        "search.engine",
    }
    log = (folder / "build.log").read_text()
    assert str(toy[0].path.parent) not in log, "folders of this machine"
    assert "builder=tensorrt-rtx" in log
    assert "building engine" in said


def test_key_and_default_capability(built):
    trt = open_tensorrt("tensorrt-rtx")
    assert built[0].facts()["key"] == {
        "builder": "tensorrt-rtx",
        "version": trt.version,
        "compute_capability": "8.0+",
    }
    assert built[0].version() == f"tensorrt-rtx {trt.version}"


def test_named_capabilities_without_sources(toy, tmp_path):
    writer, extras = build(toy, tmp_path / "out", **{"compute-capability": "8.6, 8.9", "no-source": True})
    assert writer.facts()["key"]["compute_capability"] == "8.6,8.9"
    assert [item.kind for item in extras] == ["log"]
    assert not list((tmp_path / "out").glob("*.onnx"))


def test_a_capability_that_cannot_do_it_is_one_line_and_leaves_no_file(toy, tmp_path):
    """TensorRT-RTX has no float32 matrix products for 7.5; it says so in several lines."""
    with pytest.raises(ArtifactError, match=r"tensorrt-rtx cannot build graph template .*SM75") as caught:
        build(toy, tmp_path / "out", **{"compute-capability": "7.5"})
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


def test_a_damaged_graph_is_one_line(toy, tmp_path):
    writer = writer_of("trt", target_of("trt").check_options({"builder": "tensorrt-rtx"}))
    (tmp_path / "template.onnx").write_bytes(toy[0].path.read_bytes()[:100])
    typed = replace(toy[0], path=tmp_path / "template.onnx")
    with pytest.raises(ArtifactError, match=r"cannot read graph template .*parse") as caught:
        writer.write(typed, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "template.engine").exists()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_stops_a_build(toy, tmp_path, interruption):
    """The monitor may raise nothing into TensorRT; it asks it to stop, and what came is raised afterwards."""

    def say(words):
        if words == "preparing graph for optimization":
            raise interruption

    with pytest.raises(interruption):
        build(toy, tmp_path / "out", say=say)
    assert not list((tmp_path / "out").iterdir())


def checked(options):
    writer_of("trt", target_of("trt").check_options(options)).check()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compute-capability": "9.9"}, "--compute-capability is '9.9'; give a list of 7.5, 8.0"),
        ({"compute-capability": ""}, "--compute-capability is ''"),
        ({"version-compatible": True}, "--version-compatible is not for builder tensorrt-rtx"),
        ({"hardware-compatible": True}, "name them with --compute-capability"),
        ({"timing-cache": "/tmp/cache"}, "give a Path"),
        ({"workspace-mib": 0}, "--workspace-mib is 0"),
        ({"builder": "other"}, "give auto, tensorrt, tensorrt-rtx"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(InputError, match=words):
        checked({"builder": "tensorrt-rtx", **options})


def test_full_tensorrt_is_missing_here_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    options = target_of("trt").check_options({"builder": "tensorrt"})
    with pytest.raises(EngineUnavailable, match=r"tensorrt cannot be imported.*pip install 'edgetrack\[tensorrt\]'"):
        writer_of("trt", options).check()


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_garbage_is_refused_by_the_real_runtime(tmp_path, content):
    trt = open_tensorrt("tensorrt-rtx")
    log = MessageLog()
    runtime = trt.package.Runtime(trt.logger(log))
    (tmp_path / "search.engine").write_bytes(content)
    with pytest.raises(ArtifactError, match="malformed engine" if content else "0 bytes are no TensorRT engine"):
        read_engine(trt, runtime, log, tmp_path / "search.engine")
