"""Runs graph files in the tracking loop, on ONNX Runtime: to sample what networks are fed, and to judge boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.runtime.engine import Engine, Session
from edgetrack.runtime.engines.onnxruntime import OnnxRuntimeEngine
from edgetrack.runtime.tracker import GraphFile, Tracker, build_tracker

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph

__all__ = ["OnRun", "open_loop", "track"]

OnRun = Callable[[str, Mapping[str, NDArray[Any]]], None]
"""Told of every run of a graph before it: role, and inputs that are only valid during the call."""


@contextmanager
def open_loop(
    spec: Mapping[str, Any],
    graphs: Sequence[DeployGraph],
    files: Mapping[str, Path],
    *,
    threads: int | None = None,
    on_run: OnRun | None = None,
) -> Iterator[Tracker]:
    """Yield a tracker over .onnx files, closed afterwards.

    Args:
        spec: the manifest's `tracker` object.
        graphs: the deployment graphs, for their symbolic dimensions.
        files: role -> .onnx file.
        threads: CPU threads of one run; None leaves it to ONNX Runtime.
        on_run: see `OnRun`.

    Raises:
        ArtifactError: a file cannot be run.
        EngineUnavailable: ONNX Runtime is not installed.
    """
    engine: Engine = OnnxRuntimeEngine("cpu", threads=threads)
    if on_run is not None:
        engine = _WatchedEngine(engine, {path: role for role, path in files.items()}, on_run)
    found = {graph.role: GraphFile(files[graph.role], dict(graph.values)) for graph in graphs}
    try:
        tracker = build_tracker(spec, found, engine)
    except BaseException:
        engine.close()
        raise
    with tracker:
        yield tracker


def track(tracker: Tracker, frames: Iterator[NDArray[np.uint8]], box: Sequence[float]) -> Iterator[NDArray[np.float64]]:
    """Start on the first frame and yield the loop's own box (4,) after each of the others.

    Args:
        tracker: an open one.
        frames: uint8 RGB.
        box: x, y, w, h of the target in the first frame.
    """
    for number, frame in enumerate(frames):
        if number == 0:
            tracker.init(frame, box, color="rgb")
        else:
            tracker.update(frame)
            yield np.array(tracker.raw_box, np.float64)


class _WatchedEngine(Engine):
    """An engine whose sessions tell what they are about to run on; all else is the engine inside."""

    name = "watched"

    def __init__(self, engine: Engine, roles: Mapping[Path, str], on_run: OnRun) -> None:
        self._engine, self._roles, self._on_run = engine, roles, on_run

    def open(self, path: Path, dims: Mapping[str, int]) -> Session:
        """See `Engine.open`."""
        return _WatchedSession(self._engine.open(path, dims), self._roles[path], self._on_run)

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        return self._engine.describe()

    @classmethod
    def devices(cls) -> list[str]:
        """Return nothing: the devices are those of the engine inside."""
        return []

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()


class _WatchedSession:
    """A session that tells its inputs before each run."""

    def __init__(self, session: Session, role: str, on_run: OnRun) -> None:
        self._session, self._role, self._on_run = session, role, on_run
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self) -> None:
        """See `Session.run`."""
        self._on_run(self._role, self.inputs)
        self._session.run()
