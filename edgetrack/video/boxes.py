"""Files of boxes: ground truth in, results out in the formats of the evaluation toolkits."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError

__all__ = ["RESULT_FORMATS", "FrameResult", "read_ground_truth", "write_boxes", "write_text"]

RESULT_FORMATS = ("got10k", "pytracking", "json")


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What the tracker said about one frame; `box` is (x, y, w, h) in pixels, `seconds` the time it took."""

    box: tuple[float, float, float, float]
    ok: bool
    score: float
    state: str
    seconds: float


def read_ground_truth(path: str | Path) -> NDArray[np.float64]:
    """Read boxes x,y,w,h, one a line, separated by comma, tab or blanks; nan where the target is absent.

    Returns:
        float64 (frames, 4), pixels, top-left corner; nan kept.

    Raises:
        InputError: the file cannot be read, is empty, or a line is not four numbers.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"ground truth {path} cannot be read ({error}); check the path") from error
    rows: list[list[float]] = []
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = [float(part) for part in re.split(r"[,\s]+", text.strip())]
        except ValueError:
            row = []
        if len(row) != 4 or any(math.isinf(value) for value in row):
            raise InputError(f"ground truth {path} line {number} is {text[:60]!r}, must be x,y,w,h in pixels or nan")
        rows.append(row)
    if not rows:
        raise InputError(f"ground truth {path} is empty; give one line x,y,w,h a frame")
    return np.array(rows, np.float64)


def write_boxes(path: Path, results: Sequence[FrameResult], results_format: str) -> list[Path]:
    """Write the boxes of a video, the first frame included, and return the files written.

    got10k: comma, three decimals, and `<stem>_time.txt` with the seconds of each frame. pytracking: tab, cut
    to integers as that toolkit does, and `<stem>_time.txt`. json: boxes with score, state and time.

    Raises:
        InputError: unknown format, or the file cannot be written.
    """
    if results_format == "json":
        write_text(path, json.dumps({"schema": 1, "box": "x,y,w,h px", "frames": [_as_dict(r) for r in results]}))
        return [path]
    if results_format == "got10k":
        rows = [",".join(f"{value:.3f}" for value in result.box) for result in results]
        times = [f"{result.seconds:.8f}" for result in results]
    elif results_format == "pytracking":
        rows = ["\t".join(str(int(value)) for value in result.box) for result in results]
        times = [f"{result.seconds:f}" for result in results]
    else:
        raise InputError(f"results format {results_format!r} is unknown; known: {', '.join(RESULT_FORMATS)}")
    time_path = path.with_name(f"{path.stem}_time.txt")
    write_text(path, "\n".join(rows))
    write_text(time_path, "\n".join(times))
    return [path, time_path]


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it, so that no half of it is ever seen.

    Raises:
        InputError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(f"{text}\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {path} ({error.strerror}); check the folder and the free space") from error


def _as_dict(result: FrameResult) -> dict[str, object]:
    return {
        "box": list(result.box),
        "ok": result.ok,
        "score": result.score,
        "state": result.state,
        "seconds": result.seconds,
    }
