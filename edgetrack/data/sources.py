"""Images by number, and the tracks that refer to them: from folders, from packed files, or from both."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.decode import Image, Shape, decode_rgb, image_shape, read_bytes
from edgetrack.data.track import Boxes, Track, absent_outside
from edgetrack.errors import InputError

__all__ = ["PACK_SUFFIX", "FolderSource", "ImageSource", "IndexedTrack", "open_source"]

PACK_SUFFIX = ".etpack"

_HEADER_BYTES = 1 << 16


@dataclass(frozen=True, eq=False)
class IndexedTrack:
    """A `Track` whose images are numbers in an `ImageSource`.

    Attributes:
        name: as in `Track`.
        dataset: as in `Track`.
        images: int64 (frames,), which image each frame is.
        boxes: float64 (frames, 4), x, y, w, h in pixels of the image that the source returns; a row of nan where the
            target is absent or its box does not touch the image. All other boxes have an area.
        text: as in `Track`.
    """

    name: str
    dataset: str
    images: NDArray[np.int64]
    boxes: Boxes
    text: str | None = None

    @property
    def still(self) -> bool:
        """Whether this is one image, not a sequence."""
        return len(self.images) == 1


class ImageSource(Protocol):
    """Images by number; `read` and `shape` may be called from several threads at once."""

    @property
    def tracks(self) -> Sequence[IndexedTrack]:
        """All tracks."""

    def __len__(self) -> int:
        """Return the number of images."""

    def shape(self, index: int) -> Shape:
        """Return height and width of an image in pixels, without decoding it."""

    def read(self, index: int) -> Image:
        """Return an image, uint8 (height, width, 3) RGB.

        Raises:
            InputError: it is missing or damaged.
            EngineUnavailable: OpenCV is not installed.
        """


class FolderSource:
    """Images from their files, decoded at each `read`; an image that many tracks share is one image."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        """Number the images and look at the size of each track's first.

        Raises:
            InputError: an image looked at is missing or damaged.
        """
        numbers: dict[Path, int] = {}
        self._shapes: dict[int, Shape] = {}
        indexed = [[numbers.setdefault(path, len(numbers)) for path in track.images] for track in tracks]
        self._paths = list(numbers)
        self.tracks: Sequence[IndexedTrack] = [
            IndexedTrack(
                track.name,
                track.dataset,
                np.array(images, np.int64),
                # One look a track: frames of a sequence have one size.
                absent_outside(track.boxes, *self.shape(images[0])),
                track.text,
            )
            for track, images in zip(tracks, indexed, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._paths)

    def shape(self, index: int) -> Shape:
        """See `ImageSource.shape`."""
        if index not in self._shapes:
            self._shapes[index] = shape_of_file(self._paths[index])
        return self._shapes[index]

    def read(self, index: int) -> Image:
        """See `ImageSource.read`."""
        path = self._paths[index]
        return decode_rgb(read_bytes(path), str(path))


class _JoinedSource:
    """Several sources one after the other."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = sources
        self._starts = [sum(map(len, sources[:count])) for count in range(len(sources) + 1)]
        self.tracks: Sequence[IndexedTrack] = [
            IndexedTrack(track.name, track.dataset, track.images + start, track.boxes, track.text)
            for source, start in zip(sources, self._starts, strict=False)
            for track in source.tracks
        ]

    def __len__(self) -> int:
        return self._starts[-1]

    def _find(self, index: int) -> tuple[ImageSource, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        which = bisect_right(self._starts, index) - 1
        return self._sources[which], index - self._starts[which]

    def shape(self, index: int) -> Shape:
        """See `ImageSource.shape`."""
        source, index = self._find(index)
        return source.shape(index)

    def read(self, index: int) -> Image:
        """See `ImageSource.read`."""
        source, index = self._find(index)
        return source.read(index)


def open_source(specs: Sequence[str]) -> ImageSource:
    """Open data for training.

    Args:
        specs: files of `edgetrack pack` (*.etpack) and data sets as `read_tracks` takes them; images and tracks
            come in this order.

    Raises:
        InputError: one of them cannot be read, or there is none.
    """
    from edgetrack.data.packed import PackedSource
    from edgetrack.data.readers import read_tracks

    if not specs:
        raise InputError("no data was given; name a packed file (*.etpack) or a data set as KIND:PATH")
    sources: list[ImageSource] = [
        PackedSource(spec) if spec.endswith(PACK_SUFFIX) else FolderSource(read_tracks(spec)) for spec in specs
    ]
    return sources[0] if len(sources) == 1 else _JoinedSource(sources)


def shape_of_file(path: Path) -> Shape:
    """Return height and width of an image file, reading no more of it than needed.

    Raises:
        InputError: it is missing, damaged, or too large.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError as error:
        raise InputError(
            f"image {path} cannot be read ({error.strerror}); get the file anew or leave it out"
        ) from error
    try:
        return image_shape(head, str(path))
    except InputError:
        if len(head) < _HEADER_BYTES:
            raise
    return image_shape(read_bytes(path), str(path))  # a thumbnail or profile pushed the header back
