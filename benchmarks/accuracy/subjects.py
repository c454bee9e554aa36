"""What is evaluated: an artifact, or a checkpoint in the published loop. Both look the same to the runner."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

import edgetrack
from edgetrack.benchmarks.accuracy.score_rule import RULE_KEYS, ScoreRule
from edgetrack.benchmarks.contenders import ContenderSpec, artifact_spec
from edgetrack.errors import InputError

if TYPE_CHECKING:
    from edgetrack.benchmarks.accuracy.sequences import Frame

__all__ = ["Loop", "Observation", "Subject", "artifact_subject", "checkpoint_sha256", "open_loop", "reference_subject"]

Box = tuple[float, float, float, float]

STAND_IN = "stand-in"


@dataclass(frozen=True)
class Subject:
    """A tracker, named well enough for another process to open it.

    Attributes:
        spec: how to open it.
        identity: changes when anything does that its raw boxes and raw scores depend on.
        rule: turns raw scores into scores and states, where the manifest has one; not part of the identity, because
            what was tracked before stays valid under another rule (`SequenceRecord.under`).
    """

    spec: ContenderSpec
    identity: str
    rule: ScoreRule | None = None


class Observation(NamedTuple):
    """What a tracker says after a frame; see `SequenceRecord` for the fields."""

    box: Box
    raw_box: Box
    score: float
    raw_score: float | None
    state: str


class Loop(Protocol):
    """A tracking loop. Frames are uint8 BGR (height, width, 3)."""

    def prepare(self, frame: Frame) -> Frame:
        """Return the frame in the colour order the loop takes; not part of an update's time."""

    def init(self, frame: Frame, box: Box, text: str | None) -> None:
        """Start on `box` in a prepared frame; a tracker with language is told `text`, others do not hear it."""

    def update(self, frame: Frame) -> None:
        """Track one prepared frame."""

    def observe(self) -> Observation:
        """Return what became of the last frame."""

    def describe(self) -> dict[str, str]:
        """Return engine, version and device."""

    def close(self) -> None:
        """Release the networks."""


@runtime_checkable
class Scored(Protocol):
    """A reference loop that has the product's confidence signal too."""

    def raw_score(self, *radius: int) -> float:
        """Return the raw score of the last update; `radius` where the manifest's rule has one."""


def artifact_subject(
    path: Path, *, device: str = "auto", engine: str | None = None, threads: int | None = None
) -> Subject:
    """Return an artifact as a subject; see `edgetrack.load` for arguments and errors."""
    from edgetrack.artifact import read_artifact

    spec = artifact_spec(path, device=device, engine=engine, threads=threads)
    manifest = read_artifact(path, verify_checksums=False).manifest
    told = {name: manifest[name] for name in ("model", "precision", "target")}
    tracker = dict(manifest["tracker"])
    rule = ScoreRule.of(tracker["score"]) if isinstance(tracker.get("score"), dict) else None
    if rule is not None:
        tracker["score"] = {name: value for name, value in tracker["score"].items() if name not in RULE_KEYS}
    files = [graph["sha256"] for graph in manifest["graphs"]]
    return Subject(spec, _digest([told, tracker, files, spec.engine, device, edgetrack.__version__]), rule)


def reference_subject(
    weights: str,
    variant: str,
    *,
    seed: int = 0,
    threads: int | None = None,
    beside: Mapping[str, Path | None] | None = None,
) -> Subject:
    """Return a checkpoint, or "stand-in", in the published loop of `variant`.

    `beside` are files that the checkpoint of a tracker with language needs, by their names in `ContenderSpec`.

    Raises:
        InputError: no such variant, or no such file.
        EngineUnavailable: PyTorch is not installed.
    """
    from edgetrack.export.models import find_variant

    find_variant(variant)
    made_up = weights == STAND_IN
    content = f"{STAND_IN} {seed}" if made_up else checkpoint_sha256(weights)
    files = {name: str(path.resolve()) for name, path in (beside or {}).items() if path is not None}
    content = " ".join([content, *(checkpoint_sha256(path) for path in files.values())])
    spec = ContenderSpec(
        kind="reference",
        name=f"{variant}-published",
        path=weights if made_up else str(Path(weights).resolve()),
        variant=variant,
        precision="fp32",
        weights=STAND_IN if made_up else "checkpoint",
        engine="pytorch",
        device="cpu",
        threads=threads,
        seed=seed,
        **files,
    )
    return Subject(spec, _digest(["reference", variant, content, edgetrack.__version__]))


def checkpoint_sha256(path: str) -> str:
    """Return the SHA-256 of a checkpoint, or of a file that belongs to it; of a folder, one over all its files.

    Raises:
        InputError: it cannot be read.
    """
    from edgetrack.artifact import sha256_of

    place = Path(path)
    try:
        if not place.is_dir():
            return sha256_of(place)
        files = sorted(file for file in place.rglob("*") if file.is_file())
        return _digest([[str(file.relative_to(place)), sha256_of(file)] for file in files])
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error


def open_loop(spec: ContenderSpec) -> Loop:
    """Load what `spec` names.

    Raises:
        ArtifactError: the artifact cannot be loaded.
        CheckpointError: the checkpoint cannot be read or is of another model.
        EngineUnavailable: an engine, device or package is not here.
    """
    return _ArtifactLoop(spec) if spec.kind == "artifact" else _ReferenceLoop(spec)


class _ArtifactLoop:
    """An artifact through `edgetrack.load`, as it runs on a device."""

    def __init__(self, spec: ContenderSpec) -> None:
        from edgetrack.loading import load

        self._tracker = load(spec.path, device=spec.device, engine=spec.engine, threads=spec.threads)

    def prepare(self, frame: Frame) -> Frame:
        return frame

    def init(self, frame: Frame, box: Box, text: str | None) -> None:
        self._tracker.init(frame, box, text=text if self._tracker.language is not None else None)

    def update(self, frame: Frame) -> None:
        self._tracker.update(frame)

    def observe(self) -> Observation:
        tracker = self._tracker
        # getattr: families without a raw score need not invent one.
        raw = getattr(tracker.core, "raw_score", None)
        return Observation(tracker.box, tracker.raw_box, tracker.score, raw, tracker.state.name)

    def describe(self) -> dict[str, str]:
        return self._tracker.engine.describe()

    def close(self) -> None:
        self._tracker.close()


class _ReferenceLoop:
    """The published loop in eager PyTorch, with the score and state that the manifest's rule would give."""

    def __init__(self, spec: ContenderSpec) -> None:
        source = spec.source()
        from edgetrack.export.parity.gate import torch_threads

        with ExitStack() as stack:
            stack.enter_context(torch_threads(spec.threads))
            self._source, self._loop = source, source.family.reference(spec.variant, source.net)
            self._close = stack.pop_all().close
        section = source.family.tracker_spec(spec.variant).get("score")
        self._rule = ScoreRule.of(section) if section else None
        # FARTrack's score is a mass of bins around the best one; the others' needs no number.
        self._radius = (int(section["radius"]),) if section and "radius" in section else ()
        self._box: Box | None = None

    def prepare(self, frame: Frame) -> Frame:
        return np.ascontiguousarray(frame[..., ::-1])

    def init(self, frame: Frame, box: Box, text: str | None) -> None:
        if self._source.text is not None:
            self._loop = self._source.loop(text)
        self._loop.init(frame, box)
        self._box = None

    def update(self, frame: Frame) -> None:
        self._box = self._box or self._loop.box
        self._loop.update(frame)

    def observe(self) -> Observation:
        raw_box = self._loop.box
        if self._rule is None or not isinstance(self._loop, Scored):
            return Observation(raw_box, raw_box, 1.0, None, "")
        if self._box is None:
            return Observation(raw_box, raw_box, 1.0, 0.0, "TRACKING")
        raw = self._loop.raw_score(*self._radius)
        score = self._rule.score_of(raw)
        state = self._rule.state_of(score)
        self._box = self._box if state == "LOST" else raw_box
        return Observation(self._box, raw_box, score, raw, state)

    def describe(self) -> dict[str, str]:
        import torch

        return {"engine": "pytorch", "version": torch.__version__, "device": "cpu"}

    def close(self) -> None:
        self._close()


def _digest(told: Any) -> str:  # noqa: ANN401 (JSON)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
