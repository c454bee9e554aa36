"""Target `ascend` with a stand-in of ATC on the PATH: what it is given, what is left without it, and the gate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
import toy_family
from drawn_clip import TOY_SIZE, drawn_clip
from fake_acl import FakeAcl
from fake_atc import install_atc
from toy_family import SIZES, TOY, ToyNet

from edgetrack.artifact import read_artifact
from edgetrack.errors import ArtifactError, EngineUnavailable, InputError, WrongMachine
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.gate import Silent
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.precision import write_typed
from edgetrack.export.rebuild import rebuild_artifact
from edgetrack.export.source import load_source
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.export.targets import ascend_atc, target_of, writer_of
from edgetrack.export.targets.ascend_graph import input_shapes, lower
from edgetrack.export.targets.ascend_operators import check_operators
from edgetrack.export.targets.ascend_proof import largest_difference
from edgetrack.export.verify import verify_artifact
from edgetrack.loading import load
from edgetrack.runtime.static_files import all_sizes

SOC = {"soc-version": "Ascend310B4"}


@pytest.fixture
def atc(tmp_path, monkeypatch):
    """The stand-in of ATC on the PATH; a function that reads its calls."""
    return install_atc(tmp_path / "cann", monkeypatch)


@pytest.fixture
def no_atc(monkeypatch):
    monkeypatch.setattr(ascend_atc.shutil, "which", lambda _name: None)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    toy_family.install(monkeypatch)


@pytest.fixture(scope="session")
def frames(tmp_path_factory) -> Clip:
    return drawn_clip(tmp_path_factory.mktemp("clip"), 10, TOY_SIZE)


def export(path, clip, **options):
    options = {name.replace("_", "-"): value for name, value in options.items()}
    return export_tracker(
        "toy-one", "stand-in", target="om", output=path, clip=clip, threads=1, options={**SOC, **options}
    )


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def typed_search(folder, precision="fp32", asked=None):
    metadata = {"checkpoint_sha256": "of these tests"}
    return write_typed(TOY.deploy_graphs("toy-one", ToyNet().eval())[1], folder, precision, metadata, asked=asked)


def test_what_atc_is_given(atc, frames, tmp_path):
    result = export(tmp_path / "toy", frames)
    template = TOY.deploy_graphs("toy-one", ToyNet().eval())[0]
    expected = {"template": {"image": tuple(template.inputs["image"].shape)}}
    expected |= {f"search.kept-{kept}": {"seen": (1, 4), "old": (1, kept, 4)} for kept in SIZES}
    calls = atc()
    assert len(calls) == len(expected)
    for (folder, given), (name, shapes) in zip(calls, expected.items(), strict=True):
        assert given["framework"] == "5"
        assert given["model"] == f"{name}.atc.onnx"
        assert given["output"] == name
        assert given["soc_version"] == "Ascend310B4"
        assert given["precision_mode"] == "must_keep_origin_dtype"
        assert given["input_format"] == "ND"
        found = dict(item.split(":") for item in given["input_shape"].split(";"))
        assert found == {key: ",".join(map(str, shape)) for key, shape in shapes.items()}
        assert not Path(folder).exists(), "the folder that ATC ran in and left files in is gone"
    assert names_in(result.path) == sorted(
        [f"{name}.om" for name in expected] + ["build_ascend.log", "edgetrack.json", "search.onnx", "template.onnx"]
    )
    for name, shapes in expected.items():
        model = onnx.load(str(result.path / f"{name}.om"))
        assert input_shapes(model) == shapes
        assert [item.version for item in model.opset_import] == [13]


def test_manifest_and_log(atc, frames, tmp_path, monkeypatch):
    home = tmp_path / "toolkit"
    (home / "aarch64-linux").mkdir(parents=True)
    (home / "aarch64-linux" / "ascend_toolkit_install.info").write_text("package_name=x\nversion=8.5.0\narch=aarch64\n")
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(home))
    artifact = read_artifact(export(tmp_path / "toy", frames, precision_mode="must_keep_origin_dtype").path)
    assert artifact.target.engine == "ascend"
    assert (artifact.target.version, artifact.target.soc) == ("8.5.0", "Ascend310B4")
    assert artifact.target.key == {"soc": "Ascend310B4"}
    assert artifact.graph("search").files == tuple(f"search.kept-{kept}.om" for kept in SIZES)
    kinds = [(extra.file, extra.kind, extra.role) for extra in artifact.extras]
    assert kinds == [
        ("build_ascend.log", "log", None),
        ("template.onnx", "source", "template"),
        ("search.onnx", "source", "search"),
    ]
    log = artifact.file("build_ascend.log").read_text()
    assert "$ atc --framework=5 --model=search.kept-2.atc.onnx" in log
    assert "ATC run success" in log
    assert "all in ATC's list of ONNX operators" in log
    assert artifact.build.command.endswith("--target ascend --precision fp32 --seed 0 --soc-version Ascend310B4")


def test_the_gate_passes_on_the_files_that_were_built(atc, frames, tmp_path, monkeypatch):
    """The stand-ins of ATC and pyACL together are a device: files, sizes and engine have to fit each other."""
    acl = FakeAcl().install(monkeypatch)
    result = export(tmp_path / "toy", frames)
    assert result.report.verdict == "passed"
    assert result.report.engine == {"engine": "ascend", "version": "1.12.0", "device": "npu:0"}
    assert acl.leaks() == []
    assert len({entry[1] for entry in acl.log if entry[0] == "acl.mdl.load_from_file"}) == 1 + len(SIZES)


def test_the_gate_fails_on_files_that_give_something_else(atc, frames, tmp_path, monkeypatch):
    acl = FakeAcl().install(monkeypatch)
    array = acl._array

    def disturbed(node, buffer):
        found = array(node, buffer)
        if node.name == "seen":
            found = found + 0.5
        return found

    monkeypatch.setattr(acl, "_array", disturbed)
    assert export_tracker(
        "toy-one", "stand-in", target="om", output=tmp_path / "toy", clip=frames, options=SOC, allow_mismatch=True
    ).report.failed
    assert acl.leaks() == []


def test_another_chip_is_not_run(atc, frames, tmp_path, monkeypatch):
    acl = FakeAcl(soc="Ascend310P3").install(monkeypatch)
    result = export(tmp_path / "toy", frames)
    assert result.report.not_run == "built for Ascend310B4, this device is Ascend310P3: say --soc-version Ascend310P3"
    with pytest.raises(WrongMachine, match=r"toy: built for Ascend310B4.*edgetrack rebuild"):
        load(result.path)
    assert "acl.mdl.load_from_file" not in acl.names()
    assert acl.leaks() == []


def test_rebuilding_where_atc_is(atc, frames, tmp_path, monkeypatch):
    """From an artifact without .om files to one that runs; the options are those of the export."""
    with monkeypatch.context() as patch:
        patch.setattr(ascend_atc.shutil, "which", lambda _name: None)
        path = export(tmp_path / "toy", frames).path
    acl = FakeAcl().install(monkeypatch)
    with load(path) as tracker, pytest.raises(EngineUnavailable, match="not built for Ascend yet"):
        tracker.init(synth_frame(0, 90, 120), synth_box(0, 90, 120), color="rgb")
    rebuild_artifact(path, progress=Silent())
    artifact = read_artifact(path)
    assert artifact.graph("search").files == tuple(f"search.kept-{kept}.om" for kept in SIZES)
    assert artifact.target.key == {"soc": "Ascend310B4"}
    assert not [name for name in names_in(path) if name.endswith((".sh", ".atc.onnx"))]
    assert [given["soc_version"] for _, given in atc()] == ["Ascend310B4"] * 3
    report = verify_artifact(path, "stand-in", clip=frames, threads=1)
    assert report.verdict == "passed"
    assert acl.leaks() == []


def test_without_atc_a_script_is_left_that_does_it(no_atc, frames, tmp_path, monkeypatch, request):
    result = export(tmp_path / "toy", frames)
    assert result.report.verdict.startswith("not run")
    artifact = read_artifact(result.path)
    assert artifact.target.version == "not built"
    assert (artifact.target.soc, artifact.target.key) == ("Ascend310B4", {})
    assert artifact.graph("search").files == tuple(f"search.kept-{kept}.atc.onnx" for kept in SIZES)
    assert ("build_ascend.sh", "script") in [(extra.file, extra.kind) for extra in artifact.extras]
    script = result.path / "build_ascend.sh"
    bare = {"PATH": "/usr/bin:/bin"}
    missing = subprocess.run(["/bin/sh", script], env=bare, capture_output=True, text=True, check=False)
    assert missing.returncode == 4
    assert missing.stderr.startswith("atc is not on the PATH")
    monkeypatch.undo()
    calls = request.getfixturevalue("atc")
    subprocess.run(["/bin/sh", script], check=True, capture_output=True, cwd="/")
    assert [given["model"] for _, given in calls()] == ["template.atc.onnx", *artifact.graph("search").files]
    assert {f"search.kept-{kept}.om" for kept in SIZES} | {"template.om"} <= set(names_in(result.path))


def test_an_engine_says_what_an_artifact_without_om_files_lacks(no_atc, frames, tmp_path, monkeypatch):
    FakeAcl().install(monkeypatch)
    result = export(tmp_path / "toy", frames)
    assert "is not built for Ascend yet: run `edgetrack rebuild" in result.report.not_run
    with pytest.raises(EngineUnavailable, match=r"CANN's atc, which is not on the PATH: install the CANN toolkit"):
        writer_of("ascend", target_of("ascend").check_options(SOC)).check_rebuild()


def test_a_typed_graph_of_an_artifact_is_enough_to_build_from(atc, frames, tmp_path):
    """What `edgetrack rebuild` does: the source of an artifact instead of a network."""
    path = export(tmp_path / "toy", frames).path
    typed = typed_search(tmp_path)
    again = type(typed)(typed.graph, path / "search.onnx", "fp32", "fp32", {})
    (tmp_path / "again").mkdir()
    writer = writer_of("ascend", target_of("ascend").check_options(SOC))
    writer.check_rebuild()
    for name in writer.write(again, tmp_path / "again"):
        assert (tmp_path / "again" / name).read_bytes() == (path / name).read_bytes()


def test_sources_can_be_left_out(atc, frames, tmp_path):
    path = export(tmp_path / "toy", frames, no_source=True).path
    assert [name for name in names_in(path) if name.endswith(".onnx")] == []


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("fail", r"atc cannot convert template\.atc\.onnx \(exit code 255\): E40000: Value \[Ascend310B4\] for"),
        ("nothing", r"atc gave no template\.om, though it ended well: ATC start working now"),
    ],
)
def test_failure_of_atc_is_one_line_and_leaves_nothing(atc, frames, tmp_path, monkeypatch, mode, words):
    monkeypatch.setenv("ATC_MODE", mode)
    with pytest.raises(ArtifactError, match=words) as caught:
        export(tmp_path / "out" / "toy", frames)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_atc_is_killed_with_its_children_when_interrupted(atc, tmp_path):
    """In a process of its own, for the signal; the stand-in starts a child, as ATC does."""
    (tmp_path / "search.atc.onnx").touch()
    code = (
        "import sys; from pathlib import Path; from edgetrack.export.targets import ascend_atc as a\n"
        "here = Path(sys.argv[1])\n"
        "words = a.command('search.atc.onnx', 'search', {}, soc_version='x', precision_mode='y')\n"
        "a.run(a.find_atc(), here / 'search.atc.onnx', here / 'search.om', words)"
    )
    environment = {**os.environ, "ATC_MODE": "hang"}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "cann" / "calls").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    ((folder, _),) = atc()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in told
    assert not Path(folder).exists()
    left = [path for path in Path("/proc").glob("[0-9]*/cwd") if _leads_to(path, folder)]
    assert left == []


def _leads_to(link, folder):
    try:
        return os.readlink(link).startswith(folder)
    except OSError:
        return False


def test_fp32_is_not_lowered_on_the_quiet(atc, frames, tmp_path):
    with pytest.raises(
        InputError, match=r"--precision-mode force_fp16 computes in less than fp32; give --precision fp16"
    ):
        export(tmp_path / "toy", frames, precision_mode="force_fp16")
    assert not (tmp_path / "toy").exists()
    writer = writer_of("ascend", target_of("ascend").check_options({**SOC, "precision-mode": "force_fp16"}))
    assert writer.write(typed_search(tmp_path, asked="fp16"), tmp_path)
    assert atc()[0][1]["precision_mode"] == "force_fp16"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "target ascend needs --soc-version: the chip"),
        ({"soc-version": "a;b"}, r"--soc-version is 'a;b'; give the chip, \"Ascend\" and the name"),
        ({"soc-version": ""}, "--soc-version is ''"),
        ({**SOC, "precision-mode": "fast"}, "--precision-mode is 'fast'; give must_keep_origin_dtype, allow_fp32"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(InputError, match=words):
        target_of("cann").check_options(options)


def test_another_result_is_refused(tmp_path):
    """The proof that lowering changed nothing: here something was changed."""
    source = typed_search(tmp_path)
    lowered = lower(onnx.load(str(source.path)), {"kept": 2})
    onnx.save(lowered, str(tmp_path / "same.onnx"))
    assert largest_difference(source, tmp_path / "same.onnx", {"kept": 2}, input_shapes(lowered)) <= 2e-5
    weights = max(lowered.graph.initializer, key=lambda item: item.ByteSize() if item.data_type == 1 else 0)
    changed = onnx.numpy_helper.to_array(weights) * 1.001
    weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    onnx.save(lowered, str(tmp_path / "other.onnx"))
    with pytest.raises(ArtifactError, match=r"graph search gives another .* once it is written for ATC"):
        largest_difference(source, tmp_path / "other.onnx", {"kept": 2}, input_shapes(lowered))


def check_variant(variant, precision, mode, folder):
    """Lower every graph of a variant at every size, compare it with ATC's list and with the typed graph."""
    for graph in load_source(variant, "stand-in", 0).graphs:
        typed = write_typed(graph, folder, precision, {})
        for sizes in all_sizes(graph.values):
            lowered = lower(onnx.load(str(typed.path)), sizes)
            assert check_operators(lowered, graph.role, mode) == len(lowered.graph.node) > 5
            onnx.save(lowered, str(folder / "lowered.onnx"))
            largest_difference(typed, folder / "lowered.onnx", sizes, input_shapes(lowered))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_pico_is_in_the_list_at_its_own_precision(precision, tmp_path):
    check_variant("fartrack-pico", precision, "must_keep_origin_dtype", tmp_path)


@pytest.mark.big
@pytest.mark.parametrize("variant", ["fartrack-tiny", "fartrack-nano", "fartrack-tiny-distill", "fartrack-tiny-frame"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_fartrack_is_in_the_list_at_its_own_precision(variant, precision, tmp_path):
    check_variant(variant, precision, "must_keep_origin_dtype", tmp_path)


@pytest.mark.big
@pytest.mark.parametrize("variant", ["ostrack-256", "ostrack-256-ce", "grm-256"])
def test_centre_heads_are_in_the_list_where_atc_may_lower_their_heads(variant, tmp_path):
    check_variant(variant, "fp16", "allow_fp32_to_fp16", tmp_path)
    with pytest.raises(ArtifactError, match=r"Conv 'head.*--precision-mode allow_fp32_to_fp16 \(and \d+ nodes more\)"):
        check_variant(variant, "fp16", "must_keep_origin_dtype", tmp_path)
    with pytest.raises(ArtifactError, match="takes float32"):
        check_variant(variant, "fp32", "must_keep_origin_dtype", tmp_path)
