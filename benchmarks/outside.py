"""What a frame costs outside the engine call: crop, decode, memory, the calls themselves; on one core.

`python -m edgetrack.benchmarks.outside`. The engine is a stub, so all the time there is belongs to edgetrack.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from edgetrack.benchmarks.device import machine_line
from edgetrack.benchmarks.files import document_head
from edgetrack.benchmarks.frames import Box, Frame
from edgetrack.benchmarks.loop import turns
from edgetrack.benchmarks.others import OtherLoad, others_line
from edgetrack.benchmarks.program import new_parser, run_program
from edgetrack.benchmarks.stats import summarize
from edgetrack.benchmarks.stub import SPECS, noise_frames, stub_tracker
from edgetrack.cli import console
from edgetrack.runtime.tracker import Tracker

__all__ = ["SCHEMA", "main", "measure_outside"]

SCHEMA = "edgetrack-outside/1"

_SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
_TARGET_PX = (96.0, 72.0)
_TARGET_SHARE = 0.15
_FRAMES = 8
_BLOCK = 25
_SETTLE = 5
_DEFAULT_UPDATES = 500
_STAGES = ("crop", "run", "decode", "memory")


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = new_parser("outside", "Cost of a frame outside the engine call, by frame size.")
    parser.add_argument("--updates", type=int, default=_DEFAULT_UPDATES, help="measured updates per size")
    parser.add_argument("--family", choices=list(SPECS), default="fartrack", help="of trackers, whose loop is measured")
    return run_program(parser, _run, _show, words)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    return measure_outside(max(1, options.updates), _SIZES, options.family)


def measure_outside(updates: int, sizes: Sequence[tuple[int, int]], family: str = "fartrack") -> dict[str, Any]:
    """Time updates on frames of several sizes, with a target of fixed size and one that grows with the frame.

    The sizes take turns of 25 updates, after 5 that do not count, so that a slow moment of the machine hits all.

    Args:
        updates: per size and target.
        sizes: width and height of the frames, in pixels.
        family: a key of `stub.SPECS`.

    Returns:
        The document: medians and percentiles in ms, and the core they ran on.
    """
    cases = _cases(sizes, family)
    # All cores count as disturbed: two of them may be threads of one, which share its speed.
    with ExitStack() as stack:
        others, core = stack.enter_context(OtherLoad()), stack.enter_context(_one_core())
        for order in turns(len(cases)):
            left = updates - len(cases[0].times)
            if left <= 0:
                break
            for index in order:
                _time(cases[index], min(_BLOCK, left))
    for case in cases:
        case.tracker.close()
    return {
        **document_head(SCHEMA),
        "others_share": others.share,
        "core": core,
        "family": family,
        "updates": updates,
        "rows": [_row(case) for case in cases],
    }


@dataclass
class _Case:
    """One frame size with one target, and the times of its updates."""

    size: tuple[int, int]
    target: str
    frames: list[Frame]
    tracker: Tracker
    times: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in _STAGES})

    @property
    def box(self) -> Box:
        (width, height), fixed = self.size, self.target == "fixed"
        w, h = _TARGET_PX if fixed else (_TARGET_SHARE * width, _TARGET_SHARE * height)
        return ((width - w) / 2, (height - h) / 2, w, h)


def _cases(sizes: Sequence[tuple[int, int]], family: str) -> list[_Case]:
    cases = []
    for size in sizes:
        frames = noise_frames(_FRAMES, *size)
        cases += [_Case(size, target, frames, stub_tracker(SPECS[family])) for target in ("fixed", "scaled")]
    for case in cases:
        case.tracker.init(case.frames[0], case.box)
    return cases


def _time(case: _Case, updates: int) -> None:
    """Time whole calls of `update`; the box is put back before each, so that all see the same target size."""
    for number in range(_SETTLE + updates):
        case.tracker.core.set_state(case.box)
        frame = case.frames[number % len(case.frames)]
        began = time.perf_counter()
        case.tracker.update(frame)
        ms = 1e3 * (time.perf_counter() - began)
        if number >= _SETTLE:
            case.times.append(ms)
            for stage, values in case.stages.items():
                values.append(case.tracker.timings_ms[stage])


def _row(case: _Case) -> dict[str, Any]:
    return {
        "width": case.size[0],
        "height": case.size[1],
        "target": case.target,
        "target_px": list(case.box[2:]),
        "total_ms": asdict(summarize(case.times)),
        "stages_ms": {stage: asdict(summarize(values)) for stage, values in case.stages.items()},
    }


@contextmanager
def _one_core() -> Iterator[int | None]:
    """Stay on one core inside the block; yield its number, or None where the system cannot do that."""
    if sys.platform != "linux":
        yield None
        return
    allowed = os.sched_getaffinity(0)
    core = max(allowed)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, allowed)


def _show(document: dict[str, Any]) -> None:
    console.line(machine_line(document["machine"]))
    if warning := others_line(document["others_share"]):
        console.warn(warning)
    rows = [
        (
            f"{row['width']}x{row['height']}",
            f"{row['target_px'][0]:.0f}x{row['target_px'][1]:.0f}",
            *(f"{row['stages_ms'][stage]['p50']:.3f}" for stage in _STAGES),
            f"{row['total_ms']['p50']:.3f}",
            f"{row['total_ms']['p99']:.3f}",
        )
        for row in document["rows"]
    ]
    columns = ("frame", "target", *(f">{stage}" for stage in _STAGES), ">total p50", ">total p99")
    core = "one core" if document["core"] is not None else "not tied to one core"
    console.table(columns, rows, title=f"ms per update with an engine that does nothing, {core}, medians")


if __name__ == "__main__":
    sys.exit(main())
