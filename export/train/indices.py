"""Which frames a training sample is made of (spec section 5.1), for a whole batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.sources import IndexedTrack
from edgetrack.errors import InputError

__all__ = ["FrameChooser", "Frames"]

_MIN_FRAMES = 20
_MIN_VISIBLE = 13  # the published code asks for more than 12
_GAP_STEP = 5
_ATTEMPTS = 10_000

Ints = NDArray[np.int64]


class Frames(NamedTuple):
    """The views of some samples: the templates first, the newest of them in slot 0, then the search frame."""

    track: Ints  # (n,) numbers of tracks
    still: NDArray[np.bool_]  # (n,) whether the track is one still image
    image: Ints  # (n, templates + 1) numbers of images in the bank
    box: NDArray[np.float64]  # (n, templates + 1, 4) x y w h, pixels


class FrameChooser:
    """Draws samples: a data set, one of its tracks, then frames of it."""

    def __init__(
        self, tracks: Sequence[IndexedTrack], templates: int, gap: int, ratios: Mapping[str, float] | None = None
    ) -> None:
        """Leave out the tracks that are too short: below 20 frames or below 13 with the target (stills are never).

        Args:
            tracks: what to draw from.
            templates: template frames per sample.
            gap: how far the other templates and the search frame lie from the newest template, frames.
            ratios: data set -> how often it is drawn, in relation to the others; 1 for those it leaves out.

        Raises:
            InputError: no track can be used, or `ratios` names an unknown data set or a number below 0.
        """
        self._templates = templates
        self._gap = gap
        visible = [_visible(track.boxes) for track in tracks]
        self._length = np.array([len(seen) for seen in visible], np.int64)
        counts = np.array([seen.sum() for seen in visible], np.int64)
        usable = np.where(self._length == 1, counts == 1, (self._length >= _MIN_FRAMES) & (counts >= _MIN_VISIBLE))
        if not usable.any():
            raise InputError(
                f"none of {len(tracks)} tracks can be trained on; give still images with a box, or sequences of at "
                f"least {_MIN_FRAMES} frames with the target in {_MIN_VISIBLE} of them"
            )
        self._images = np.concatenate([np.asarray(track.images, np.int64) for track in tracks])
        self._boxes = np.concatenate([np.asarray(track.boxes, np.float64).reshape(-1, 4) for track in tracks])
        self._start = np.cumsum(self._length) - self._length
        seen = np.concatenate(visible)
        self._seen = np.flatnonzero(seen)
        # How many visible frames of all tracks come before a frame: turns a range of frames into one of `_seen`.
        self._before = np.concatenate([[0], np.cumsum(seen)])
        self._choose_from([track.dataset for track in tracks], usable, ratios or {})

    def _choose_from(self, datasets: list[str], usable: NDArray[np.bool_], ratios: Mapping[str, float]) -> None:
        unknown = sorted(set(ratios) - set(datasets))
        if unknown:
            raise InputError(f"ratios name the data set {unknown[0]!r}; there are {', '.join(sorted(set(datasets)))}")
        groups: dict[str, list[int]] = {}
        for track in np.flatnonzero(usable):
            groups.setdefault(datasets[track], []).append(int(track))
        weights = np.array([float(ratios.get(name, 1.0)) for name in groups])
        if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise InputError(f"ratios are {dict(ratios)}; give numbers of at least 0, one of them above")
        self.counts = {name: len(members) for name, members in groups.items()}
        self._limits = np.cumsum(weights) / weights.sum()
        self._group_size = np.array([len(members) for members in groups.values()], np.int64)
        self._group_start = np.cumsum(self._group_size) - self._group_size
        self._members = np.concatenate([np.array(members, np.int64) for members in groups.values()])

    def draw(self, count: int, generator: np.random.Generator) -> Frames:
        """Draw `count` samples."""
        group = np.searchsorted(self._limits, generator.random(count), side="right").clip(max=len(self._limits) - 1)
        track = self._members[self._group_start[group] + generator.integers(0, self._group_size[group])]
        still = self._length[track] == 1
        frames = np.zeros((count, self._templates + 1), np.int64)
        frames[~still] = self._sequence_frames(track[~still], generator)
        at = self._start[track][:, None] + frames
        return Frames(track, still, self._images[at], self._boxes[at])

    def _sequence_frames(self, track: Ints, generator: np.random.Generator) -> Ints:
        """Draw the frames (n, templates + 1) of samples of sequences, until all could be drawn."""
        frames = np.zeros((len(track), self._templates + 1), np.int64)
        left = np.arange(len(track))
        for attempt in range(_ATTEMPTS):
            if len(left) == 0:
                return frames
            drawn, good = self._attempt(track[left], self._gap + _GAP_STEP * attempt, generator)
            frames[left[good]] = drawn[good]
            left = left[~good]
        raise InputError(f"no frames to train on in track {int(track[left[0]])}; leave it out")

    def _attempt(self, track: Ints, gap: int, generator: np.random.Generator) -> tuple[Ints, NDArray[np.bool_]]:
        """Try once for each track; where one of the ranges holds no visible frame, the draw is not good."""
        last = self._length[track] - 1
        first_base = np.minimum(self._templates - 1, last)
        base, good = self._pick(track, first_base, last, 1, generator)
        others, found = self._pick(track, base[:, 0] - gap, base[:, 0], self._templates - 1, generator)
        search, seen = self._pick(track, base[:, 0] + 1, base[:, 0] + gap, 1, generator)
        good &= seen & (found | (self._templates == 1))
        return np.concatenate([base, others, search], 1), good

    def _pick(
        self, track: Ints, low: Ints, high: Ints, count: int, generator: np.random.Generator
    ) -> tuple[Ints, NDArray[np.bool_]]:
        """Draw `count` visible frames of [low, high) of each track; False where there is none."""
        start, length = self._start[track], self._length[track]
        first = self._before[start + np.clip(low, 0, length)]
        number = self._before[start + np.clip(high, 0, length)] - first
        good = number > 0
        rank = (generator.random((len(track), count)) * number[:, None]).astype(np.int64)
        return self._seen[np.where(good[:, None], first[:, None] + rank, 0)] - start[:, None], good


def _visible(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.isfinite(boxes).all(1) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
