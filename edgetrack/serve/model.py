"""A loaded artifact: the tracker, and its text side for another thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.serve.describe import Describer, View
from edgetrack.serve.errors import naming

if TYPE_CHECKING:
    from edgetrack.artifact import Artifact
    from edgetrack.runtime.target_pack import TargetPack
    from edgetrack.runtime.tracker import Tracker

__all__ = ["LoadedModel", "ModelChoice", "load_model"]

_DETAILS = ("last_mode", "mode", "confidence", "response", "selected", "updated")
"""What some compiled trackers tell besides score and state."""


@dataclass(frozen=True)
class ModelChoice:
    """Which artifact to load, and on what; see `edgetrack.load`.

    describer: another artifact of the same model, which describes targets if this one does not.
    """

    artifact: Path
    device: str = "auto"
    engine: str | None = None
    threads: int | None = None
    describer: Path | None = None


class LoadedModel:
    """A tracker with what it needs to be told what to follow.

    Attributes:
        tracker: of the thread that loaded it.
        facts: for people: names, engine and device, what it wants to be told, and its thresholds as they were exported.
        thresholds: of the tracker, as they are now; any thread may read them.
    """

    def __init__(self, tracker: Tracker, facts: dict[str, Any], describer: Describer | None) -> None:
        self.tracker = tracker
        self.facts = facts
        self.thresholds: Mapping[str, float] = tracker.thresholds
        self._describer = describer

    @property
    def at_work(self) -> str:
        """Which of several describing graphs runs just now; "" if none does."""
        return "" if self._describer is None else self._describer.at_work

    def describe(self, text: str | None, pack: TargetPack | None, view: View | None) -> Future[TargetPack] | None:
        """Start to describe a target in another thread, see `Describer`; None where the tracker reads no text."""
        return None if self._describer is None else self._describer.describe(text, pack, view)

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
        if self._describer is not None:
            self._describer.close()
        self.tracker.close()


Loader = Callable[[ModelChoice], LoadedModel]


def load_model(choice: ModelChoice) -> LoadedModel:
    """Load an artifact; see `edgetrack.load` for the errors, which name it without its path."""
    with naming(choice.artifact), naming(choice.describer or choice.artifact):
        return _load(choice)


def _load(choice: ModelChoice) -> LoadedModel:
    from edgetrack.artifact import read_artifact
    from edgetrack.loading import load_artifact

    artifact = read_artifact(choice.artifact)
    tracker = load_artifact(artifact, device=choice.device, engine=choice.engine, threads=choice.threads)
    try:
        describer = None if tracker.language is None else _describer(artifact, choice)
    except BaseException:
        tracker.close()
        raise
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
        "needs_pack": describer is not None and not describer.complete,
        "described_by": "" if describer is None else describer.name,
        "thresholds": _thresholds(tracker),
    }
    return LoadedModel(tracker, facts, describer)


def _describer(artifact: Artifact, choice: ModelChoice) -> Describer:
    """Return what describes targets to a tracker: its own artifact, or the one beside it that does."""
    from edgetrack.artifact import read_artifact

    own = Describer(artifact, device=choice.device, engine=choice.engine, threads=choice.threads)
    if own.complete or choice.describer is None:
        return own
    own.close()
    return Describer(read_artifact(choice.describer), threads=choice.threads)


def _thresholds(tracker: Tracker) -> dict[str, dict[str, float]]:
    ranges = tracker.threshold_ranges
    return {
        name: {"exported": value, "least": ranges[name][0], "most": ranges[name][1]}
        for name, value in tracker.thresholds.items()
    }


def _verdict(verification: Mapping[str, Any] | None) -> str:
    verdict = (verification or {}).get("verdict")
    return verdict if isinstance(verdict, str) else "not run"
