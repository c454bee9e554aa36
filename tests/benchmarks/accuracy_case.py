"""Small annotated sequences on disk, and records of a tracker that is right with a known probability."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgetrack.benchmarks.accuracy.records import SequenceRecord

SIDE = 24.0


def write_sequence(folder: Path, frames: int = 8, *, absent: int = 0, seed: int = 5) -> Path:
    """`img/%08d.jpg` of 96 x 128 with a bright square that moves one pixel a frame, and `groundtruth.txt`."""
    import cv2

    background = np.random.default_rng(seed).integers(0, 90, (96, 128, 3), np.uint8)
    (folder / "img").mkdir(parents=True)
    lines = []
    for index in range(frames):
        frame = background.copy()
        visible = index < frames - absent
        if visible:
            frame[30:54, 40 + index : 64 + index] = 220
        cv2.imwrite(str(folder / "img" / f"{index + 1:08d}.jpg"), frame)
        lines.append(f"{40 + index},30,24,24" if visible else "nan,nan,nan,nan")
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    return folder


def record_of(
    raw: np.ndarray, good: np.ndarray, present: np.ndarray | None = None, name: str = "one"
) -> SequenceRecord:
    """A sequence whose frame i + 1 has raw score `raw[i]` and a box that is right where `good[i]`."""
    there = np.ones(len(raw), bool) if present is None else present
    right, wrong = [10.0, 10.0, SIDE, SIDE], [80.0, 60.0, SIDE, SIDE]
    boxes = [right, *(right if fine else wrong for fine in good)]
    states = ["TRACKING"] * (len(raw) + 1)
    return SequenceRecord(
        name=name,
        dataset="made",
        slug=name,
        width=128,
        height=96,
        truth=[right, *(right if visible else None for visible in there)],
        boxes=boxes,
        raw_boxes=boxes,
        scores=[1.0, *map(float, raw)],
        raw_scores=[0.0, *map(float, raw)],
        states=states,
        seconds=[0.01] * len(states),
    )


def write_fates(folder: Path, sequences: int = 6, frames: int = 4) -> None:
    """Sequences in a bright picture whose target rests, and as many in a dull one whose target leaves at once.

    They are short, because the boxes of the small test artifact grow. Its raw score follows the mean of its crop.
    """
    import cv2

    generator = np.random.default_rng(1)
    for number in range(2 * sequences):
        rests = number % 2 == 0
        place = folder / f"{'rests' if rests else 'leaves'}{number}"
        (place / "img").mkdir(parents=True)
        lines = []
        for index in range(frames):
            level = 160 if rests else 20
            frame = generator.integers(level, level + 60, (96, 128, 3), np.uint8)
            cv2.imwrite(str(place / "img" / f"{index + 1:08d}.jpg"), frame)
            lines.append("40,30,24,24" if rests or index == 0 else "100,70,24,24")
        (place / "groundtruth.txt").write_text("\n".join(lines) + "\n")
