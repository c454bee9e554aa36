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

__all__ = [
    "LINE_FORMATS",
    "RESULT_FORMATS",
    "FrameResult",
    "boxes_text",
    "check_format",
    "check_writable",
    "files_of",
    "read_ground_truth",
    "write_boxes",
    "write_text",
]

RESULT_FORMATS = ("got10k", "pytracking", "json", "csv")
LINE_FORMATS = ("got10k", "pytracking")
"""Formats without frame numbers: line n is frame n."""

_COLUMNS = ("frame", "x", "y", "w", "h", "raw_x", "raw_y", "raw_w", "raw_h", "ok", "score", "state", "seconds")


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What the tracker said about one frame; boxes are (x, y, w, h) in pixels, `seconds` the time it took.

    `box` is the last one that could be trusted, `raw_box` the published loop's own, which goes on while lost.
    """

    box: tuple[float, float, float, float]
    raw_box: tuple[float, float, float, float]
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

    See `boxes_text` for the formats. got10k and pytracking also get `<stem>_time.txt` with the seconds of each frame,
    but not beside a device or pipe.

    Raises:
        InputError: unknown format, or the file cannot be written.
    """
    paths = files_of(path, results_format)
    write_text(path, boxes_text(results, results_format))
    if len(paths) > 1:
        seconds = "{:.8f}" if results_format == "got10k" else "{:f}"
        write_text(paths[1], "\n".join(seconds.format(result.seconds) for result in results))
    return paths


def boxes_text(results: Sequence[FrameResult], results_format: str, numbers: Sequence[int] | None = None) -> str:
    """Return the boxes of a video as text, without a line end at its end.

    got10k: comma, three decimals. pytracking: tab, cut to integers as that toolkit does. Both hold `raw_box`: these
    toolkits score the published algorithm's boxes. json and csv: both boxes with score, state and time.

    Args:
        results: one a frame.
        results_format: one of `RESULT_FORMATS`.
        numbers: the frames' numbers, for json and csv; None: 0, 1, 2, ...

    Raises:
        InputError: unknown format.
    """
    check_format(results_format)
    if results_format == "got10k":
        return "\n".join(",".join(f"{value:.3f}" for value in result.raw_box) for result in results)
    if results_format == "pytracking":
        return "\n".join("\t".join(str(int(value)) for value in result.raw_box) for result in results)
    numbered = list(zip(range(len(results)) if numbers is None else numbers, results, strict=True))
    if results_format == "csv":
        return "\n".join([",".join(_COLUMNS), *(_as_line(number, result) for number, result in numbered)])
    frames = [_as_dict(number, result) for number, result in numbered]
    return json.dumps({"schema": 1, "box": "x,y,w,h px", "raw_box": "x,y,w,h px", "frames": frames})


def check_format(results_format: str) -> None:
    """Refuse a format that is not one of `RESULT_FORMATS`; InputError."""
    if results_format not in RESULT_FORMATS:
        raise InputError(f"results format {results_format!r} is unknown; known: {', '.join(RESULT_FORMATS)}")


def files_of(path: Path, results_format: str) -> list[Path]:
    """Return the files that `write_boxes` writes for `path`, the boxes first.

    Raises:
        InputError: unknown format.
    """
    check_format(results_format)
    if results_format not in LINE_FORMATS or _is_special(path):
        return [path]
    return [path, path.with_name(f"{path.stem}_time.txt")]


def check_writable(path: Path | None) -> None:
    """Refuse before the work what could not be written after it; None is fine.

    Raises:
        InputError: the folder does not exist or is not writable, or the path is a folder; or a device or pipe that
            is not writable.
    """
    if path is None:
        return
    real = Path(os.path.realpath(path))
    if _is_special(path):
        good = os.access(path, os.W_OK)
    else:
        good = not real.is_dir() and real.parent.is_dir() and os.access(real.parent, os.W_OK)
    if not good:
        raise InputError(f"cannot write {path}: its folder does not exist, or is not writable; choose another")


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it, so that no half of it is ever seen.

    A symbolic link stays, and what it leads to is replaced. A device or pipe is written to directly.

    Raises:
        InputError: the file cannot be written.
    """
    special = _is_special(path)
    real = path if special else Path(os.path.realpath(path))
    partial = real.with_name(f".{real.name}.partial-{os.getpid()}")
    try:
        if special:
            path.write_text(f"{text}\n", encoding="utf-8")
            return
        partial.write_text(f"{text}\n", encoding="utf-8")
        partial.replace(real)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {path} ({error.strerror}); check the folder and the free space") from error


def _is_special(path: Path) -> bool:
    """Tell whether there is a device, pipe or socket, which a rename would replace by a file."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _as_dict(number: int, result: FrameResult) -> dict[str, object]:
    return {
        "frame": number,
        "box": list(result.box),
        "raw_box": list(result.raw_box),
        "ok": result.ok,
        "score": result.score,
        "state": result.state,
        "seconds": result.seconds,
    }


def _as_line(number: int, result: FrameResult) -> str:
    cells = (number, *result.box, *result.raw_box, int(result.ok), result.score, result.state, result.seconds)
    return ",".join(str(cell) for cell in cells)
