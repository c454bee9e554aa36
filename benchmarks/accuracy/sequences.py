"""The annotated sequences that an evaluation runs on, and their frames."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError

__all__ = ["DEMO", "EvalSequence", "Frame", "read_sequences"]

Frame = NDArray[np.uint8]

DEMO = "demo"
"""Stands for the clip that comes with edgetrack, among data sets."""


@dataclass(frozen=True, eq=False)
class EvalSequence:
    """One target through one sequence.

    Attributes:
        name: in tables and results.
        dataset: which data set it came from.
        boxes: float64 (frames, 4), x, y, w, h in pixels as annotated; a row of nan where the target is absent.
        images: one file a frame; empty where `video` holds the frames.
        video: a video file.
        slug: the name for files, unique in a run.
        text: the target in a sentence, where the data set says it.
    """

    name: str
    dataset: str
    boxes: NDArray[np.float64]
    images: tuple[Path, ...] = ()
    video: Path | None = None
    slug: str = ""
    text: str | None = None

    def frames(self) -> Iterator[Frame]:
        """Read the frames, uint8 BGR (height, width, 3), as many as there are boxes.

        Raises:
            InputError: one cannot be read, or a video has fewer.
            EngineUnavailable: OpenCV is not installed.
        """
        if self.video is not None:
            yield from self._video_frames(self.video)
            return
        from edgetrack.data.decode import decode_bgr, read_bytes

        for path in self.images:
            try:
                frame = decode_bgr(read_bytes(path), str(path))
            except InputError as error:
                raise InputError(f"sequence {self.name}: {error}") from error
            yield frame

    def _video_frames(self, path: Path) -> Iterator[Frame]:
        from edgetrack.video import open_source

        with open_source(str(path)) as source:
            count = 0
            for frame in source:
                if count == len(self.boxes):
                    return
                yield frame
                count += 1
        if count < len(self.boxes):
            raise InputError(f"sequence {self.name}: {count} frames, {len(self.boxes)} boxes; get the file anew")

    def fingerprint(self) -> str:
        """Return a SHA-256 of the boxes, the text, and of names, sizes and times of the files.

        Raises:
            InputError: a file is missing.
        """
        digest = hashlib.sha256(np.ascontiguousarray(self.boxes).tobytes())
        if self.text is not None:
            digest.update(self.text.encode("utf-8", "replace"))
        try:
            for path in self.images or ((self.video,) if self.video is not None else ()):
                found = path.stat()
                digest.update(f"{path.resolve()} {found.st_size} {found.st_mtime_ns}\n".encode())
        except OSError as error:
            raise InputError(f"sequence {self.name}: {path} cannot be read ({error.strerror}); check it") from error
        return digest.hexdigest()


def read_sequences(specs: Sequence[str], only: str | None = None) -> list[EvalSequence]:
    """Read data sets for an evaluation.

    Args:
        specs: as `edgetrack.data.read_tracks` takes them, or "demo" for the clip that comes with edgetrack.
        only: take the sequences alone whose names match this pattern (as in "otb_*").

    Raises:
        InputError: a data set cannot be read, holds still images, starts without its target, or nothing is left.
    """
    found = [sequence for spec in specs for sequence in ([_demo()] if spec == DEMO else _tracks(spec))]
    chosen = [sequence for sequence in found if only is None or fnmatchcase(sequence.name, only)]
    if not chosen:
        among = f"none of {len(found)} sequences matches {only!r}" if only else "there is no sequence"
        raise InputError(f"{among} in {', '.join(specs) or 'no data at all'}; give annotated sequences with --data")
    for sequence in chosen:
        _check(sequence)
    return _with_slugs(chosen)


def _demo() -> EvalSequence:
    from edgetrack.demo import CLIP, GROUND_TRUTH, TEXT
    from edgetrack.video import read_ground_truth

    return EvalSequence(f"demo_{CLIP.stem}", DEMO, read_ground_truth(GROUND_TRUTH), video=CLIP, text=TEXT)


def _tracks(spec: str) -> list[EvalSequence]:
    from edgetrack.data import read_tracks

    tracks = read_tracks(spec)
    if any(track.still for track in tracks):
        raise InputError(f"data {spec} holds still images, which have nothing to follow; give sequences")
    return [
        EvalSequence(track.name, track.dataset, track.boxes, tuple(track.images), text=track.text) for track in tracks
    ]


def _check(sequence: EvalSequence) -> None:
    """Refuse what cannot be tracked, before the work."""
    first = sequence.boxes[0]
    if not np.isfinite(first).all() or (first[2:] <= 0).any():
        raise InputError(
            f"sequence {sequence.name}: the first box is {first.tolist()}, a tracker cannot start there; "
            "cut the frames before the target comes in, or leave the sequence out with --only"
        )
    if sequence.video is None and len(sequence.images) != len(sequence.boxes):
        raise InputError(
            f"sequence {sequence.name}: {len(sequence.images)} images, {len(sequence.boxes)} boxes; get the data anew"
        )
    if len(sequence.boxes) < 2:
        raise InputError(f"sequence {sequence.name} has one frame, tracking needs two; leave it out with --only")


def _with_slugs(sequences: list[EvalSequence]) -> list[EvalSequence]:
    """Give every sequence a file name of its own."""
    names = [re.sub(r"[^A-Za-z0-9._-]+", "_", sequence.name).strip(".") or "sequence" for sequence in sequences]
    taken: set[str] = set()
    result = []
    for sequence, name in zip(sequences, names, strict=True):
        slug = name if names.count(name) == 1 else f"{sequence.dataset}-{name}"
        if slug.lower() in taken:
            raise InputError(f"two sequences are called {sequence.name}; give a data set once, or use --only")
        taken.add(slug.lower())
        result.append(replace(sequence, slug=slug))
    return result
