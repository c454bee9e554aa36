"""The annotated clips that a calibration is made of, and how they are divided: one part to calibrate, one to judge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.metrics import present
from edgetrack.demo import CLIP, DEMO, GROUND_TRUTH
from edgetrack.errors import CalibrationError, InputError
from edgetrack.video import open_source, read_ground_truth

__all__ = ["HELD_OUT_SHARE", "AnnotatedClip", "Section", "divide", "read_clips"]

HELD_OUT_SHARE = 0.25
"""Of the clips, or of the one clip's frames that show the target, kept out of the calibration."""

_TRUTH = "groundtruth.txt"
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_FEWEST = 8  # frames that show the target, in each part


@dataclass(frozen=True, eq=False)
class AnnotatedClip:
    """Frames and the target's box in each.

    Attributes:
        name: for reports.
        boxes: float64 (frames, 4), x, y, w, h in pixels; a row of nan where the target is absent.
        images: one file a frame; empty where `video` holds the frames.
        video: a video file.
    """

    name: str
    boxes: NDArray[np.float64]
    images: tuple[Path, ...] = ()
    video: Path | None = None

    def frames(self, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Read frames `start` to `stop` (not included): uint8 RGB (height, width, 3), C-contiguous.

        Raises:
            CalibrationError: one cannot be read.
        """
        try:
            if self.video is not None:
                yield from self._of_video(self.video, start, stop)
                return
            from edgetrack.data.decode import decode_rgb, read_bytes

            for path in self.images[start:stop]:
                yield decode_rgb(read_bytes(path), str(path))
        except InputError as error:
            raise CalibrationError(f"calibration clip {self.name}: {error}") from error

    def _of_video(self, path: Path, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        with open_source(str(path)) as source:
            for number, frame in enumerate(source):
                if number >= stop:
                    return
                if number >= start:
                    yield np.ascontiguousarray(frame[..., ::-1])
        if number + 1 < stop:
            raise CalibrationError(
                f"calibration clip {self.name}: {number + 1} frames can be decoded, {len(self.boxes)} have boxes; "
                "get the file anew"
            )


@dataclass(frozen=True, eq=False)
class Section:
    """Frames `start` to `stop` (not included) of a clip; the first one shows the target."""

    clip: AnnotatedClip
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The clip's name, and which frames where it is not the whole clip."""
        whole = (self.start, self.stop) == (0, len(self.clip.boxes))
        return self.clip.name if whole else f"{self.clip.name}[{self.start}:{self.stop}]"

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The boxes of its frames."""
        return self.clip.boxes[self.start : self.stop]

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """See `AnnotatedClip.frames`."""
        return self.clip.frames(self.start, self.stop)


def read_clips(spec: str) -> list[AnnotatedClip]:
    """Read what --calib names.

    Args:
        spec: a video with groundtruth.txt beside it (or with a text file of its own name), a folder of images that
            holds groundtruth.txt, a folder of such, a data set as `edgetrack.data.read_tracks` takes it (KIND:PATH), or
            "demo" for the clip that comes with edgetrack.

    Raises:
        CalibrationError: it is not there, cannot be read, or has no boxes.
    """
    if spec == DEMO:
        return [AnnotatedClip(f"demo_{CLIP.stem}", read_ground_truth(GROUND_TRUTH), video=CLIP)]
    path = Path(spec)
    try:
        if path.is_file() and path.suffix.lower() in _VIDEOS:
            return [_video(path)]
        if path.is_dir():
            found = _folder(path) or [clip for entry in sorted(path.iterdir()) for clip in _entry(entry)]
            if found:
                return found
        return _data_set(spec)
    except CalibrationError:
        raise
    except InputError as error:
        raise CalibrationError(f"--calib {spec}: {error}") from error
    except OSError as error:
        raise CalibrationError(f"--calib {spec} cannot be read ({error.strerror}); check its permissions") from error


def divide(clips: Sequence[AnnotatedClip], seed: int) -> tuple[list[Section], list[Section]]:
    """Return the sections to calibrate with and those to judge by, which have no frame in common.

    Of several clips a quarter is held out, chosen with `seed`; of a single one the end.

    Raises:
        CalibrationError: there is too little that shows the target.
    """
    usable = [section for clip in clips if (section := _section(clip, 0, len(clip.boxes))) is not None]
    if len(usable) > 1:
        order = np.random.default_rng(seed).permutation(len(usable))
        count = max(1, round(HELD_OUT_SHARE * len(usable)))
        held = {int(number) for number in order[:count]}
        parts = [[item for number, item in enumerate(usable) if (number in held) == out] for out in (False, True)]
        return parts[0], parts[1]
    if usable:
        clip = usable[0].clip
        seen = np.flatnonzero(present(clip.boxes))
        cut = int(seen[math.floor((1 - HELD_OUT_SHARE) * len(seen))])
        first, second = _section(clip, 0, cut), _section(clip, cut, len(clip.boxes))
        if first is not None and second is not None:
            return [first], [second]
    names = ", ".join(clip.name for clip in clips)
    raise CalibrationError(
        f"the target can be seen in too few frames of {names}: a calibration takes {_FEWEST}, and as many are held out "
        "to judge it; give a longer clip, or more of them"
    )


def _section(clip: AnnotatedClip, start: int, stop: int) -> Section | None:
    """Return the part from the first frame with the target on; None if it can be seen in too few."""
    seen = np.flatnonzero(present(clip.boxes[start:stop]))
    return Section(clip, start + int(seen[0]), stop) if len(seen) >= _FEWEST else None


def _entry(path: Path) -> list[AnnotatedClip]:
    """Return the clip that an entry of a folder of clips is, if it is one."""
    if path.is_dir():
        return _folder(path)
    return [_video(path)] if path.suffix.lower() in _VIDEOS else []


def _folder(path: Path) -> list[AnnotatedClip]:
    """Return the clip that a folder with groundtruth.txt and images, or `img/`, is; nothing if it is none."""
    truth = path / _TRUTH
    videos = [entry for entry in path.iterdir() if entry.suffix.lower() in _VIDEOS]
    if not truth.is_file() or (path / "img").is_dir() or videos:
        return []
    images = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in {".jpg", ".jpeg", ".png", ".bmp"})
    boxes = read_ground_truth(truth)
    if len(images) != len(boxes):
        raise CalibrationError(f"{path} has {len(images)} images and {len(boxes)} boxes; get the clip anew")
    return [AnnotatedClip(path.name, boxes, tuple(images))]


def _video(path: Path) -> AnnotatedClip:
    for truth in (path.with_suffix(".txt"), path.with_name(_TRUTH)):
        if truth.is_file():
            return AnnotatedClip(path.stem, read_ground_truth(truth), video=path)
    raise CalibrationError(
        f"video {path} has no boxes: neither {path.stem}.txt nor {_TRUTH} is beside it; a calibration needs the "
        "target's box in each frame, x,y,w,h a line"
    )


def _data_set(spec: str) -> list[AnnotatedClip]:
    from edgetrack.data import read_tracks

    tracks = read_tracks(spec)
    if all(track.still for track in tracks):
        raise CalibrationError(f"--calib {spec} holds still images, which have nothing to follow; give clips")
    return [AnnotatedClip(track.name, track.boxes, tuple(track.images)) for track in tracks if not track.still]
