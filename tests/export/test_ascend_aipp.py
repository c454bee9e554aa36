"""AIPP of target `ascend`: what is written, that its arithmetic is the core's, and pixels all the way to the device."""

from __future__ import annotations

import ctypes
import json
import subprocess
from types import SimpleNamespace

import aipp
import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_artifact
import toy_family
from drawn_clip import TOY_SIZE, drawn_clip
from fake_acl import AIPP_KEY, FakeAcl
from fake_atc import install_atc
from onnx import TensorProto, helper
from toy_family import PLAIN, SIZES

from edgetrack import _core
from edgetrack.artifact import read_artifact
from edgetrack.cli import main
from edgetrack.errors import ArtifactError, InputError
from edgetrack.export.loops.crop import IMAGENET
from edgetrack.export.models.base import DeployGraph, Normalisation
from edgetrack.export.parity.gate import Silent
from edgetrack.export.parity.tensors import _pixels
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.precision import TypedGraph
from edgetrack.export.rebuild import rebuild_artifact
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.targets import ascend_atc
from edgetrack.export.targets.ascend_aipp import configuration, take_pixels
from edgetrack.export.targets.ascend_proof import largest_difference
from edgetrack.export.verify import verify_artifact
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.static_files import sized_name
from edgetrack.runtime.tracker import GraphFile, build_tracker

OPTIONS = {"soc-version": "Ascend310B4", "aipp": True}
HALF = Normalisation((0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def atc(tmp_path, monkeypatch):
    return install_atc(tmp_path / "cann", monkeypatch)


@pytest.fixture
def clip(tmp_path, monkeypatch):
    toy_family.install(monkeypatch)
    folder = tmp_path / "clip"
    folder.mkdir()
    return drawn_clip(folder, 10, TOY_SIZE)


def export(path, clip, precision="fp16", **options):
    return export_tracker(
        "toy-one",
        "stand-in",
        target="ascend",
        precision=precision,
        output=path,
        clip=clip,
        threads=1,
        options={**OPTIONS, **options},
    )


def of_a_crop(crop):
    """A graph that gives back its second input, a crop, and its signature."""
    shapes = {"old": [1, 4], "image": [1, 3, 16, 16]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shapes["image"])
    nodes = [helper.make_node("Identity", ["image"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", values, [output]), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    return model, SimpleNamespace(role="search", crops={"image": crop})


@pytest.mark.parametrize("crop", [IMAGENET, HALF, PLAIN])
def test_the_arithmetic_is_that_of_the_core(crop):
    """On every grey level: crop, AIPP in float16 and the graph's steps give the bits of the normalised crop."""
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, 2)
    frame[..., 1] = frame[::-1, :, 1]
    frame = np.pad(frame, ((2, 2), (2, 2), (0, 0)))
    box = (2.0, 2.0, 16.0, 16.0)
    pixels, _ = _core.crop(frame, box, 1.0, 16, "rgb")
    assert all(len(np.unique(pixels[..., channel])) == 256 for channel in range(3))
    expected, _ = _core.crop_normalized(frame, box, 1.0, 16, crop.mean, crop.std, "rgb")
    model, graph = of_a_crop(crop)
    operators = aipp.by_rank(configuration(model, graph))
    assert set(operators) == {1}
    half = aipp.normalised(operators[1], pixels[None], np.float16)
    take_pixels(model, graph)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"old": np.zeros((1, 4), np.float32), "image": half.astype(np.float32)})
    assert np.array_equal(found[0], expected)


def test_the_proof_sees_another_normalisation(tmp_path):
    model, graph = of_a_crop(IMAGENET)
    onnx.save(model, tmp_path / "typed.onnx")
    take_pixels(model, graph)
    onnx.save(model, tmp_path / "lowered.onnx")
    typed = TypedGraph(graph, tmp_path / "typed.onnx", "fp32", "fp32", {})
    shapes = {"old": (1, 4), "image": (1, 3, 16, 16)}
    assert largest_difference(typed, tmp_path / "lowered.onnx", {}, shapes, {"image"}) <= 2.0**-23
    graph.crops = {"image": Normalisation(IMAGENET.mean, (0.229, 0.224, 0.226))}
    with pytest.raises(ArtifactError, match="graph search gives another y once it is written for ATC"):
        largest_difference(typed, tmp_path / "lowered.onnx", {}, shapes, {"image"})


def test_what_atc_is_given_and_what_the_manifest_says(atc, clip, tmp_path):
    result = export(tmp_path / "toy", clip)
    given = {words["output"]: words for _, words in atc()}
    assert (given["template"]["insert_op_conf"], given["template"]["input_format"]) == ("template.aipp.cfg", "NCHW")
    assert given["template"]["input_shape"] == "image:1,3,16,16"
    for kept in SIZES:
        words = given[f"search.kept-{kept}"]
        assert ("insert_op_conf" in words, words["input_format"]) == (False, "ND")
    artifact = read_artifact(result.path)
    (image,) = artifact.graph("template").inputs
    assert (image.name, image.dtype, image.shape, image.layout) == ("image", "uint8", (1, 16, 16, 3), "NHWC")
    assert {tensor.dtype for tensor in artifact.graph("search").inputs} == {"float32"}
    assert ("template.aipp.cfg", "config", "template") in [(e.file, e.kind, e.role) for e in artifact.extras]
    assert aipp.by_rank(artifact.file("template.aipp.cfg").read_text())[0]["var_reci_chn_2"] == "1.0"
    assert artifact.build.command.endswith("--soc-version Ascend310B4 --aipp")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_gate_passes_on_pixels(precision, atc, clip, tmp_path, monkeypatch):
    acl = FakeAcl().install(monkeypatch)
    result = export(tmp_path / "toy", clip, precision)
    assert result.report.verdict == "passed"
    assert result.report.engine["engine"] == "ascend"
    copied = [entry[2] for entry in acl.log if entry[0] == "acl.rt.memcpy" and entry[-1] == 1]
    assert copied.count(16 * 16 * 3) >= 10
    assert 4 * 16 * 16 * 3 not in copied
    assert acl.leaks() == []


def test_rebuilding_keeps_pixels_and_needs_them(atc, clip, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ascend_atc.shutil, "which", lambda _name: None)
        path = export(tmp_path / "toy", clip).path
        plain = export(tmp_path / "plain", clip, aipp=False).path
    script = (path / "build_ascend.sh").read_text()
    assert script.count("--insert_op_conf=template.aipp.cfg") == 1
    subprocess.run(["/bin/sh", path / "build_ascend.sh"], check=True, capture_output=True, cwd="/")
    assert aipp.by_rank(_metadata(path / "template.om"))
    (path / "template.om").unlink()
    acl = FakeAcl().install(monkeypatch)
    rebuild_artifact(path, progress=Silent())
    assert aipp.by_rank(_metadata(path / "template.om"))
    assert verify_artifact(path, "stand-in", clip=clip, threads=1).verdict == "passed"
    assert acl.leaks() == []
    with pytest.raises(InputError, match=r"--aipp: none of the graphs .* exported without --aipp cannot be rebuilt"):
        rebuild_artifact(plain, options={"aipp": True}, progress=Silent())
    before = (path / "edgetrack.json").read_bytes()
    with pytest.raises(InputError, match=r"template was exported to take image as uint8 pixels, .* to take no input"):
        rebuild_artifact(path, options={"aipp": False}, progress=Silent())
    assert (path / "edgetrack.json").read_bytes() == before


def _metadata(path):
    props = onnx.load(str(path)).metadata_props
    return {item.key: item.value for item in props}[AIPP_KEY]


def test_a_reference_that_is_no_crop_of_pixels_is_refused():
    graph = DeployGraph("search", None, {}, (), crops={"search": IMAGENET})
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    planes, _ = _core.crop_normalized(np.pad(pixels, ((1, 1), (1, 1), (0, 0))), (1, 1, 8, 8), 1.0, 8, *IMAGENET, "rgb")
    assert np.array_equal(_pixels(graph, "search", planes[None])[0], pixels)
    with pytest.raises(InputError, match=r"reference's search\.search is not a normalised crop of 8-bit pixels"):
        _pixels(graph, "search", planes[None] + 0.001)


def make_om(source, target, role, image):
    """Make of a small graph what ATC would, with AIPP for its image."""
    model = onnx.load(str(source))
    graph = SimpleNamespace(role=role, crops={image: IMAGENET})
    take_pixels(model, graph)
    helper.set_model_props(model, {AIPP_KEY: configuration(model, graph)})
    onnx.save(model, str(target))


def test_what_reaches_the_device_is_the_crop(tmp_path, monkeypatch):
    """FARTrack's own loop: the bytes handed over are the core's crop, and the boxes those of normalised crops."""
    kept = (tiny_artifact.TOKENS - tiny_artifact.PRUNE, tiny_artifact.TOKENS)
    tiny_artifact.write_template(tmp_path / "template.onnx")
    tiny_artifact.write_search(tmp_path / "search.onnx")
    make_om(tmp_path / "template.onnx", tmp_path / "template.om", "template", "image")
    for size in kept:
        tiny_artifact.write_search(tmp_path / "fixed.onnx", size)
        make_om(tmp_path / "fixed.onnx", tmp_path / sized_name("search", {"kept": size}, ".om"), "search", "search")
    acl = FakeAcl().install(monkeypatch)
    spec = tiny_artifact.tracker_spec()
    main_file = tmp_path / sized_name("search", {"kept": kept[0]}, ".om")
    om = {"template": GraphFile(tmp_path / "template.om"), "search": GraphFile(main_file, {"kept": kept})}
    plain = {
        "template": GraphFile(tmp_path / "template.onnx"),
        "search": GraphFile(tmp_path / "search.onnx", {"kept": kept}),
    }
    seen = []

    def copied(name, target, room, source, count, kind):
        if kind == 1:
            seen.append(ctypes.string_at(source, count))

    acl.log = Listening(copied)
    frames = [synth_frame(index, 90, 120) for index in range(5)]
    size, factor = (spec["search"][key] for key in ("size", "factor"))
    with (
        build_tracker(spec, om, ENGINES.get("ascend")()) as tracker,
        build_tracker(spec, plain, ENGINES.get("onnxruntime")("cpu")) as twin,
    ):
        for each in (tracker, twin):
            each.init(frames[0], synth_box(0, 90, 120), color="rgb")
        template = spec["template"]
        crop, _ = _core.crop(frames[0], synth_box(0, 90, 120), template["factor"], template["size"], "rgb")
        assert crop.tobytes() in seen
        for frame in frames[1:]:
            crop, _ = _core.crop(frame, tracker.raw_box, factor, size, "rgb")
            seen.clear()
            tracker.update(frame)
            twin.update(frame)
            assert crop.tobytes() in seen
            assert tracker.raw_box == twin.raw_box
            assert np.array_equal(tracker.core.logits, twin.core.logits), "the box alone hardly depends on the crop"
        assert tracker.raw_box != synth_box(0, 90, 120)
    assert acl.leaks() == []


class Listening(list):
    """A log that tells of copies as they are made."""

    def __init__(self, copied):
        super().__init__()
        self._copied = copied

    def append(self, entry):
        super().append(entry)
        if entry[0] == "acl.rt.memcpy":
            self._copied(*entry)


@pytest.mark.big
@pytest.mark.parametrize(
    ("variant", "mode"), [("fartrack-pico", "must_keep_origin_dtype"), ("ostrack-256", "allow_fp32_to_fp16")]
)
def test_published_trackers_pass_the_gate_on_pixels(variant, mode, atc, clip, tmp_path, monkeypatch):
    """In half precision with the normalisation on the stand-in of the device, in float16 as it would be there."""
    acl = FakeAcl().install(monkeypatch)
    weights = "demo" if variant == "fartrack-pico" else "stand-in"
    out = tmp_path / "out"
    words = ["--target", "ascend", "--precision", "fp16", "--soc-version", "Ascend310B4", "--aipp", "--no-speed-check"]
    words += ["--precision-mode", mode, "--clip", str(tmp_path / "clip"), "--threads", "2", "--output", str(out)]
    box = ",".join(map(str, synth_box(0, 90, 120)))
    assert main(["export", variant, "--weights", weights, *words, "--init", box, "--json"]) == 0
    assert json.loads((out / "edgetrack.json").read_text())["verification"]["verdict"] == "passed"
    sides = {entry.role: entry.inputs[0].shape for entry in read_artifact(out).graphs}
    copied = {entry[2] for entry in acl.log if entry[0] == "acl.rt.memcpy" and entry[-1] == 1}
    assert {int(np.prod(shape)) for shape in sides.values()} <= copied
