"""Data sets into one file that opens at once: images reduced and compressed again, boxes scaled with them."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.annotations import MAX_TEXT
from edgetrack.data.decode import MAX_SIDE, Image, decode_bgr, image_shape, read_bytes
from edgetrack.data.pack_format import ENCODINGS, HEADER_BYTES, Entry, Index, encode_index, pack_header
from edgetrack.data.sources import PACK_SUFFIX
from edgetrack.data.track import Track, absent_outside
from edgetrack.errors import InputError
from edgetrack.video.boxes import check_writable
from edgetrack.video.opencv import import_cv2

__all__ = ["PackSummary", "pack"]

_AHEAD = 64
_MAX_THREADS = 8


@dataclass(frozen=True)
class PackSummary:
    """What `pack` has written.

    Attributes:
        tracks: number of tracks.
        frames: number of their frames; an image with several boxes has several.
        images: number of images.
        absent: number of frames without their target.
        reduced: number of images that were larger than the side asked for.
        kept: number of images taken over byte by byte.
        size_bytes: of the file.
    """

    tracks: int
    frames: int
    images: int
    absent: int
    reduced: int
    kept: int
    size_bytes: int


@dataclass(frozen=True)
class _Settings:
    """How images are reduced and encoded: see `pack`."""

    side: int | None
    quality: int
    encoding: str


@dataclass(frozen=True)
class _Packed:
    """One image on its way: the file, its size before and now (height, width), and whether it was not touched."""

    data: bytes
    before: tuple[int, int]
    after: tuple[int, int]
    kept: bool


def pack(
    tracks: Sequence[Track],
    path: str | Path,
    *,
    side: int | None = None,
    quality: int = 85,
    encoding: str = "jpeg",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> PackSummary:
    """Write the images of tracks into one file, each once, with all boxes; `PackedSource` reads it.

    An image whose longest side is above `side` is reduced to it (area averaging), never enlarged. A file that needs no
    reducing is taken over as it is where encoding it again would not make it smaller. The packed file gets its name
    last, so that no half of it is ever seen; the same data and OpenCV give the same bytes, with any number of threads.

    Args:
        tracks: what to pack, in the order wanted.
        path: the file, *.etpack; replaced where it exists.
        side: longest side in pixels; None: images keep their size.
        quality: of the encoding, 1 to 100.
        encoding: "jpeg", or "webp": about 0.7 times the bytes at equal error, ten times as long to pack.
        threads: that decode and encode; None: one a processor, at most eight.
        progress: called with the number of images done since the last call.

    Raises:
        InputError: there is nothing to pack, an option or image cannot be used, or the file cannot be written.
        EngineUnavailable: OpenCV is not installed.
    """
    path = Path(path)
    settings = _Settings(side, quality, encoding)
    _check(tracks, path, settings)
    real = Path(os.path.realpath(path))
    partial = real.with_name(f".{real.name}.partial-{os.getpid()}")
    try:
        _clear_leftovers(real)
        with partial.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            workers = threads or min(_MAX_THREADS, os.cpu_count() or 1)
            summary = _write(file, tracks, settings, workers, progress)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(real)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); free space or choose another folder") from error
    finally:
        partial.unlink(missing_ok=True)
    return summary


def _check(tracks: Sequence[Track], path: Path, settings: _Settings) -> None:
    """Refuse before the work what would fail after it."""
    import_cv2()
    if not tracks:
        raise InputError("there is no track to pack; give annotated data")
    if path.suffix != PACK_SUFFIX:
        raise InputError(f"packed file {path} must be called *{PACK_SUFFIX}, that is how it is known; rename it")
    if settings.side is not None and not 16 <= settings.side <= MAX_SIDE:
        raise InputError(f"side is {settings.side}, must be 16 to {MAX_SIDE} pixels; or leave it out to keep sizes")
    if not 1 <= settings.quality <= 100:
        raise InputError(f"quality is {settings.quality}, must be 1 to 100")
    if settings.encoding not in ENCODINGS:
        raise InputError(f"encoding {settings.encoding!r} is unknown; known: {', '.join(ENCODINGS)}")
    check_writable(path)
    for track in tracks:
        if not track.images or track.boxes.shape != (len(track.images), 4):
            raise InputError(f"track {track.name}: {len(track.images)} images, boxes of shape {track.boxes.shape}")
        if max(len(track.name), len(track.dataset), len(track.text or "")) > MAX_TEXT:
            raise InputError(f"track {track.name[:80]}: a name or text is longer than {MAX_TEXT} characters")


def _clear_leftovers(path: Path) -> None:
    """Remove what killed runs left; a live one holds a lock on its file."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
        with contextlib.suppress(BlockingIOError), leftover.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink(missing_ok=True)


def _write(
    file: BinaryIO,
    tracks: Sequence[Track],
    settings: _Settings,
    threads: int,
    progress: Callable[[int], None] | None,
) -> PackSummary:
    numbers: dict[Path, int] = {}
    images = np.array([numbers.setdefault(path, len(numbers)) for track in tracks for path in track.images], np.int64)
    file.write(bytes(HEADER_BYTES))
    table = []
    for packed in _converted(list(numbers), settings, threads):
        file.write(packed.data)
        table.append((file.tell(), packed.kept, *packed.before, *packed.after))
        if progress is not None:
            progress(1)
    written = np.array(table, np.int64)
    ends, before, after = written[:, 0], written[:, 2:4], written[:, 4:6]
    boxes = _scaled(np.concatenate([track.boxes for track in tracks]), before[images], after[images])
    datasets = {dataset: number for number, dataset in enumerate(dict.fromkeys(track.dataset for track in tracks))}
    entries: list[Entry] = [(track.name, datasets[track.dataset], len(track.images), track.text) for track in tracks]
    how = (settings.encoding, settings.quality, settings.side)
    index = encode_index(Index(*how, list(datasets), entries, ends, after, images, boxes))
    file.write(index)
    size = file.tell()
    file.seek(0)
    file.write(pack_header(int(ends[-1]), index))
    return PackSummary(
        tracks=len(tracks),
        frames=len(images),
        images=len(numbers),
        absent=int(np.isnan(boxes[:, 0]).sum()),
        reduced=int((before != after).any(axis=1).sum()),
        kept=int(written[:, 1].sum()),
        size_bytes=size,
    )


def _scaled(boxes: NDArray[np.float64], before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return boxes of images (height, width) `before` in those `after`; nan where nothing of one can be seen."""
    ratio = (after / before)[:, ::-1]
    return absent_outside(boxes, *before.T.astype(np.float64)) * np.concatenate((ratio, ratio), axis=1)


def _converted(paths: Sequence[Path], settings: _Settings, threads: int) -> Iterator[_Packed]:
    """Convert images in several threads, in order, a bounded number ahead of what was taken."""
    pending: deque[Future[_Packed]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="pack")
    try:
        for path in paths:
            pending.append(executor.submit(_convert, path, settings))
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _convert(path: Path, settings: _Settings) -> _Packed:
    cv2 = import_cv2()
    data = read_bytes(path)
    image = decode_bgr(data, str(path))
    before = image_shape(data, str(path))
    if settings.side is not None and max(before) > settings.side:
        ratio = settings.side / max(before)
        height, width = (max(1, round(length * ratio)) for length in before)
        reduced: Image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return _Packed(_encode(reduced, settings, path), before, (height, width), kept=False)
    encoded = _encode(image, settings, path)
    if len(data) <= len(encoded):
        return _Packed(data, before, before, kept=True)
    return _Packed(encoded, before, before, kept=False)


def _encode(image: Image, settings: _Settings, path: Path) -> bytes:
    cv2 = import_cv2()
    if settings.encoding == "webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, settings.quality]
    else:
        options = [cv2.IMWRITE_JPEG_QUALITY, settings.quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    try:
        good, encoded = cv2.imencode(f".{settings.encoding}", image, options)
    except cv2.error:
        good = False
    if not good:
        height, width = image.shape[:2]
        raise InputError(
            f"image {path} of {width}x{height} pixels cannot be encoded as {settings.encoding} by this OpenCV; "
            "choose a smaller side or another encoding"
        )
    return bytes(encoded)
