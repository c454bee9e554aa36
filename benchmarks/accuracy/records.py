"""What a tracker said about one sequence, and the files that keep it, so that an evaluation can be resumed."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.benchmarks.accuracy.score_rule import ScoreRule
from edgetrack.errors import InputError
from edgetrack.video.boxes import FrameResult, write_text

__all__ = ["RecordStore", "SequenceRecord", "record_key"]

_SCHEMA = 1
_KIND = "edgetrack-eval-sequence"
_LISTS = ("truth", "boxes", "raw_boxes", "scores", "raw_scores", "states", "seconds")


@dataclass(frozen=True)
class SequenceRecord:
    """One sequence as tracked; all lists have one entry a frame, the first frame included.

    Attributes:
        name: of the sequence.
        dataset: it came from.
        slug: its name in files.
        width: of the frames in pixels.
        height: of the frames in pixels.
        truth: annotated boxes x, y, w, h; None where the target is absent.
        boxes: reported boxes, which stay while the target is lost.
        raw_boxes: the published loop's boxes, which toolkits score.
        scores: 0 to 1; 1 in the first frame.
        raw_scores: before calibration; None where the tracker has none. 0 for frames that could not be looked at.
        states: TRACKING, UNCERTAIN or LOST; empty where the tracker has none.
        seconds: of `init` and of each update, reading the picture not included.
    """

    name: str
    dataset: str
    slug: str
    width: int
    height: int
    truth: list[list[float] | None]
    boxes: list[list[float]]
    raw_boxes: list[list[float]]
    scores: list[float]
    raw_scores: list[float | None]
    states: list[str]
    seconds: list[float]

    def truth_array(self) -> NDArray[np.float64]:
        """Return the annotated boxes (frames, 4), nan where the target is absent."""
        return np.array([row or [math.nan] * 4 for row in self.truth], np.float64)

    def raw_array(self) -> NDArray[np.float64]:
        """Return the published loop's boxes (frames, 4)."""
        return np.array(self.raw_boxes, np.float64)

    @property
    def has_states(self) -> bool:
        """Whether the tracker has states and raw scores."""
        return all(self.states) and None not in self.raw_scores

    def under(self, rule: ScoreRule) -> SequenceRecord:
        """Return what the tracker would have said with another rule for scores and states.

        The rule decides nothing but scores, states and which boxes are reported: the loop goes on in any case.
        """
        scores, states, boxes = self.scores[:1], self.states[:1], self.boxes[:1]
        for raw, raw_box in zip(self.raw_scores[1:], self.raw_boxes[1:], strict=True):
            seen = raw is not None and raw > 0
            scores.append(rule.score_of(raw) if seen and raw is not None else 0.0)
            states.append(rule.state_of(scores[-1]) if seen else "LOST")
            boxes.append(boxes[-1] if states[-1] == "LOST" else raw_box)
        return replace(self, scores=scores, states=states, boxes=boxes)

    def results(self) -> list[FrameResult]:
        """Return what `edgetrack.video.write_boxes` writes."""
        rows = zip(self.boxes, self.raw_boxes, self.scores, self.states, self.seconds, strict=True)
        return [
            FrameResult(_box(box), _box(raw), state != "LOST", score, state, seconds)
            for box, raw, score, state, seconds in rows
        ]


def record_key(identity: str, fingerprint: str) -> str:
    """Return what a finished sequence is known by: the tracker's identity and the data's fingerprint."""
    return hashlib.sha256(f"{_SCHEMA} {identity} {fingerprint}".encode()).hexdigest()


class RecordStore:
    """A folder of finished sequences, one JSON file each."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when the first sequence is saved."""
        self.folder = folder

    def load(self, slug: str, key: str) -> SequenceRecord | None:
        """Return the finished sequence; None where there is none, or one of another tracker or other data.

        A file that cannot be understood counts as missing: the sequence is tracked again.
        """
        try:
            found = json.loads((self.folder / f"{slug}.json").read_text(encoding="utf-8"))
            if (found["kind"], found["schema"], found["key"]) != (_KIND, _SCHEMA, key):
                return None
            record = SequenceRecord(**found["record"])
            if len({len(getattr(record, name)) for name in _LISTS}) != 1:
                return None
            if not np.isfinite(record.raw_array()).all() or record.truth_array().shape != record.raw_array().shape:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record

    def save(self, record: SequenceRecord, key: str) -> None:
        """Keep a finished sequence; no half of it is ever seen.

        Raises:
            InputError: the file cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make {self.folder} ({error.strerror}); choose another --output") from error
        document: dict[str, Any] = {"kind": _KIND, "schema": _SCHEMA, "key": key, "record": asdict(record)}
        write_text(self.folder / f"{record.slug}.json", json.dumps(document, allow_nan=False))


def _box(values: list[float]) -> tuple[float, float, float, float]:
    x, y, w, h = values
    return (x, y, w, h)
