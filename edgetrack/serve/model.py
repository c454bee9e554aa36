"""A loaded artifact: the tracker, and its text side for another thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetrack.artifact import Artifact
    from edgetrack.runtime.language import Language
    from edgetrack.runtime.target_pack import TargetPack
    from edgetrack.runtime.tracker import Tracker

__all__ = ["LoadedModel", "ModelChoice", "load_model"]

_DETAILS = ("last_mode", "mode", "confidence", "response", "selected", "updated")
"""What some compiled trackers tell besides score and state."""


@dataclass(frozen=True)
class ModelChoice:
    """Which artifact to load, and on what; see `edgetrack.load`."""

    artifact: Path
    device: str = "auto"
    engine: str | None = None
    threads: int | None = None


class LoadedModel:
    """A tracker with what it needs to be told what to follow.

    Attributes:
        tracker: of the thread that loaded it.
        facts: for people: names, engine and device, what it wants to be told, and its thresholds as they were exported.
        thresholds: of the tracker, as they are now; any thread may read them.
    """

    def __init__(self, tracker: Tracker, facts: dict[str, Any], text_side: TextSide | None) -> None:
        self.tracker = tracker
        self.facts = facts
        self.thresholds: Mapping[str, float] = tracker.thresholds
        self._text_side = text_side

    def describe(self, text: str | None, pack: Path | None) -> Future[TargetPack | None] | None:
        """Start to encode a description in another thread; None where the tracker reads none.

        The future raises the errors of `Language.target`.
        """
        return None if self._text_side is None else self._text_side.describe(text, pack)

    def set_thresholds(self, values: Mapping[str, float]) -> None:
        """See `Tracker.set_thresholds`."""
        self.tracker.set_thresholds(values)
        self.thresholds = self.tracker.thresholds

    def details(self) -> dict[str, Any]:
        """Return what the family's core tells besides, by name; numbers that are none are left out."""
        core = self.tracker.core
        found = {name: getattr(core, name) for name in _DETAILS if hasattr(core, name)}
        return {name: value for name, value in found.items() if value == value}  # noqa: PLR0124 (leaves out nan)

    def close(self) -> None:
        """Release networks and engines."""
        if self._text_side is not None:
            self._text_side.close()
        self.tracker.close()


class TextSide:
    """Encodes descriptions in a thread of its own, so that tracking goes on meanwhile."""

    def __init__(self, artifact: Artifact, choice: ModelChoice) -> None:
        self._open = ExitStack()
        self._artifact = artifact
        self._choice = choice
        self._language: Language | None = None
        self._thread = ThreadPoolExecutor(1, "edgetrack-text")

    def describe(self, text: str | None, pack: Path | None) -> Future[TargetPack | None]:
        """See `LoadedModel.describe`."""
        return self._thread.submit(self._encode, text, pack)

    def _encode(self, text: str | None, pack: Path | None) -> TargetPack | None:
        from edgetrack.loading import open_text_side

        if self._language is None:
            choice = self._choice
            side = open_text_side(self._artifact, device=choice.device, engine=choice.engine, threads=choice.threads)
            self._language = self._open.enter_context(side)
        return self._language.target(text, pack)

    def close(self) -> None:
        """Release what was opened; a description at work is finished before."""
        self._thread.submit(self._open.close)
        self._thread.shutdown(wait=True)


Loader = Callable[[ModelChoice], LoadedModel]


def load_model(choice: ModelChoice) -> LoadedModel:
    """Load an artifact; see `edgetrack.load` for the errors."""
    from edgetrack.artifact import read_artifact
    from edgetrack.loading import load_artifact

    artifact = read_artifact(choice.artifact)
    tracker = load_artifact(artifact, device=choice.device, engine=choice.engine, threads=choice.threads)
    language = tracker.language
    facts: dict[str, Any] = {
        "name": artifact.path.resolve().name,
        "variant": artifact.model.variant,
        "precision": artifact.precision.actual,
        "verification": _verdict(artifact.verification),
        "engine": tracker.engine.describe(),
        "reads_text": language is not None,
        "needs_text": language is not None and language.spec.without_text == "refuse",
        "needs_box": language is None or not language.spec.without_box,
        "has_encoder": any(entry.role == "text" for entry in artifact.graphs),
        "thresholds": _thresholds(tracker),
    }
    return LoadedModel(tracker, facts, None if language is None else TextSide(artifact, choice))


def _thresholds(tracker: Tracker) -> dict[str, dict[str, float]]:
    ranges = tracker.threshold_ranges
    return {
        name: {"exported": value, "least": ranges[name][0], "most": ranges[name][1]}
        for name, value in tracker.thresholds.items()
    }


def _verdict(verification: Mapping[str, Any] | None) -> str:
    verdict = (verification or {}).get("verdict")
    return verdict if isinstance(verdict, str) else "not run"
