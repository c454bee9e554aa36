"""Which frames stage 3 trains on: clips of one sequence, five ground-truth templates before them (spec section 5.3).

Every clip follows from the seed and its number alone, so a resumed run continues with the same clips without any state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError
from edgetrack.export.models.fartrack_net import SLOTS
from edgetrack.export.train.sections import number

if TYPE_CHECKING:
    from edgetrack.data import IndexedTrack

__all__ = ["Clip", "ClipSampler", "ClipSettings", "draw_frames", "visible_frames"]


@dataclass(frozen=True)
class ClipSettings:
    """How a clip is drawn; the defaults are the published ones.

    Attributes:
        frames: search frames of a clip; the first gives the initial box, the others are tracked: 2 or more.
        gap: the first search frame lies less than this many frames after the last template frame.
        min_visible: a sequence needs more visible frames than this; at least `frames`. Lower both for short sequences.
    """

    frames: int = number(32, 2)
    gap: int = number(300, 1)
    min_visible: int = number(74, 2)

    def __post_init__(self) -> None:
        """Check what the values say about each other.

        Raises:
            InputError: a sequence that is long enough would not hold a clip.
        """
        if self.min_visible < self.frames:
            raise InputError(f"min_visible is {self.min_visible}; give at least `frames`, {self.frames}")


class Clip(NamedTuple):
    """What one clip shows; T search frames.

    Attributes:
        name: the sequence and its first search frame, for messages.
        template_images: int64 (5,) indices into the image source, in slot order (oldest first).
        template_boxes: float64 (5, 4) xywh in pixels.
        images: int64 (T,) indices of the search frames; a video's end is filled with its last visible frame.
        boxes: float64 (T, 4) xywh in pixels.
    """

    name: str
    template_images: NDArray[np.int64]
    template_boxes: NDArray[np.float64]
    images: NDArray[np.int64]
    boxes: NDArray[np.float64]


def visible_frames(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for xywh boxes (frames, 4) which frames (frames,) show the target: a finite box with an area."""
    visible: NDArray[np.bool_] = np.asarray(np.isfinite(boxes).all(axis=1))
    visible[visible] = (boxes[visible, 2:] > 0).all(axis=1)
    return visible


def draw_frames(
    visible: NDArray[np.bool_], settings: ClipSettings, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the template frames (5,) and the search frames (settings.frames,) of one clip (spec section 5.3).

    Templates: uniform, with replacement, among the visible frames before the last `frames` of the sequence, ascending.
    First search frame: uniform among the same frames from the last template on, less than `gap` later. Then the next
    visible frames; the last one again where the sequence ends.

    Args:
        visible: bool (N,); more than `settings.frames` of them True.
        settings: the clip's lengths.
        rng: the source of the draws.
    """
    early = np.flatnonzero(visible[: len(visible) - settings.frames])
    templates = np.sort(rng.choice(early, SLOTS))
    newest = templates[-1]
    first = rng.choice(early[(early >= newest) & (early < newest + settings.gap)])
    search = (first + np.flatnonzero(visible[first:]))[: settings.frames]
    return templates, np.pad(search, (0, settings.frames - len(search)), mode="edge")


class ClipSampler:
    """Draws clips; every data set is as likely as any other, and so is every sequence within it."""

    def __init__(self, tracks: Sequence[IndexedTrack], settings: ClipSettings, seed: int) -> None:
        """Keep the `tracks` that are long enough; `seed` must not be negative.

        Raises:
            InputError: none is long enough.
        """
        self.settings = settings
        self.seed = seed
        self._datasets: dict[str, list[IndexedTrack]] = {}
        longest = 0
        for track in tracks:
            count = int(visible_frames(track.boxes).sum())
            longest = max(longest, count)
            if count > settings.min_visible:
                self._datasets.setdefault(track.dataset, []).append(track)
        if not self._datasets:
            raise InputError(
                f"no sequence has more than {settings.min_visible} visible frames (the longest has {longest}); "
                "give longer sequences, or lower min_visible and frames of the clips"
            )

    def __len__(self) -> int:
        """Return how many sequences are long enough."""
        return sum(len(tracks) for tracks in self._datasets.values())

    def clip(self, number: int) -> Clip:
        """Return clip `number` (0, 1, ...) of the endless list that the seed stands for."""
        rng = np.random.default_rng((self.seed, number))
        tracks = self._datasets[sorted(self._datasets)[rng.integers(len(self._datasets))]]
        track = tracks[rng.integers(len(tracks))]
        templates, search = draw_frames(visible_frames(track.boxes), self.settings, rng)
        return Clip(
            name=f"{track.name} from frame {search[0]}",
            template_images=track.images[templates],
            template_boxes=track.boxes[templates],
            images=track.images[search],
            boxes=track.boxes[search],
        )
