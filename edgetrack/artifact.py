"""The artifact: a folder of stock engine files and `edgetrack.json`, which says what they are.

The manifest (schema 1) is JSON with the keys `schema`, `model`, `graphs`, `tracker`, `precision`,
`calibration`, `target`, `verification` and `build`, and perhaps `extras`, files that no engine opens. Keys that this
version does not know are ignored.
"""

from __future__ import annotations

import hashlib
import math
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgetrack.artifact_writer import MANIFEST_NAME, ArtifactWriter
from edgetrack.errors import ArtifactError
from edgetrack.fields import Fields, parse_json

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA",
    "Artifact",
    "ArtifactWriter",
    "BuildInfo",
    "ExtraEntry",
    "GraphEntry",
    "ModelInfo",
    "PrecisionInfo",
    "TargetEntry",
    "TensorInfo",
    "read_artifact",
    "sha256_of",
]

SCHEMA = 1

_MAX_MANIFEST_BYTES = 1 << 20
_MAX_GRAPHS = 16
_MAX_FILES = 64
_MAX_AXIS = 1 << 20
_MAX_ELEMENTS = 1 << 26  # 256 MiB of float32: far above any tracker's tensors, far below harm
_MAX_CROP_PX = 4096
_DTYPES = ("float32", "float16", "int64", "int32", "uint8", "int8", "bool")
_PRECISIONS = ("fp32", "fp16", "int8", "mixed")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"
_SYMBOL = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
_SHA256 = r"[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which network this is and where its weights come from."""

    family: str
    variant: str
    flavour: str
    checkpoint_sha256: str
    licence: str
    weights: str


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a graph; `shape` holds numbers and names of symbolic dimensions."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    layout: str


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """One graph: its role in the tracker, its files, and every value its symbolic dimensions take."""

    role: str
    file: str
    files: tuple[str, ...]
    sha256: Mapping[str, str]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    dims: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class ExtraEntry:
    """A file that no engine opens: what kind it is ("source", "log", ...), and the graph it belongs to, if one."""

    file: str
    kind: str
    role: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class PrecisionInfo:
    """The precision that was asked for, the one the files have, what they are computed in, and what is kept in fp32."""

    asked: str
    actual: str
    fp32_islands: tuple[str, ...]
    computed: str = ""


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """What the files were built for; `key` is what a machine must have in common with it, if it is tied to one."""

    name: str
    engine: str
    version: str
    device: str
    driver: str | None
    soc: str | None
    key: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """How the artifact was made; `time` is ISO 8601, UTC."""

    edgetrack: str
    command: str
    seed: int | None
    time: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A checked artifact; `manifest` is the whole file as read, `tracker` its section for the core."""

    path: Path
    manifest: Mapping[str, Any]
    model: ModelInfo
    graphs: tuple[GraphEntry, ...]
    tracker: Mapping[str, Any]
    precision: PrecisionInfo
    calibration: Mapping[str, Any] | None
    target: TargetEntry
    verification: Mapping[str, Any] | None
    build: BuildInfo
    extras: tuple[ExtraEntry, ...] = ()

    def graph(self, role: str) -> GraphEntry:
        """Return the graph with this role, or raise ArtifactError naming those there are."""
        for entry in self.graphs:
            if entry.role == role:
                return entry
        roles = ", ".join(entry.role for entry in self.graphs)
        raise ArtifactError(f"{self.path}: has no graph {role!r}, only {roles}; export the artifact again")

    def file(self, name: str) -> Path:
        """Return the path of one of the artifact's files."""
        return self.path / name

    def size_bytes(self) -> int:
        """Return the size of all engine files together."""
        return sum(self.file(name).stat().st_size for entry in self.graphs for name in entry.files)


def read_artifact(path: str | Path, verify_checksums: bool = True) -> Artifact:
    """Read and check an artifact folder.

    Args:
        path: the folder.
        verify_checksums: hash every engine file and compare; costs about a tenth of a second for 30 MB.

    Raises:
        ArtifactError: the folder, its manifest or a file is missing, damaged or of an unknown schema.
    """
    folder = Path(path)
    source = folder / MANIFEST_NAME
    root = Fields(parse_json(_read_manifest(folder, source), str(source)), str(source))
    schema = root.integer("schema", 0, 10**6)
    if schema != SCHEMA:
        raise ArtifactError(
            f"{source}: schema is {schema}, this edgetrack reads {SCHEMA}; "
            "export the artifact again or use the edgetrack that wrote it"
        )
    _check_tracker(root.section("tracker"))
    artifact = Artifact(
        path=folder,
        manifest=root.value,
        model=_model(root.section("model")),
        graphs=_graphs(root),
        tracker=root.section("tracker").value,
        precision=_precision(root.section("precision")),
        calibration=_optional_object(root, "calibration"),
        target=_target(root.section("target")),
        verification=_optional_object(root, "verification"),
        build=_build(root.section("build")),
        extras=_extras(root),
    )
    artifact = _without_absent(artifact)
    for entry in artifact.graphs:
        for name in entry.files:
            _check_file(folder, name, entry.sha256[name] if verify_checksums else None)
    for extra in artifact.extras:
        _check_file(folder, extra.file, extra.sha256 if verify_checksums else None)
    language = root.section("tracker").section("language") if "language" in artifact.tracker else None
    if language is not None and any(entry.role == "text" for entry in artifact.graphs):
        tokenizer = language.section("tokenizer")
        sha256 = tokenizer.text("sha256", pattern=_SHA256)
        _check_file(folder, tokenizer.text("file", pattern=_NAME), sha256 if verify_checksums else None)
    return artifact


def _without_absent(artifact: Artifact) -> Artifact:
    """Leave out the graphs that describe a target, where their files were: a device with target packs needs none."""
    language = artifact.tracker.get("language")
    chain = language.get("chain", ["text"]) if isinstance(language, dict) else []
    describing = set(chain) if isinstance(chain, list) and all(isinstance(role, str) for role in chain) else set()

    def is_left_out(entry: GraphEntry) -> bool:
        return entry.role in describing and not any((artifact.path / name).exists() for name in entry.files)

    return replace(artifact, graphs=tuple(entry for entry in artifact.graphs if not is_left_out(entry)))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it in pieces."""
    digest = hashlib.sha256()
    piece = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(piece):
            digest.update(piece[:count])
    return digest.hexdigest()


def _read_manifest(folder: Path, source: Path) -> bytes:
    try:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise ArtifactError(f"artifact {folder} {what}; give the folder that `edgetrack export` wrote")
        if not source.is_file():
            raise ArtifactError(f"{folder}: no {MANIFEST_NAME} in it, so not an artifact; export it again")
        with source.open("rb") as stream:
            text = stream.read(_MAX_MANIFEST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder}: cannot be read ({error}); check the path and its permissions") from error
    if len(text) > _MAX_MANIFEST_BYTES:
        raise ArtifactError(f"{source}: larger than {_MAX_MANIFEST_BYTES} bytes; export the artifact again")
    return text


def _model(fields: Fields) -> ModelInfo:
    return ModelInfo(
        family=fields.text("family", pattern=_NAME),
        variant=fields.text("variant", pattern=_NAME),
        flavour=fields.text("flavour"),
        checkpoint_sha256=fields.text("checkpoint_sha256"),
        licence=fields.text("licence"),
        weights=fields.text("weights"),
    )


def _graphs(root: Fields) -> tuple[GraphEntry, ...]:
    graphs = tuple(_graph(fields) for fields in root.sections("graphs"))
    roles = [entry.role for entry in graphs]
    if not 1 <= len(roles) <= _MAX_GRAPHS or len(set(roles)) != len(roles):
        raise root.error("graphs", roles, f"1 to {_MAX_GRAPHS} graphs of different roles")
    return graphs


def _graph(fields: Fields) -> GraphEntry:
    entry = GraphEntry(
        role=fields.text("role", pattern=_NAME),
        file=fields.text("file", pattern=_NAME),
        files=fields.items("files", _file_name, "a file name without folders"),
        sha256={name: fields.section("sha256").text(name, pattern=_SHA256) for name in fields.section("sha256").value},
        inputs=tuple(_tensor(item) for item in fields.sections("inputs")),
        outputs=tuple(_tensor(item) for item in fields.sections("outputs")),
        dims={name: fields.section("dims").items(name, _axis, "sizes from 1") for name in fields.section("dims").value},
    )
    if not 1 <= len(entry.files) <= _MAX_FILES or len(set(entry.files)) != len(entry.files):
        raise fields.error("files", list(entry.files), f"a list of 1 to {_MAX_FILES} different file names")
    if entry.file not in entry.files:
        raise fields.error("file", entry.file, "one of the names in `files`")
    if set(entry.sha256) != set(entry.files):
        raise fields.error("sha256", sorted(entry.sha256), "an object with one entry for each of `files`")
    _check_tensors(fields, entry)
    return entry


def _extras(root: Fields) -> tuple[ExtraEntry, ...]:
    if "extras" not in root.value:
        return ()
    found = tuple(
        ExtraEntry(
            fields.text("file", pattern=_NAME),
            fields.text("kind", pattern=_NAME),
            fields.optional_text("role"),
            fields.text("sha256", pattern=_SHA256),
        )
        for fields in root.sections("extras")
    )
    names = [item.file for item in found]
    if len(names) > _MAX_FILES or len(set(names)) != len(names):
        raise root.error("extras", names, f"at most {_MAX_FILES} files of different names")
    return found


def _file_name(value: object) -> str | None:
    # The pattern admits no separator and no leading dot, so no name can leave the folder.
    return value if isinstance(value, str) and re.fullmatch(_NAME, value) else None


def _axis(value: object) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_AXIS
    return value if good and isinstance(value, int) else None


def _axis_or_symbol(value: object) -> int | str | None:
    if isinstance(value, str):
        return value if re.fullmatch(_SYMBOL, value) else None
    return _axis(value)


def _tensor(fields: Fields) -> TensorInfo:
    return TensorInfo(
        name=fields.text("name", pattern=r"\S{1,256}"),
        dtype=fields.text("dtype", choices=_DTYPES),
        shape=fields.items("shape", _axis_or_symbol, f"sizes from 1 to {_MAX_AXIS} or names of dimensions"),
        layout=fields.text("layout"),
    )


def _check_tensors(fields: Fields, entry: GraphEntry) -> None:
    for key, tensors in (("inputs", entry.inputs), ("outputs", entry.outputs)):
        names = [tensor.name for tensor in tensors]
        if not names or len(set(names)) != len(names):
            raise fields.error(key, names, "a list of one or more tensors with different names")
        for tensor in tensors:
            unknown = [size for size in tensor.shape if isinstance(size, str) and not entry.dims.get(size)]
            if unknown:
                raise fields.error(f"{key} {tensor.name}", list(tensor.shape), "a shape whose names are in `dims`")
            largest = (max(entry.dims[size]) if isinstance(size, str) else size for size in tensor.shape)
            if math.prod(largest) > _MAX_ELEMENTS:
                raise fields.error(f"{key} {tensor.name}", list(tensor.shape), f"at most {_MAX_ELEMENTS} elements")


def _check_tracker(fields: Fields) -> None:
    """Check what all families share; the rest is checked by the family that is loaded."""
    fields.text("family", pattern=_NAME)
    fields.text("color", choices=("rgb", "bgr"))
    fields.numbers("mean", 3, -1e4, 1e4)
    fields.numbers("std", 3, 1e-6, 1e4)
    # null: the network is shown no template, for it follows a sentence
    crops = ("search",) if fields.value.get("template", ...) is None else ("template", "search")
    for crop in crops:
        fields.section(crop).integer("size", 16, _MAX_CROP_PX)
        fields.section(crop).number("factor", 0.5, 64.0)


def _layer_name(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _precision(fields: Fields) -> PrecisionInfo:
    islands = fields.items("fp32_islands", _layer_name, "names of layers")
    actual = fields.text("actual", choices=_PRECISIONS)
    computed = fields.text("computed", choices=_PRECISIONS) if "computed" in fields.value else actual
    return PrecisionInfo(fields.text("asked", pattern=_NAME), actual, islands, computed)


def _target(fields: Fields) -> TargetEntry:
    return TargetEntry(
        name=fields.text("name", pattern=_NAME),
        engine=fields.text("engine", pattern=_NAME),
        version=fields.text("version"),
        device=fields.text("device"),
        driver=fields.optional_text("driver"),
        soc=fields.optional_text("soc"),
        key=_key(fields),
    )


def _key(fields: Fields) -> Mapping[str, str]:
    if "key" not in fields.value:
        return {}
    section = fields.section("key")
    return {name: section.text(name) for name in section.value}


def _build(fields: Fields) -> BuildInfo:
    seed = None if fields.value.get("seed") is None else fields.integer("seed", 0, 2**53)
    return BuildInfo(fields.text("edgetrack"), fields.text("command"), seed, fields.text("time"))


def _optional_object(root: Fields, key: str) -> Mapping[str, Any] | None:
    return None if key in root.value and root.value[key] is None else root.section(key).value


def _check_file(folder: Path, name: str, sha256: str | None) -> None:
    path = folder / name
    try:
        resolved = path.resolve(strict=True)
        if not resolved.is_relative_to(folder.resolve()):
            raise ArtifactError(f"{path}: leads out of the artifact to {resolved}; copy the file into the folder")
        if not stat.S_ISREG(resolved.stat().st_mode):
            raise ArtifactError(f"{path}: not a regular file; export the artifact again")
        found = sha256_of(resolved) if sha256 is not None else None
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: named in {MANIFEST_NAME} but missing; export the artifact again") from error
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); check its permissions") from error
    if found != sha256:
        raise ArtifactError(
            f"{path}: sha256 is {found}, {MANIFEST_NAME} says {sha256}: "
            "the file was changed or is damaged; copy or export the artifact again"
        )
