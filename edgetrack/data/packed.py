"""Images from a packed file."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from edgetrack.data.decode import Image, Shape, decode_rgb, image_shape
from edgetrack.data.pack_format import HEADER_BYTES, Index, decode_index, unpack_header
from edgetrack.data.sources import IndexedTrack
from edgetrack.errors import InputError

__all__ = ["PackedSource"]


class PackedSource:
    """An `ImageSource` over a file of `pack`, mapped into memory; the index is read once, images when asked for.

    Example:
        with PackedSource("train.etpack") as source:
            frame = source.read(source.tracks[0].images[0])
    """

    def __init__(self, path: str | Path) -> None:
        """Map the file and check its index.

        Raises:
            InputError: it cannot be read, is no packed file, or is damaged.
        """
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: the file is empty
            raise InputError(f"packed file {path} cannot be read ({error}); check the path") from error
        try:
            start, length, digest = unpack_header(self._map[:HEADER_BYTES], len(self._map), str(path))
            self._index = decode_index(self._map[start : start + length], start, digest, str(path))
        except InputError:
            self._map.close()
            raise
        self._starts = np.concatenate(([HEADER_BYTES], self._index.ends[:-1]))
        self.tracks: Sequence[IndexedTrack] = _tracks(self._index)

    def __len__(self) -> int:
        return len(self._index.ends)

    @property
    def settings(self) -> dict[str, int | str | None]:
        """With what the file was packed: side, quality, encoding; as arguments of `pack`."""
        return {"side": self._index.side, "quality": self._index.quality, "encoding": self._index.encoding}

    def shape(self, index: int) -> Shape:
        """See `ImageSource.shape`."""
        height, width = self._index.shapes[index]
        return int(height), int(width)

    def read(self, index: int) -> Image:
        """See `ImageSource.read`."""
        name = f"{index} of {self.path}"
        data = self._map[int(self._starts[index]) : int(self._index.ends[index])]
        # Before decoding: a small file could announce a huge picture.
        if image_shape(data, name) != self.shape(index):
            raise InputError(f"image {name} has not the size that the index says; pack the data again")
        return decode_rgb(data, name)

    def close(self) -> None:
        """Release the file; nothing can be read afterwards."""
        self._map.close()

    def __enter__(self) -> PackedSource:
        """Return the source itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self.close()


def _tracks(index: Index) -> list[IndexedTrack]:
    tracks = []
    start = 0
    for name, dataset, count, text in index.tracks:
        frames = slice(start, start + count)
        tracks.append(IndexedTrack(name, index.datasets[dataset], index.images[frames], index.boxes[frames], text))
        start += count
    return tracks
