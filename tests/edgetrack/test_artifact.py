"""Reading artifacts: what is accepted, and one clear line for everything that is not."""

from __future__ import annotations

import copy
import json
import os
import time
from pathlib import Path

import pytest
import tiny_artifact
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetrack.artifact import MANIFEST_NAME, read_artifact, sha256_of
from edgetrack.errors import ArtifactError, EdgetrackError

DELETE = object()


def edit(folder: Path, path: list[str | int], value: object) -> None:
    """Set (or delete) one value of the manifest."""
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    parent = manifest
    for key in path[:-1]:
        parent = parent[key]
    if value is DELETE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


def message_of(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_artifact(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_reads_a_valid_artifact(artifact):
    found = read_artifact(artifact)
    assert found.path == artifact
    assert found.model.variant == "fartrack-tiny-test"
    assert [graph.role for graph in found.graphs] == ["template", "search"]
    search = found.graph("search")
    assert search.dims == {"kept": (3, 4)}
    assert search.inputs[1].name == "old"
    assert search.inputs[1].shape == (1, 4, "kept", 8)
    assert found.tracker["template"]["size"] == 32
    assert found.target.engine == "onnxruntime"
    assert found.build.seed is None
    assert found.size_bytes() == sum((artifact / f"{role}.onnx").stat().st_size for role in ("template", "search"))


def test_unknown_keys_are_ignored(artifact):
    edit(artifact, ["note"], "written by a later version")
    assert read_artifact(artifact).manifest["note"] == "written by a later version"


def test_a_tracker_that_follows_a_sentence_has_no_template(artifact):
    edit(artifact, ["tracker", "template"], None)
    assert read_artifact(artifact).tracker["template"] is None


def test_unknown_role_names_those_there_are(artifact):
    with pytest.raises(ArtifactError, match="no graph 'text', only template, search"):
        read_artifact(artifact).graph("text")


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        (["schema"], 2, ("schema is 2", "reads 1")),
        (["schema"], "1", ("schema is 1", "an integer")),
        (["schema"], True, ("schema is true", "an integer")),
        (["model"], DELETE, ("'model' is missing",)),
        (["model"], [], ("model is []", "an object")),
        (["model", "variant"], 7, ("model.variant is 7", "a text")),
        (["model", "variant"], "../up", ("model.variant is ../up",)),
        (["graphs"], {}, ("graphs is {}", "a list")),
        (["graphs"], [], ("1 to 16 graphs",)),
        (["graphs", 1, "role"], "template", ("graphs of different roles",)),
        (["graphs", 0, "inputs"], [], ("graphs[0].inputs", "one or more tensors")),
        (["graphs", 0, "inputs", 0, "dtype"], "float31", ("graphs[0].inputs[0].dtype is float31", "float32")),
        (["graphs", 0, "inputs", 0, "shape", 1], 0, ("graphs[0].inputs[0].shape[1] is 0",)),
        (["graphs", 0, "inputs", 0, "shape", 1], 1.5, ("shape[1] is 1.5",)),
        (["graphs", 0, "inputs", 0, "shape", 1], "width", ("whose names are in `dims`",)),
        (["graphs", 0, "inputs", 0, "shape"], [1 << 20, 1 << 20], ("elements",)),
        (["graphs", 1, "dims", "kept"], [], ("whose names are in `dims`",)),
        (["graphs", 1, "dims", "kept"], [0], ("dims.kept[0] is 0",)),
        (["graphs", 0, "file"], "/etc/passwd", ("graphs[0].file is /etc/passwd",)),
        (["graphs", 0, "files"], ["../template.onnx"], ("graphs[0].files[0] is ../template.onnx", "without folders")),
        (["graphs", 0, "files"], ["template.onnx", "a/b"], ("a/b",)),
        (["graphs", 0, "files"], [".hidden"], (".hidden",)),
        (["graphs", 0, "files"], ["a\x00b"], ("files[0]",)),
        (["graphs", 0, "files"], ["other.onnx"], ("one of the names in `files`",)),
        (["graphs", 0, "sha256"], {}, ("one entry for each of `files`",)),
        (["graphs", 0, "sha256", "template.onnx"], "00", ("sha256.template.onnx is 00",)),
        (["graphs", 0, "sha256", "template.onnx"], "0" * 64, ("template.onnx: sha256 is", "damaged")),
        (["tracker", "template", "size"], 10**6, ("tracker.template.size is 1000000", "16 to 4096")),
        (["tracker", "template"], DELETE, ("key 'template' is missing in tracker",)),
        (["tracker", "search"], None, ("tracker.search is null", "an object")),
        (["tracker", "search", "factor"], -1, ("tracker.search.factor is -1", "0.5 to 64")),
        (["tracker", "std"], [0.2, 0, 0.2], ("tracker.std", "list of 3 numbers")),
        (["tracker", "mean"], [0.1, 0.2], ("tracker.mean",)),
        (["tracker", "color"], "cmyk", ("tracker.color is cmyk", "rgb, bgr")),
        (["precision", "actual"], "fp64", ("precision.actual is fp64", "fp32, fp16, int8, mixed")),
        (["precision", "fp32_islands"], [3], ("precision.fp32_islands[0] is 3",)),
        (["calibration"], DELETE, ("'calibration' is missing",)),
        (["target", "engine"], "../engine", ("target.engine",)),
        (["target", "driver"], 5, ("target.driver is 5",)),
        (["verification"], "passed", ("verification is passed", "an object")),
        (["build", "seed"], -1, ("build.seed is -1",)),
    ],
)
def test_a_wrong_value_is_named(artifact, path, value, parts):
    edit(artifact, path, value)
    message = message_of(artifact)
    for part in (str(artifact), *parts):
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"", "not valid JSON"),
        (b"not json", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"schema": NaN}', "the number NaN"),
        (b'{"schema": -Infinity}', "the number -Infinity"),
        (b'{"schema": 1e999}', "too large"),
        (b'{"schema": 123456789012345678901234567890}', "2**53"),
        (b'{"schema": 1, "schema": 1}', "key 'schema' twice"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b"[" * 40 + b"]" * 40, "nested deeper"),
        (b"[" * 100_000, "not valid JSON"),
        (b"9" * 10_000, "not valid JSON"),
        (b'"' + b"x" * 5000 + b'"', "5000 characters"),
        (b"[]", "the whole file is []"),
        (b" " * (1 << 20) + b"{}", "larger than 1048576 bytes"),
    ],
)
def test_text_that_is_no_manifest(artifact, text, part):
    (artifact / MANIFEST_NAME).write_bytes(text)
    assert part in message_of(artifact)


def test_folder_missing_or_not_one(artifact, tmp_path):
    assert "does not exist" in message_of(tmp_path / "nowhere")
    assert "is a file" in message_of(artifact / "search.onnx")
    assert "does not exist" in message_of(Path("a\x00b"))
    (artifact / MANIFEST_NAME).unlink()
    assert f"no {MANIFEST_NAME}" in message_of(artifact)


def test_file_missing(artifact):
    (artifact / "search.onnx").unlink()
    assert "search.onnx: named in edgetrack.json but missing" in message_of(artifact)


def test_file_changed(artifact):
    with (artifact / "search.onnx").open("ab") as stream:
        stream.write(b"\0")
    assert "search.onnx: sha256 is" in message_of(artifact)
    assert read_artifact(artifact, verify_checksums=False).graph("search")


def test_symlink_out_of_the_folder(artifact, tmp_path):
    moved = (artifact / "search.onnx").rename(tmp_path / "elsewhere.onnx")
    (artifact / "search.onnx").symlink_to(moved)
    assert "leads out of the artifact" in message_of(artifact)


def test_symlink_inside_the_folder_and_to_the_folder(artifact, tmp_path):
    (artifact / "search.onnx").rename(artifact / "real.onnx")
    (artifact / "search.onnx").symlink_to("real.onnx")
    (tmp_path / "link").symlink_to(artifact)
    assert read_artifact(tmp_path / "link").graph("search").file == "search.onnx"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_something_that_is_no_file(artifact, make):
    (artifact / "search.onnx").unlink()
    make(artifact / "search.onnx")
    assert "not a regular file" in message_of(artifact)


def test_symlink_loop(artifact):
    (artifact / "search.onnx").unlink()
    (artifact / "search.onnx").symlink_to("search.onnx")
    assert "search.onnx: cannot be read" in message_of(artifact)


def test_hashing_is_fast(tmp_path):
    big = tmp_path / "weights"
    big.write_bytes(os.urandom(1 << 20) * 28)
    began = time.perf_counter()
    sha256_of(big)
    assert time.perf_counter() - began < 0.4  # 28 MB; loading as a whole has half a second


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: object, path: tuple = ()) -> list[tuple]:
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _paths(item, (*path, key))
    return found


VALID = tiny_artifact.manifest({"template.onnx": "0" * 64, "search.onnx": "0" * 64})
PATHS = [path for path in _paths(VALID) if path]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.sampled_from(PATHS), JSON | st.just(DELETE)), min_size=1, max_size=3))
def test_mutated_manifests_raise_nothing_but_artifact_error(tmp_path_factory, edits):
    manifest = copy.deepcopy(VALID)
    for path, value in edits:
        parent = manifest
        try:
            for key in path[:-1]:
                parent = parent[key]
            if value is DELETE:
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit took this place away
    folder = tmp_path_factory.getbasetemp() / "mutated"
    folder.mkdir(exist_ok=True)
    for name in ("template.onnx", "search.onnx"):
        (folder / name).touch()
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8", errors="surrogatepass")
    try:
        read_artifact(folder, verify_checksums=False)
    except ArtifactError as error:
        assert "\n" not in str(error)  # noqa: PT017 (not raising is right as well)


@settings(max_examples=300, deadline=None)
@given(
    text=st.binary(max_size=200) | st.text(alphabet='{}[]":,0123456789eE+-.truefalsn\\u', max_size=60).map(str.encode)
)
def test_arbitrary_bytes_raise_nothing_but_artifact_error(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "bytes"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST_NAME).write_bytes(text)
    with pytest.raises(EdgetrackError):
        read_artifact(folder)
