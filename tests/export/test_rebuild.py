"""`rebuild_artifact`: new engine files from the sources an artifact carries, all of them or none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import toy_family
from drawn_clip import TOY_SIZE, drawn_clip

from edgetrack.artifact import read_artifact
from edgetrack.errors import ArtifactError, EngineUnavailable, InputError, ParityError, WrongMachine
from edgetrack.export.parity.gate import Silent
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.rebuild import rebuild_artifact
from edgetrack.export.targets import TARGETS, TargetInfo, TargetOption, register
from edgetrack.export.targets.base import ExtraFile
from edgetrack.export.targets.onnx import OnnxTarget
from edgetrack.runtime.engines.onnxruntime import OnnxRuntimeEngine

OPTIONS = (
    TargetOption("shade", "which", choices=("dark", "light"), default="light"),
    TargetOption("size", "how large", kind=int),
    TargetOption("place", "where", default="here", here_only=True),
    TargetOption("no-source", "leave the sources out", kind=bool, default=False),
)


class CarryingTarget(OnnxTarget):
    """Writes for ONNX Runtime, and carries sources."""

    seen = None
    broken = False

    def check_rebuild(self):
        if self.options.get("shade") == "dark" and self.options.get("size") == 13:
            raise EngineUnavailable("no tools here")

    def write(self, source, folder):
        type(self).seen = (dict(self.options), source)
        if self.broken and source.role == "search":
            raise ArtifactError("the builder refuses search")
        return super().write(source, folder)

    def finish(self, sources, folder):
        if self.options["no-source"]:
            return ()
        for source in sources:
            shutil.copyfile(source.path, folder / f"{source.role}.source.onnx")
        return tuple(ExtraFile(f"{source.role}.source.onnx", "source", source.role) for source in sources)

    def facts(self):
        return {"key": {"place": self.options["place"]}}


NAME = "carrying"
CARRYING = TargetInfo(NAME, (), "onnxruntime", ".onnx", ("fp32",), ("cpu",), ("export",), "", options=OPTIONS)
register(CARRYING, f"{__name__}:CarryingTarget")
TARGETS.pop(NAME)  # other tests look at all that are there


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    toy_family.install(monkeypatch)
    monkeypatch.setitem(TARGETS, NAME, CARRYING)
    monkeypatch.setattr(CarryingTarget, "broken", False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return drawn_clip(tmp_path_factory.mktemp("clip"), 10, TOY_SIZE)


def export(folder, clip, target=NAME, **options):
    return export_tracker(
        "toy-one", "stand-in", output=folder, target=target, clip=clip, threads=1, options=options
    ).path


def rebuild(path, **options):
    return rebuild_artifact(path, progress=Silent(), **options)


def manifest_of(path):
    return json.loads((path / "edgetrack.json").read_text())


def edit(path, change):
    manifest = manifest_of(path)
    change(manifest)
    (path / "edgetrack.json").write_text(json.dumps(manifest))


def everything(path):
    return {item.name: item.read_bytes() for item in path.iterdir()}


def test_files_are_made_anew_and_the_rest_stays(tmp_path, clip):
    path = export(tmp_path / "toy", clip, shade="dark", size=7, place="there")
    before = manifest_of(path)
    assert before["target"]["options"] == {"shade": "dark", "size": 7}
    (path / "table.csv").write_text("1,2\n")
    added = {"file": "table.csv", "kind": "table", "role": None}
    edit(path, lambda m: m["extras"].append({**added, "sha256": sha256(path / "table.csv")}))
    assert rebuild(path, threads=1) == path
    after = manifest_of(path)
    options, typed = CarryingTarget.seen
    assert options == {"shade": "dark", "size": 7, "place": "here", "no-source": False}
    assert typed.graph.dims == {"old": {1: "kept"}, "seen": {}}
    assert typed.graph.values == {"kept": (2, 3)}
    assert {name: value.shape for name, value in typed.graph.inputs.items()} == {"seen": (1, 4), "old": (1, 2, 4)}
    assert after["target"]["key"] == {"place": "here"}
    assert after["target"]["options"] == {"shade": "dark", "size": 7}
    assert after["verification"]["verdict"].startswith("not run")
    assert after["verification"]["thresholds"] == before["verification"]["thresholds"]
    assert after["build"]["rebuilt"]["command"] == "edgetrack rebuild toy"
    assert after["build"]["command"] == before["build"]["command"]
    for key in ("model", "tracker", "precision", "graphs"):
        assert after[key] == before[key]
    assert [item["file"] for item in after["extras"]] == [
        "template.source.onnx",
        "search.source.onnx",
        "table.csv",
    ]
    read_artifact(path)
    assert rebuild(path) == path, "and again"
    assert [item.name for item in tmp_path.iterdir()] == ["toy"]


def sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_said_counts(tmp_path, clip):
    path = export(tmp_path / "toy", clip, shade="dark")
    rebuild(path, options={"shade": "light", "place": "elsewhere"})
    assert CarryingTarget.seen[0]["shade"] == "light"
    assert manifest_of(path)["target"]["key"] == {"place": "elsewhere"}
    with pytest.raises(InputError, match="--shade is 'red'"):
        rebuild(path, options={"shade": "red"})
    with pytest.raises(EngineUnavailable, match="no tools here"):
        rebuild(path, options={"shade": "dark", "size": 13})


def test_a_result_of_its_own(tmp_path, clip):
    path = export(tmp_path / "toy", clip)
    before = everything(path)
    assert rebuild(path, output=tmp_path / "other") == tmp_path / "other"
    read_artifact(tmp_path / "other")
    assert everything(path) == before
    with pytest.raises(InputError, match="--force"):
        rebuild(path, output=tmp_path / "other")
    rebuild(path, output=tmp_path / "other", force=True)


def test_nothing_to_build_from(tmp_path, clip):
    path = export(tmp_path / "toy", clip, **{"no-source": True})
    with pytest.raises(ArtifactError, match=r"carries no source of the graph template, search.*--no-source"):
        rebuild(path)


def test_a_failure_leaves_the_artifact_as_it_was(tmp_path, clip, monkeypatch):
    path = export(tmp_path / "toy", clip)
    before = everything(path)
    monkeypatch.setattr(CarryingTarget, "broken", True)
    with pytest.raises(ArtifactError, match="refuses search"):
        rebuild(path)
    assert everything(path) == before
    assert [item.name for item in tmp_path.iterdir()] == ["toy"]


def test_a_file_that_does_not_open_is_no_result(tmp_path, clip, monkeypatch):
    path = export(tmp_path / "toy", clip)
    before = everything(path)
    monkeypatch.setattr("edgetrack.export.rebuild.load_artifact", raise_damaged)
    with pytest.raises(ArtifactError, match="damaged"):
        rebuild(path)
    assert everything(path) == before


def raise_damaged(_artifact):
    raise ArtifactError("damaged")


def test_weights_run_the_gate(tmp_path, clip, monkeypatch):
    path = export(tmp_path / "toy", clip)
    rebuild(path, weights="stand-in", clip=clip, threads=1)
    assert read_artifact(path).verification["verdict"] == "passed"
    before = everything(path)
    monkeypatch.setattr(toy_family.ToyCore, "box_error", 5.0)
    with pytest.raises(ParityError, match="left as it was"):
        rebuild(path, weights="stand-in", clip=clip, threads=1)
    assert everything(path) == before


@pytest.mark.parametrize("said", [["shade"], {"shade": 3}, {"size": "x"}])
def test_options_in_a_manifest_are_not_trusted(tmp_path, clip, said):
    path = export(tmp_path / "toy", clip)
    edit(path, lambda m: m["target"].update(options=said))
    with pytest.raises((ArtifactError, InputError), match=r"options|--shade|--size"):
        rebuild(path)


def test_options_that_a_manifest_may_not_set_are_ignored(tmp_path, clip):
    path = export(tmp_path / "toy", clip)
    edit(path, lambda m: m["target"].update(options={"place": "/etc", "unknown": 1}))
    rebuild(path)
    assert CarryingTarget.seen[0]["place"] == "here"


def test_an_unknown_target(tmp_path, clip):
    path = export(tmp_path / "toy", clip)
    edit(path, lambda m: m["target"].update(name="future"))
    with pytest.raises(ArtifactError, match="unknown target 'future'"):
        rebuild(path)


def test_an_export_for_another_machine_is_not_verified_but_kept(tmp_path, clip, monkeypatch):
    def differ(self, key):
        raise WrongMachine("built for compute capability 8.7, here it is 8.6")

    monkeypatch.setattr(OnnxRuntimeEngine, "check_built_for", differ)
    path = export(tmp_path / "toy", clip)
    found = read_artifact(path).verification
    assert found["verdict"].startswith("not run")
    assert found["not_run"] == "built for compute capability 8.7, here it is 8.6"


def test_a_real_engine_is_built_again_without_pytorch_and_onnx(tmp_path, clip):
    """As on a device: `edgetrack rebuild` on the command line, TensorRT-RTX behind it."""
    path = export(tmp_path / "toy", clip, "trt", **{"compute-capability": "8.6", "workspace-mib": 64})
    assert read_artifact(path).target.key["compute_capability"] == "8.6"
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxscript', 'cv2', 'onnxruntime'])); "
        "from edgetrack.cli import main; sys.exit(main(['rebuild', sys.argv[1], '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["target"]["key"]["compute_capability"] == "8.0+", "what the first machine named is not kept"
    assert told["target"]["options"] == {"workspace-mib": 64}
    artifact = read_artifact(path)
    assert {extra.kind for extra in artifact.extras} == {"log", "source"}
    assert "workspace-mib=64" in (path / "build.log").read_text()
