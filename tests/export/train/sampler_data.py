"""A source in memory: noise images, three sequences and some stills."""

from __future__ import annotations

import numpy as np

from edgetrack.data.sources import IndexedTrack

NAN_BOX = (np.nan,) * 4


class MemorySource:
    """Images and tracks that were given."""

    def __init__(self, images, tracks=()):
        self.images = images
        self.tracks = tracks

    def __len__(self):
        return len(self.images)

    def shape(self, index):
        return self.images[index].shape[:2]

    def read(self, index):
        return self.images[index]


def noise(generator, height, width):
    return generator.integers(1, 256, (height, width, 3), np.uint8)


def made_source() -> MemorySource:
    """Two sequences of "walk" (40 and 24 frames, the first with absences), one too short one, six stills of "still"."""
    generator = np.random.default_rng(3)
    images, tracks = [], []
    for name, frames in (("one", 40), ("two", 24), ("short", 19)):
        first = len(images)
        images += [noise(generator, 60, 80) for _ in range(frames)]
        boxes = np.stack([[5 + 0.7 * frame, 10.25, 20, 16.5] for frame in range(frames)])
        if name == "one":
            boxes[10:16] = NAN_BOX
        tracks.append(IndexedTrack(f"walk-{name}", "walk", np.arange(first, first + frames), boxes))
    for number in range(6):
        images.append(noise(generator, 50 + number, 70))
        tracks.append(
            IndexedTrack(f"still-{number}", "still", np.array([len(images) - 1]), np.array([[20.0, 15, 14, 22]]))
        )
    return MemorySource(images, tracks)
