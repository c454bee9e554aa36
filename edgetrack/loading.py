"""`edgetrack.load`: from an artifact folder to a tracker that is ready to start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetrack.artifact import Artifact
    from edgetrack.runtime.engine import Engine
    from edgetrack.runtime.tracker import Tracker

__all__ = ["load", "load_artifact", "open_engine"]


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
        engine: "onnxruntime" or "openvino"; None is the engine the artifact was built for.
        threads: CPU threads of one network call; None leaves it to the engine.
        cache_dir: folder where the engine may keep compiled networks; None: nowhere.
        history_mib: bound on the memory of past templates in MiB; None is the artifact's own bound.

    Raises:
        ArtifactError: the folder is damaged, incomplete, of an unknown schema, or not for this engine.
        EngineUnavailable: the engine or device is not here.
        InputError: an option has an impossible value.
    """
    from edgetrack.artifact import read_artifact

    artifact = read_artifact(os.fspath(path))
    return load_artifact(
        artifact, device=device, engine=engine, threads=threads, cache_dir=cache_dir, history_mib=history_mib
    )


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
    from edgetrack.errors import InputError
    from edgetrack.runtime.tracker import GraphFile, build_tracker

    spec: dict[str, Any] = dict(artifact.tracker)
    if history_mib is not None:
        if not 0 < history_mib <= 65_536:
            raise InputError(f"history_mib is {history_mib}, must be above 0 and at most 65536")
        spec["memory"] = {**spec.get("memory", {}), "limit_mib": float(history_mib)}
    graphs = {entry.role: GraphFile(artifact.file(entry.file), entry.dims) for entry in artifact.graphs}
    opened = open_engine(artifact, device=device, engine=engine, threads=threads, cache_dir=cache_dir)
    try:
        return build_tracker(spec, graphs, opened)
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
    from edgetrack.runtime.engines import ENGINES

    name = ENGINES.resolve(engine or artifact.target.engine)
    return ENGINES.get(name)(
        artifact.target.device if device == "auto" else device,
        threads=threads,
        cache_dir=None if cache_dir is None else Path(cache_dir),
        precision=artifact.precision.actual,
    )
