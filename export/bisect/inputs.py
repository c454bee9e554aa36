"""Real inputs of the graphs: what an artifact's own tracker feeds them in one frame of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.artifact import Artifact
from edgetrack.demo import TEXT
from edgetrack.errors import InputError
from edgetrack.export.models.base import Box, ParityInput
from edgetrack.export.parity.clip import Clip
from edgetrack.export.source import Source
from edgetrack.loading import graph_files, language_home, open_engine
from edgetrack.runtime.engine import Engine, Session
from edgetrack.runtime.tracker import Tracker, build_tracker

__all__ = ["recorded_inputs", "source_inputs"]

Inputs = dict[str, dict[str, NDArray[np.float32]]]
"""Role of a graph -> input name -> float32 array."""


def source_inputs(source: Source, clip: Clip, frame: int) -> Inputs:
    """Return what the published loop feeds each graph in frame `frame` of a clip, counted from 0.

    Raises:
        InputError: the clip has no such frame.
    """
    frames = _frames(clip, frame)
    found: list[ParityInput] = list(source.family.parity_inputs(source.variant.name, source.net, frames, clip.box))
    return {role: {name: np.ascontiguousarray(array) for name, array in arrays.items()} for role, arrays in found}


def recorded_inputs(artifact: Artifact, clip: Clip, frame: int, threads: int | None = None) -> Inputs:
    """Return what an artifact's tracker fed each graph last, having tracked a clip up to frame `frame`.

    Raises:
        ArtifactError: the artifact cannot be loaded.
        EngineUnavailable: its engine or device is not here.
        InputError: the clip has no such frame.
    """
    frames = _frames(clip, frame)
    roles = {artifact.file(entry.file): entry.role for entry in artifact.graphs}
    files = graph_files(artifact)
    recorder = _Recorder(open_engine(artifact, threads=threads))
    with closing(recorder):
        tracker = build_tracker(artifact.tracker, files, recorder, language_home(artifact))
        _start(tracker, frames[0], clip.box)
        for picture in frames[1:]:
            tracker.update(picture, color="rgb")
        return {roles[path]: inputs for path, inputs in recorder.fed.items()}


def _start(tracker: Tracker, frame: NDArray[np.uint8], box: Box) -> None:
    """Start a tracker; one that reads text is told a sentence, or noise where it cannot encode one."""
    language = tracker.language
    if language is None:
        tracker.init(frame, box, color="rgb")
        return
    shown = tracker.picture(frame, box, "rgb")
    pack = language.encode(TEXT, shown) if language.encodes else language.made_up()
    tracker.init(frame, box, pack=pack, color="rgb")


def _frames(clip: Clip, frame: int) -> list[NDArray[np.uint8]]:
    frames = list(islice(clip.frames(), frame + 1))
    if len(frames) <= frame:
        raise InputError(f"clip {clip.name} has {len(frames)} frames, none of number {frame}; give a lower --frame")
    return frames


class _Recorder(Engine):
    """An engine that remembers what its sessions were fed last; all else is the engine inside."""

    name = "recorder"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.fed: dict[Path, dict[str, NDArray[np.float32]]] = {}

    def open(self, path: Path, dims: Mapping[str, int]) -> Session:
        return _RecordedSession(self._engine.open(path, dims), path, self.fed)

    def describe(self) -> dict[str, str]:
        return self._engine.describe()

    @classmethod
    def devices(cls) -> list[str]:
        return []

    def close(self) -> None:
        self._engine.close()


class _RecordedSession:
    """A session that copies its inputs before each run."""

    def __init__(self, session: Session, path: Path, fed: dict[Path, dict[str, NDArray[np.float32]]]) -> None:
        self._session, self._path, self._fed = session, path, fed

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        return self._session.inputs

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return self._session.outputs

    def run(self) -> None:
        self._fed[self._path] = {name: np.array(array) for name, array in self._session.inputs.items()}
        self._session.run()
