"""`edgetrack.load`: from an artifact folder to a tracker that is ready to start."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgetrack.artifact import Artifact, TensorInfo
    from edgetrack.runtime.engine import Engine
    from edgetrack.runtime.graph_file import GraphFile
    from edgetrack.runtime.language import Language, LanguageHome
    from edgetrack.runtime.target_pack import TargetPack
    from edgetrack.runtime.tracker import Tracker

__all__ = ["encode_text", "graph_files", "language_home", "load", "load_artifact", "open_engine", "open_text_side"]


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    engine: str | None = None,
    threads: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    history_mib: float | None = None,
) -> Tracker:
    """Load an artifact and return a tracker; call `init(frame, box)` next.

    Args:
        path: the folder that `edgetrack export` wrote.
        device: "cpu", "cuda", "cuda:0", "GPU", "NPU", ... as the engine names them; "auto" is the device the
            artifact was built for. There is no fallback: a device that is not here is an error.
        engine: a name in `edgetrack.runtime.engines.ENGINES`, which `edgetrack doctor` lists; None is the engine the
            artifact was built for.
        threads: CPU threads of one network call; None leaves it to the engine.
        cache_dir: folder where the engine may keep compiled networks; None: nowhere.
        history_mib: bound on the memory of past templates in MiB; None is the artifact's own bound. Only for
            trackers that keep some (FARTrack).

    Raises:
        ArtifactError: the folder is damaged, incomplete, of an unknown schema, or not for this engine.
        EngineUnavailable: the engine or device is not here.
        InputError: an option has an impossible value or type.
    """
    from edgetrack.artifact import read_artifact

    artifact = read_artifact(_path("path", path))
    return load_artifact(
        artifact, device=device, engine=engine, threads=threads, cache_dir=cache_dir, history_mib=history_mib
    )


def encode_text(
    path: str | os.PathLike[str],
    text: str | Mapping[str, str],
    frame: NDArray[np.uint8] | None = None,
    box: Sequence[float] | None = None,
    *,
    color: str = "bgr",
    device: str = "auto",
    engine: str | None = None,
    threads: int | None = None,
) -> TargetPack:
    """Return what an artifact's text side makes of a sentence; save it for a device that has no text encoder.

    Example:
        edgetrack.encode_text("mvlm-tf-onnx-fp32/", "the man in the white shirt").save("man.pack")
        tracker.init(frame, pack="man.pack")  # on the device, with an artifact of the same weights

    Args:
        path: the folder that `edgetrack export` wrote, with a text encoder.
        text: the target in a sentence; or in phrases, for trackers that read them.
        frame: uint8 image in which the target is, for trackers that describe it by its picture too (GLAD).
        box: x, y, w, h of the target in it, in pixels.
        color: layout of the frame, see `Tracker`.
        device: see `load`.
        engine: see `load`.
        threads: see `load`.

    Raises:
        ArtifactError: the folder is damaged, incomplete, of an unknown schema, or not for this engine.
        EngineUnavailable: the engine, the device or the package tokenizers is not here.
        InputError: text, frame or box cannot be used, or the tracker reads no text.
    """
    with load(path, device=device, engine=engine, threads=threads) as tracker:
        return tracker.encode_text(text, frame, box, color=color)


@contextmanager
def open_text_side(
    artifact: Artifact, *, device: str = "auto", engine: str | None = None, threads: int | None = None
) -> Iterator[Language]:
    """Open the text side of an artifact alone, without its search network; for another thread than the tracker's.

    Its `target` makes what `tracker.init(..., pack=...)` takes. Nothing is opened in the engine before the first text.
    See `load` for the arguments.

    Raises:
        ArtifactError: the text side does not fit the search graph.
        EngineUnavailable: the engine or device is not here.
        InputError: the tracker reads no text.
    """
    from edgetrack.errors import InputError
    from edgetrack.fields import Fields
    from edgetrack.runtime.graph_file import CheckedEngine
    from edgetrack.runtime.language import TEXT_ROLE, Language, ShapesOnly
    from edgetrack.runtime.language_spec import read_language_spec

    spec = read_language_spec(Fields(dict(artifact.tracker), str(artifact.path), "tracker"))
    if spec is None:
        raise InputError(f"{artifact.path}: {artifact.model.variant} reads no text, it follows what a box shows")
    graphs = graph_files(artifact)
    fed = [ShapesOnly.of(graph.inputs, spec.feeds) for role, graph in graphs.items() if role != TEXT_ROLE]
    opened = open_engine(artifact, device=device, engine=engine, threads=threads)
    try:
        yield Language(spec, language_home(artifact), CheckedEngine(opened, graphs.values()), graphs, fed)
    finally:
        opened.close()


def load_artifact(
    artifact: Artifact,
    *,
    device: str = "auto",
    engine: str | None = None,
    threads: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    history_mib: float | None = None,
) -> Tracker:
    """Return a tracker for an artifact that was read before; see `load` for the rest."""
    from edgetrack.runtime.tracker import build_tracker

    spec: dict[str, Any] = dict(artifact.tracker)
    if history_mib is not None:
        spec["memory"] = _memory(artifact, history_mib)
    graphs = graph_files(artifact)
    opened = open_engine(artifact, device=device, engine=engine, threads=threads, cache_dir=cache_dir)
    try:
        return build_tracker(spec, graphs, opened, language_home(artifact))
    except BaseException:
        opened.close()
        raise


def open_engine(
    artifact: Artifact,
    *,
    device: str = "auto",
    engine: str | None = None,
    threads: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Engine:
    """Return the engine that `load` would use for this artifact; see `load` for arguments and errors."""
    from edgetrack.errors import InputError, WrongMachine
    from edgetrack.runtime.engines import ENGINES

    if not isinstance(device, str):
        raise InputError(f"device is {device!r}; give a text as 'cpu', or 'auto'")
    if not isinstance(engine, str | None):
        raise InputError(f"engine is {engine!r}; give a text as 'onnxruntime', or None")
    name = ENGINES.resolve(engine or artifact.target.engine)
    opened = ENGINES.get(name)(
        artifact.target.device if device == "auto" else device,
        threads=threads,
        cache_dir=None if cache_dir is None else _path("cache_dir", cache_dir),
        precision=artifact.precision.actual,
    )
    try:
        opened.check_built_for(artifact.target.key)
    except WrongMachine as error:
        opened.close()
        raise WrongMachine(
            f"{artifact.path}: {error}; build it for this machine: edgetrack rebuild {shlex.quote(str(artifact.path))}"
        ) from error
    except BaseException:
        opened.close()
        raise
    return opened


def _path(name: str, value: object) -> Path:
    from edgetrack.errors import InputError

    try:
        return Path(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"{name} is {value!r}; give a path as a text or a pathlib.Path") from error


def _memory(artifact: Artifact, history_mib: object) -> dict[str, Any]:
    """Return the manifest's `tracker.memory` with the user's own limit."""
    from edgetrack.errors import ArtifactError, InputError

    good = isinstance(history_mib, int | float) and not isinstance(history_mib, bool)
    if not good or not 0 < history_mib <= 65_536:  # type: ignore[operator]
        raise InputError(f"history_mib is {history_mib!r}, must be a number above 0 and at most 65536")
    if "memory" not in artifact.tracker:
        raise InputError(
            f"history_mib is {history_mib!r}, but the tracker of {artifact.path} keeps no past templates; leave it out"
        )
    memory = artifact.tracker["memory"]
    if not isinstance(memory, dict):
        raise ArtifactError(
            f"{artifact.path}: tracker.memory is {memory!r}, must be an object; export the artifact again"
        )
    return {**memory, "limit_mib": float(history_mib)}  # type: ignore[arg-type]


def language_home(artifact: Artifact) -> LanguageHome:
    """Return where an artifact's language files lie, for `build_tracker`."""
    from edgetrack.runtime.language import LanguageHome

    return LanguageHome(artifact.path, artifact.model.variant, artifact.model.checkpoint_sha256)


def graph_files(artifact: Artifact) -> dict[str, GraphFile]:
    """Return an artifact's graphs by role, for `build_tracker`."""
    from edgetrack.runtime.graph_file import GraphFile

    def shapes(tensors: Sequence[TensorInfo]) -> dict[str, tuple[int | str, ...]]:
        return {tensor.name: tensor.shape for tensor in tensors}

    return {
        entry.role: GraphFile(artifact.file(entry.file), entry.dims, shapes(entry.inputs), shapes(entry.outputs))
        for entry in artifact.graphs
    }
