"""Result files as the toolkits lay them out, written and read.

GOT-10k: `<folder>/<sequence>/<sequence>_001.txt`, a line x,y,w,h with three decimals a frame, and
`<sequence>_time.txt` with seconds. pytracking: `<folder>/<sequence>.txt`, integers separated by tabs (cut, not
rounded), and `<sequence>_time.txt`. Both hold the published loop's boxes, the first frame's (the given box) included.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.benchmarks.accuracy.records import SequenceRecord
from edgetrack.errors import InputError
from edgetrack.video import read_ground_truth, write_boxes

__all__ = ["read_result", "write_results"]


def write_results(records: Sequence[SequenceRecord], folder: Path) -> None:
    """Write `<folder>/got10k` and `<folder>/pytracking`.

    Raises:
        InputError: a file cannot be written.
    """
    for record in records:
        results, place = record.results(), folder / "got10k" / record.slug
        try:
            place.mkdir(parents=True, exist_ok=True)
            (folder / "pytracking").mkdir(exist_ok=True)
            boxes, _ = write_boxes(place / f"{record.slug}.txt", results, "got10k")
            boxes.replace(place / f"{record.slug}_001.txt")  # the toolkit numbers repetitions
        except OSError as error:
            raise InputError(f"cannot write results into {folder} ({error.strerror}); check the folder") from error
        write_boxes(folder / "pytracking" / f"{record.slug}.txt", results, "pytracking")


def read_result(path: Path) -> NDArray[np.float64]:
    """Return the boxes (frames, 4), x, y, w, h in pixels, of a result file of either toolkit.

    Raises:
        InputError: the file cannot be read, a line is not four numbers, or a number is not finite.
    """
    boxes = read_ground_truth(path)
    bad = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if bad.size:
        raise InputError(f"result file {path} box {bad[0] + 1} is not finite; track the sequence again")
    return boxes
