"""Parity of boxes: two trackers follow one target through one clip, each on its own boxes (closed loop)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.metrics import FOLLOWS
from edgetrack.demo import TEXT
from edgetrack.errors import InputError
from edgetrack.export.parity.bins import bin_reach
from edgetrack.export.parity.report import LoopReport, iou
from edgetrack.runtime.core import CropLoop, FarTracker
from edgetrack.runtime.tracker import Tracker

__all__ = ["ArtifactLoop", "Box", "ClosedLoop", "compare_loops", "largest_difference"]

Box = tuple[float, float, float, float]

_NOT_FINITE_PX = 1e9  # reports are JSON, which has no infinity


class ClosedLoop(Protocol):
    """The published loop in PyTorch, or an artifact. Frames are uint8 RGB (height, width, 3)."""

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """Start on `frame` at `box`."""

    def update(self, frame: NDArray[np.uint8]) -> Box:
        """Track one frame and return the loop's state (x, y, w, h)."""


class ArtifactLoop:
    """A loaded artifact as a `ClosedLoop`: the state that its loop carries on, not the box it reports.

    The two differ when the tracker says that the target is lost and repeats its last good box.
    """

    def __init__(
        self, tracker: Tracker, spec: Mapping[str, Any], prompt: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        """Build the loop.

        Args:
            tracker: what is run; the caller closes it.
            spec: the manifest's "tracker" object.
            prompt: of a tracker with language, inputs of its text graph to describe the target with; None: a sentence.
        """
        self._tracker = tracker
        self._spec = spec
        self._prompt = prompt

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """See `ClosedLoop.init`."""
        language = self._tracker.language
        if language is None:
            self._tracker.init(frame, box, color="rgb")
            return
        shown = self._tracker.picture(frame, box, "rgb")
        pack = language.encode(TEXT, shown) if self._prompt is None else language.run(self._prompt, "", shown)
        self._tracker.init(frame, box, pack=pack, color="rgb")

    def update(self, frame: NDArray[np.uint8]) -> Box:
        """See `ClosedLoop.update`."""
        self._tracker.update(frame, color="rgb")
        x, y, w, h = self._tracker.core.raw_box
        return (x, y, w, h)

    @property
    def forcible(self) -> bool:
        """Whether the tracker is one of the compiled core's, which say what they decoded."""
        return isinstance(self._tracker.core, CropLoop)

    def set_state(self, box: Box) -> None:
        """See `ForcedTracker.set_state`."""
        self._tracker.core.set_state(box)

    def corners_px(self) -> NDArray[np.floating[Any]]:
        """See `ForcedTracker.corners_px`; counted from the top-left corner of the search crop, in its pixels."""
        return self._tracker.core.corners * int(self._spec["search"]["size"])

    def leads(self) -> NDArray[np.floating[Any]]:
        """See `ForcedTracker.leads`; of a centre head, four times the lead of the chosen cell's response."""
        return self._tracker.core.leads

    def reach_px(self, margin: float) -> NDArray[np.floating[Any]]:
        """See `BinTracker.reach_px`; of a centre head: anywhere, where one cell leads by less."""
        core = self._tracker.core
        if not isinstance(core, FarTracker) or core.logits is None:
            return np.where(self.leads() < margin, np.inf, 0.0)
        decode = self._spec["decode"]
        bins, span, expectation = int(decode["bins"]), int(decode["range"]), bool(decode["expectation"])
        reach = bin_reach(core.logits, margin, bins=bins, span=span, expectation=expectation)
        return reach * int(self._spec["search"]["size"])

    def kept(self) -> NDArray[np.bool_] | None:
        """See `ForcedTracker.kept`."""
        core = self._tracker.core
        return core.mask if isinstance(core, FarTracker) else None


def compare_loops(
    reference: ClosedLoop,
    candidate: ClosedLoop,
    frames: Iterable[NDArray[np.uint8]],
    box: Box,
    *,
    clip: str,
    box_px: float,
    minimum_px: float | None = None,
    truth: Sequence[Box] = (),
    on_frame: Callable[[], None] | None = None,
) -> LoopReport:
    """Run both loops over a clip and compare their boxes frame by frame.

    Args:
        reference: what counts as right.
        candidate: what is judged.
        frames: uint8 RGB frames, the first one included.
        box: the target in the first frame.
        clip: the clip's name, for the report.
        box_px: differences beyond this count as divergence.
        minimum_px: the smallest side that the loop gives a box, where it has one.
        truth: the target's box in each frame as far as it is known, not finite where it is not visible.
        on_frame: called after each frame, for progress.

    Raises:
        InputError: the clip has fewer than two frames.
    """
    overlaps: list[float] = []
    distances: list[float] = []
    following: list[bool] = []
    smallest = 0
    for index, frame in enumerate(frames):
        if index == 0:
            reference.init(frame, box)
            candidate.init(frame, box)
        else:
            expected, found = reference.update(frame), candidate.update(frame)
            overlaps.append(iou(expected, found))
            distances.append(largest_difference(expected, found))
            following.append(index < len(truth) and iou(expected, truth[index]) > FOLLOWS)
            smallest += minimum_px is not None and min(expected[2:]) <= minimum_px
        if on_frame is not None:
            on_frame()
    if not distances:
        raise InputError(f"clip {clip} has fewer than two frames; give a longer one with --clip")
    report = _summarise(clip, overlaps, distances, box_px, None if minimum_px is None else smallest)
    if not truth:
        return report
    followed = [overlap for overlap, good in zip(overlaps, following, strict=True) if good]
    mean = sum(followed) / len(followed) if followed else None
    return replace(report, followed=len(followed), followed_iou=mean)


def _summarise(
    clip: str, overlaps: list[float], distances: list[float], box_px: float, at_minimum: int | None
) -> LoopReport:
    beyond = [number for number, distance in enumerate(distances, start=1) if distance > box_px]
    return LoopReport(
        clip=clip,
        frames=len(distances),
        min_iou=min(overlaps),
        mean_iou=sum(overlaps) / len(overlaps),
        max_box_px=max(distances),
        first_divergence=beyond[0] if beyond else None,
        box_px=tuple(distances),
        at_minimum=at_minimum,
    )


def largest_difference(a: Iterable[float], b: Iterable[float]) -> float:
    """Return the largest difference of any coordinate; a huge but finite number where one is not finite."""
    differences = [float(abs(left - right)) for left, right in zip(a, b, strict=True)]
    return max(differences, default=0.0) if all(map(math.isfinite, differences)) else _NOT_FINITE_PX
