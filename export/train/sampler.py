"""Draws training batches for stages 1 and 2 (spec section 5.1): chance on the host, pixels on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.data.sources import IndexedTrack
from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.train.augment import Effects, draw_effects, normalise
from edgetrack.export.train.bank import ImageBank
from edgetrack.export.train.crops import cut, unpack
from edgetrack.export.train.geometry import (
    CropSizes,
    Windows,
    blank,
    corners,
    crop_windows,
    jitter,
    mirror,
    quantise,
    stretch,
)
from edgetrack.export.train.indices import FrameChooser, Frames
from edgetrack.export.train.paste import draw_distractors, draw_occlusions, paste
from edgetrack.export.train.sampler_settings import SamplerSettings

__all__ = ["Batch", "Sampler", "SamplerSettings", "Shown"]

_ROUNDS = 1000  # of redrawing samples that cannot be used


class Shown(NamedTuple):
    """The newest template and the search view of samples, cut as another tracker takes them."""

    templates: Tensor  # (B, 1, 3, T, T) float32, RGB, normalised
    search: Tensor  # (B, 3, size, size) float32, RGB, normalised


class Batch(NamedTuple):
    """Samples on the device, but for `tracks`."""

    templates: Tensor  # (B, S, 3, T, T) float32, RGB, normalised; slot 0 is the newest
    search: Tensor  # (B, 3, size, size) float32, RGB, normalised
    corners: Tensor  # (B, 4) float32, x1 y1 x2 y2 of the target, 0 to 1 across the search crop, within -0.5 to 1.5
    target: Tensor  # (B, 4) int64, their bins, 0 to 598
    tracks: Tensor  # (B,) int64 on the host, numbers of tracks
    shown: Shown | None = None  # to a teacher that takes other crops than the student


class _Views(NamedTuple):
    """The crops of n samples, (n, S + 1, ...): the templates, then the search view."""

    frames: Frames
    middles: NDArray[np.float64]  # (n, S + 1, 2) of the jittered boxes
    windows: Windows


class Sampler:
    """An endless stream of batches, the same for the same seed, rank, data and settings, whatever the device."""

    def __init__(
        self,
        bank: ImageBank,
        tracks: Sequence[IndexedTrack],
        settings: SamplerSettings,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        teacher: CropSizes | None = None,
    ) -> None:
        """Prepare to draw.

        Args:
            bank: the images.
            tracks: what to draw from; their image numbers are the bank's.
            settings: how.
            seed: at least 0.
            rank: of this process among `world` ones; each draws a stream of its own.
            world: number of processes.
            teacher: cut each sample in these sizes too, see `Batch.shown`; nothing else of the stream changes.

        Raises:
            InputError: a number is out of range, a track names an image that the bank does not have, or none is usable.
        """
        if seed < 0 or not 0 <= rank < world:
            raise InputError(
                f"seed {seed}, rank {rank} of {world} processes; give a seed from 0 and a rank below world"
            )
        self._bank = bank
        self._tracks = tracks
        self._settings = settings
        self._teacher = teacher
        self._stream = {"seed": seed, "rank": rank, "world": world}
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(rank,))))
        self._drawn = 0
        for track in tracks:
            numbers = np.asarray(track.images)
            if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(bank):
                raise InputError(f"track {track.name} names image {numbers.max()} of {len(bank)}; read the data anew")
        self._chooser = FrameChooser(tracks, settings.templates, settings.gap, settings.ratio_of_dataset())
        self._extent = np.stack([bank.widths, bank.heights], -1).astype(np.float64)

    @property
    def device(self) -> torch.device:
        """Where the batches are made."""
        return self._bank.device

    @property
    def usable(self) -> dict[str, int]:
        """Data set -> number of its tracks that are drawn from."""
        return dict(self._chooser.counts)

    def batch(self, size: int) -> Batch:
        """Draw the next `size` samples.

        Raises:
            InputError: `size` is below 1, or no crop of the data shows its target.
        """
        if size < 1:
            raise InputError(f"a batch of {size} samples; give at least 1")
        views = self._draw(size)
        slots, generator, settings = self._settings.templates, self._generator, self._settings
        joint = generator.random(size) < settings.joint_flip
        flip = generator.random((size, slots + 1)) < settings.flip
        effects = draw_effects(settings, size, slots + 1, generator)
        found = corners(
            views.frames.box[:, slots],
            views.middles[:, slots],
            Windows(views.windows.start[:, slots], views.windows.side[:, slots]),
            settings.search_size,
            joint,
            exact=settings.exact_centre,
        )
        found = np.clip(mirror(found, flip[:, slots]), -0.5, 1.5)
        mirrored = flip ^ joint[:, None]
        templates = self._cut(views, mirrored, slice(0, slots), settings.template_size)
        search = self._cut(views, mirrored, slice(slots, None), settings.search_size)
        for draw, probability in ((draw_distractors, settings.distractor), (draw_occlusions, settings.occlusion)):
            if probability:
                paste(search, draw(found, settings.search_size, probability, generator))
        shown = None if self._teacher is None else self._show(self._teacher, views, mirrored, effects)
        self._drawn += size
        return Batch(
            normalise(unpack(templates), effects.views(slice(0, slots))).view(size, slots, 3, *templates.shape[1:]),
            normalise(unpack(search), effects.views(slice(slots, None))),
            torch.from_numpy(found.astype(np.float32)).to(self._bank.device, non_blocking=True),
            torch.from_numpy(quantise(found)).to(self._bank.device, non_blocking=True),
            torch.from_numpy(views.frames.track),
            shown,
        )

    def names(self, batch: Batch) -> list[str]:
        """Return the names of the tracks in a batch, in its order."""
        return [self._tracks[number].name for number in batch.tracks.tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on from here: plain numbers and texts."""
        return {**self._stream, "drawn": self._drawn, "generator": self._generator.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called.

        Raises:
            CheckpointError: the state is of another seed, rank or number of processes, or damaged.
        """
        for key, value in self._stream.items():
            if state.get(key) != value:
                raise CheckpointError(
                    f"the saved sampler has {key} {state.get(key)}, this run {value}; make them equal"
                )
        try:
            drawn = int(state["drawn"])
            self._generator.bit_generator.state = state["generator"]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the saved sampler is damaged ({error!r}); start from an earlier one") from error
        self._drawn = drawn

    def _draw(self, size: int) -> _Views:
        """Draw the crops of `size` samples; those that cannot be used are drawn anew."""
        views = self._try(size)
        for _ in range(_ROUNDS):
            bad = np.flatnonzero(self._unusable(views))
            if not len(bad):
                return views
            _replace(views, bad, self._try(len(bad)))
        raise InputError(f"{len(bad)} samples in {_ROUNDS} draws show nothing; check the boxes of the data")

    def _try(self, size: int) -> _Views:
        settings, generator, slots = self._settings, self._generator, self._settings.templates
        frames = self._chooser.draw(size, generator)
        templates = jitter(
            frames.box[:, :slots], settings.template_centre_jitter, settings.template_scale_jitter, generator
        )
        search = jitter(frames.box[:, slots:], settings.centre_jitter, settings.scale_jitter, generator)
        moving = frames.still if settings.motion else np.zeros_like(frames.still)
        templates[moving] = jitter(templates[moving], settings.motion, settings.motion, generator)
        boxes = np.concatenate([templates, search], 1)
        factor = np.array([settings.template_factor] * slots + [settings.search_factor])
        windows = crop_windows(boxes, factor)
        turn = settings.motion * generator.standard_normal((int(moving.sum()), slots + 1)) / 2
        stretched = stretch(Windows(*(part[moving] for part in windows)), np.exp(np.stack([turn, -turn], -1)))
        windows.start[moving], windows.side[moving] = stretched
        return _Views(frames, boxes[..., :2] + boxes[..., 2:] / 2, windows)

    def _unusable(self, views: _Views) -> NDArray[np.bool_]:
        extent = self._extent[views.frames.image]
        sizes = np.repeat([self._settings.template_size, self._settings.search_size], [self._settings.templates, 1])
        columns = [
            blank(Windows(views.windows.start[:, view], views.windows.side[:, view]), extent[:, view], int(size))
            for view, size in enumerate(sizes)
        ]
        return np.asarray(np.any(columns, 0))

    def _show(self, sizes: CropSizes, views: _Views, mirrored: NDArray[np.bool_], effects: Effects) -> Shown:
        """Cut the newest template and the search view as another tracker takes them.

        Windows have the same middle as the student's, are stretched and mirrored alike, and the colours change alike.
        What is pasted onto the student's view is left out: a teacher should know where the target is all the same.
        """
        settings, slots = self._settings, self._settings.templates
        crops = []
        for view, size, ratio in (
            (0, sizes.template_size, sizes.template_factor / settings.template_factor),
            (slots, sizes.search_size, sizes.search_factor / settings.search_factor),
        ):
            windows = stretch(Windows(views.windows.start[:, view], views.windows.side[:, view]), np.array(ratio))
            words = cut(self._bank, views.frames.image[:, view], windows, mirrored[:, view], size)
            crops.append(normalise(unpack(words), effects.views(slice(view, view + 1))))
        return Shown(crops[0][:, None], crops[1])

    def _cut(self, views: _Views, mirrored: NDArray[np.bool_], which: slice, size: int) -> Tensor:
        windows = Windows(*(part[:, which].reshape(-1, 2) for part in views.windows))
        images = views.frames.image[:, which].reshape(-1)
        return cut(self._bank, images, windows, mirrored[:, which].reshape(-1), size)


def _replace(views: _Views, rows: NDArray[np.int64], fresh: _Views) -> None:
    """Put the samples `fresh` into the rows of `views`, in place."""
    old = (*views.frames, views.middles, *views.windows)
    new = (*fresh.frames, fresh.middles, *fresh.windows)
    for table, values in zip(old, new, strict=True):
        table[rows] = values
