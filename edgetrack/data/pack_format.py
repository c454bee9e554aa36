"""The packed file of images: a header, images one after the other, an index. Written and read here, nowhere else.

    header, 64 bytes   magic (8), version (u32), nothing (u32), where the index starts (u64), its length (u64),
                       SHA-256 of the index (32)
    images             files that decode.py reads, from byte 64 to the index, without gaps
    index              length of the JSON (u64), the JSON, then tables: end of each image in the file (u64), height and
                       width of each (2 x u16), image of each frame (u32), box of each frame (4 x f32: x, y, w, h in
                       pixels of the packed image, nan: target absent)
    JSON               images, frames (numbers of them), encoding, quality, side (how they were packed), datasets
                       (names), tracks (name, number of its data set, number of frames, text or null; in the order of
                       the frames)

All numbers are little-endian. A file is untrusted: whatever does not add up is refused before it is used.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.annotations import MAX_TEXT
from edgetrack.data.decode import MAX_SIDE
from edgetrack.data.track import MAX_COORDINATE, Boxes
from edgetrack.errors import InputError

__all__ = [
    "ENCODINGS",
    "HEADER_BYTES",
    "Entry",
    "Index",
    "decode_index",
    "encode_index",
    "pack_header",
    "unpack_header",
]

HEADER_BYTES = 64
"""Where the first image starts."""
ENCODINGS = ("jpeg", "webp")
"""How images may be encoded."""

_MAGIC = b"ETPACK\r\n"  # a transfer that changes line ends shows at once
_VERSION = 1
_HEADER = struct.Struct("<8sIIQQ32s")
_LENGTH = struct.Struct("<Q")
_MAX_INDEX_BYTES = 1 << 32
_MAX_IMAGE_BYTES = 1 << 28
_REMEDY = "pack the data again"

Entry = tuple[str, int, int, "str | None"]
"""Of a track: name, number of its data set, number of frames, text."""


@dataclass(frozen=True, eq=False)
class Index:
    """What a packed file holds.

    Attributes:
        encoding: of the images that were not taken over as they were; one of `ENCODINGS`.
        quality: of that encoding, 1 to 100.
        side: longest side that images were reduced to, in pixels; None: none was.
        datasets: names of the data sets.
        tracks: in the order of their frames.
        ends: int64 (images,), where each image ends in the file; the first starts at `HEADER_BYTES`.
        shapes: int64 (images, 2), height and width.
        images: int64 (frames,), the image of each frame.
        boxes: float64 (frames, 4), x, y, w, h in pixels of the image, or all nan.
    """

    encoding: str
    quality: int
    side: int | None
    datasets: Sequence[str]
    tracks: Sequence[Entry]
    ends: NDArray[np.int64]
    shapes: NDArray[np.int64]
    images: NDArray[np.int64]
    boxes: Boxes


def encode_index(index: Index) -> bytes:
    """Return the bytes of an index."""
    document = {
        "datasets": list(index.datasets),
        "encoding": index.encoding,
        "frames": len(index.images),
        "images": len(index.ends),
        "quality": index.quality,
        "side": index.side,
        "tracks": [list(entry) for entry in index.tracks],
    }
    text = json.dumps(document, separators=(",", ":"), sort_keys=True).encode("ascii")
    tables = (
        index.ends.astype("<u8"),
        index.shapes.astype("<u2"),
        index.images.astype("<u4"),
        index.boxes.astype("<f4"),
    )
    return b"".join((_LENGTH.pack(len(text)), text, *(table.tobytes() for table in tables)))


def pack_header(index_at: int, index: bytes) -> bytes:
    """Return the header of a file whose index `index` starts at byte `index_at`."""
    return _HEADER.pack(_MAGIC, _VERSION, 0, index_at, len(index), hashlib.sha256(index).digest())


def unpack_header(header: bytes, size: int, name: str) -> tuple[int, int, bytes]:
    """Read a header.

    Args:
        header: the first 64 bytes of the file, or fewer where it is shorter.
        size: of the file.
        name: of the file, for messages.

    Returns:
        where the index starts, its length, its SHA-256.

    Raises:
        InputError: it is another kind of file, another version, cut off, or damaged.
    """
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        raise InputError(f"{name} is not a packed file of edgetrack; make one with edgetrack pack")
    _, version, _, start, length, digest = _HEADER.unpack(header)
    if version != _VERSION:
        raise InputError(f"{name} is a packed file of version {version}, this edgetrack reads {_VERSION}; {_REMEDY}")
    if start < HEADER_BYTES or start + length != size or not _LENGTH.size <= length <= _MAX_INDEX_BYTES:
        raise InputError(f"{name} is cut off or damaged: {size} bytes, its header says {start + length}; {_REMEDY}")
    return start, length, digest


def decode_index(data: bytes, index_at: int, digest: bytes, name: str) -> Index:
    """Read an index and check that everything in it adds up.

    Args:
        data: the bytes of the index.
        index_at: where it starts in the file, which is where the last image ends.
        digest: the SHA-256 that it must have.
        name: of the file, for messages.

    Raises:
        InputError: it does not add up.
    """
    if hashlib.sha256(data).digest() != digest:
        raise InputError(f"{name} is damaged: the SHA-256 of its index is not the one in its header; {_REMEDY}")
    try:
        (length,) = _LENGTH.unpack_from(data)
        _require(length <= len(data) - _LENGTH.size, "the length of its JSON")
        document = json.loads(data[_LENGTH.size : _LENGTH.size + length])
        _require(isinstance(document, dict), "its JSON")
        index = _from_parts(document, data[_LENGTH.size + length :])
        _check_tables(index, index_at)
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{name} is damaged or made to mislead ({str(error)[:120]}); {_REMEDY}") from error
    return index


def _require(good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"{what} cannot be right")


def _whole(value: object, low: int, high: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{what} cannot be right")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"{what} cannot be right")
    return value


def _from_parts(document: dict[str, Any], tables: bytes) -> Index:
    images = _whole(document["images"], 1, len(tables), "the number of images")
    frames = _whole(document["frames"], 1, len(tables), "the number of frames")
    _require(len(tables) == images * 12 + frames * 20, "the length of its tables")
    at_shapes, at_images, at_boxes = images * 8, images * 12, images * 12 + frames * 4
    datasets, tracks, side = document["datasets"], document["tracks"], document["side"]
    _require(isinstance(datasets, list) and isinstance(tracks, list), "the list of tracks")
    _require(document["encoding"] in ENCODINGS, "the encoding")
    return Index(
        side=None if side is None else _whole(side, 1, MAX_SIDE, "side"),
        encoding=document["encoding"],
        quality=_whole(document["quality"], 1, 100, "quality"),
        datasets=[_text(dataset, "the name of a data set") for dataset in datasets],
        tracks=[_entry(track, len(datasets), frames) for track in tracks],
        ends=np.frombuffer(tables[:at_shapes], "<u8").astype(np.int64),
        shapes=np.frombuffer(tables[at_shapes:at_images], "<u2").reshape(-1, 2).astype(np.int64),
        images=np.frombuffer(tables[at_images:at_boxes], "<u4").astype(np.int64),
        boxes=np.frombuffer(tables[at_boxes:], "<f4").reshape(-1, 4).astype(np.float64),
    )


def _entry(value: object, datasets: int, frames: int) -> Entry:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError("the entry of a track cannot be right")
    name, dataset, count, text = value
    return (
        _text(name, "the name of a track"),
        _whole(dataset, 0, datasets - 1, "the data set of a track"),
        _whole(count, 1, frames, "the number of frames of a track"),
        None if text is None else _text(text, "the text of a track"),
    )


def _check_tables(index: Index, index_at: int) -> None:
    sizes = np.diff(index.ends, prepend=HEADER_BYTES)
    whole = sizes.min() > 0 and sizes.max() <= _MAX_IMAGE_BYTES and index.ends[-1] == index_at
    _require(bool(whole), "the places of its images")
    _require(bool(index.shapes.min() > 0 and index.shapes.max() <= MAX_SIDE), "the size of an image")
    _require(bool(index.images.max() < len(index.ends)), "the image of a frame")
    _require(sum(entry[2] for entry in index.tracks) == len(index.images), "the number of frames")
    absent = np.isnan(index.boxes)
    boxes = np.where(absent, 1.0, index.boxes)
    fine = (absent.all(axis=1) == absent.any(axis=1)) & (np.abs(boxes) <= MAX_COORDINATE).all(axis=1)
    _require(bool((fine & (boxes[:, 2:] > 0).all(axis=1)).all()), "a box")
