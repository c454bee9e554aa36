"""Calibration from the closed loop: the tracker follows targets of annotated clips, and its real inputs are sampled.

The loop is the float32 graphs' own, so boxes, crops and template memory are what the network meets in use. Where it
has lost its target it is put back onto the truth: crops of nothing say little about the values that matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.metrics import present
from edgetrack.errors import CalibrationError, InputError
from edgetrack.export.parity.report import iou
from edgetrack.export.precision.clips import Section
from edgetrack.export.precision.loops import open_loop, track
from edgetrack.runtime.core import CropLoop

if TYPE_CHECKING:
    from edgetrack.export.models.base import DeployGraph
    from edgetrack.export.parity.gate import Progress

__all__ = ["Samples", "Stretch", "choose_stretches", "collect"]

_SAMPLED = (1, 2, 4, 8, 14, 22, 32, 44)  # frames after the start of a stretch: the first sizes, and a grown memory
_LOST_IOU = 0.1


@dataclass(frozen=True, eq=False)
class Stretch:
    """A short run of the tracker: from frame `start` of a clip, which shows the target, over `length` frames."""

    section: Section
    start: int
    length: int


@dataclass(eq=False)
class Samples:
    """Sampled inputs, on disk: role -> files of arrays by name, in the order of sampling.

    Attributes:
        files: role -> .npz files.
        frames: tracked frames that were sampled.
        clips: the clips they are of.
        restarts: how often the tracker had lost its target and was put back.
    """

    files: dict[str, list[Path]]
    frames: int = 0
    clips: tuple[str, ...] = ()
    restarts: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def of(self, role: str, limit: int | None = None) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Read the samples of a graph one by one; of more than `limit`, as many, evenly."""
        files = self.files[role]
        if limit is not None and len(files) > limit:
            files = [files[number * len(files) // limit] for number in range(limit)]
        for path in files:
            with np.load(path, allow_pickle=False) as stored:
                yield {name: stored[name] for name in stored.files}

    def add(self, folder: Path, role: str, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Store one sample."""
        self._digest.update(role.encode())
        for name in sorted(inputs):
            self._digest.update(f"{name}:{inputs[name].shape}".encode())
            self._digest.update(np.ascontiguousarray(inputs[name]).tobytes())
        path = folder / f"{role}-{len(self.files[role])}.npz"
        np.savez(path, **inputs)  # type: ignore[arg-type]
        self.files[role].append(path)

    @property
    def sha256(self) -> str:
        """Of all sampled inputs, in order."""
        return str(self._digest.hexdigest())


def choose_stretches(sections: Sequence[Section], frames: int, seed: int) -> list[Stretch]:
    """Choose where to run the tracker so that about `frames` frames can be sampled.

    The starts are spread evenly over strata of the target's size, of how fast it moves (which blurs), and of how late
    in the clip they are; within a stratum they are drawn with `seed`.
    """
    starts = [(section, number) for section in sections for number in _starts(section)]
    if not starts:
        raise CalibrationError("no frame of the calibration clips has the target in it and in the next; give others")
    measures = np.array([_measures(section, number) for section, number in starts])
    strata: dict[tuple[int, ...], list[int]] = {}
    thirds = [np.searchsorted(np.quantile(column, (1 / 3, 2 / 3)), column) for column in measures.T]
    rng = np.random.default_rng(seed)
    for index in rng.permutation(len(starts)).tolist():
        strata.setdefault(tuple(int(part[index]) for part in thirds), []).append(index)
    chosen: list[Stretch] = []
    order, wanted = sorted(strata), frames
    while wanted > 0 and any(strata.values()):
        for key in order:
            if wanted <= 0 or not strata[key]:
                continue
            section, number = starts[strata[key].pop()]
            stretch = _stretch(section, number, wanted)
            chosen.append(stretch)
            wanted -= sum(step <= stretch.length for step in _SAMPLED)
    return chosen


def collect(
    spec: Mapping[str, Any],
    graphs: Sequence[DeployGraph],
    files: Mapping[str, Path],
    stretches: Sequence[Stretch],
    folder: Path,
    *,
    threads: int | None = None,
    progress: Progress,
) -> Samples:
    """Run the float32 tracker along the stretches and store what its graphs are fed in the sampled frames.

    Args:
        spec: the manifest's `tracker` object.
        graphs: the deployment graphs.
        files: role -> float32 .onnx file.
        stretches: from `choose_stretches`.
        folder: an existing folder for the samples.
        threads: CPU threads; None leaves it to ONNX Runtime.
        progress: advanced once a stretch.

    Raises:
        CalibrationError: a frame cannot be read, or a graph never ran.
    """
    samples = Samples({graph.role: [] for graph in graphs})
    armed = False

    def on_run(role: str, inputs: Mapping[str, NDArray[Any]]) -> None:
        if armed:
            samples.add(folder, role, inputs)

    with open_loop(spec, graphs, files, threads=threads, on_run=on_run) as tracker:
        for stretch in stretches:
            armed = True
            stop = stretch.start + stretch.length + 1
            boxes = stretch.section.clip.boxes[stretch.start : stop]
            try:
                found = track(tracker, stretch.section.clip.frames(stretch.start, stop), boxes[0].tolist())
                for number, box in enumerate(found, start=1):
                    samples.frames += armed
                    samples.restarts += _put_back(tracker.core, box, boxes[number])
                    armed = number + 1 in _SAMPLED
            except InputError as error:
                name = stretch.section.clip.name
                raise CalibrationError(f"calibration clip {name} from frame {stretch.start}: {error}") from error
            progress.advance()
    silent = [role for role, found_files in samples.files.items() if not found_files]
    if silent:
        raise CalibrationError(f"graph {silent[0]} never ran on the calibration clips; give others")
    samples.clips = tuple(dict.fromkeys(stretch.section.clip.name for stretch in stretches))
    return samples


def _put_back(core: object, box: NDArray[np.float64], truth: NDArray[np.float64]) -> bool:
    """Put a tracker that has lost its target back onto the truth; tell whether that was done."""
    if not isinstance(core, CropLoop) or not np.isfinite(truth).all() or iou(box.tolist(), truth.tolist()) > _LOST_IOU:
        return False
    x, y, w, h = truth.tolist()
    core.set_state((x, y, w, h))
    return True


def _starts(section: Section) -> list[int]:
    """Return the frames of a section that show the target and are followed by one that does."""
    good = present(section.boxes)
    return [section.start + int(number) for number in np.flatnonzero(good[:-1] & good[1:])]


def _measures(section: Section, number: int) -> tuple[float, float, float]:
    """Return the target's size in pixels, its step to the next frame in parts of that, and its place in the clip."""
    boxes = section.clip.boxes
    (x, y, w, h), (x2, y2, w2, h2) = boxes[number], boxes[number + 1]
    size = float(np.sqrt(w * h))
    step = float(np.hypot(x2 + w2 / 2 - x - w / 2, y2 + h2 / 2 - y - h / 2)) / size
    return size, step, (number - section.start) / max(1, section.stop - section.start)


def _stretch(section: Section, start: int, wanted: int) -> Stretch:
    """Return the stretch from `start` on, no longer than the clip's end and the wanted number of samples ask for."""
    last = _SAMPLED[min(wanted, len(_SAMPLED)) - 1]
    return Stretch(section, start, min(last, section.stop - 1 - start))
