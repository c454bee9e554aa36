"""What a frame costs outside the engine call: crop, decode, memory, the calls themselves; on one core.

`python -m edgetrack.benchmarks.outside`. The engine is a stub, so all the time there is belongs to edgetrack.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import edgetrack
from edgetrack.benchmarks.device import describe_machine, machine_line, now
from edgetrack.benchmarks.frames import Box, Frame
from edgetrack.benchmarks.program import new_parser, run_program
from edgetrack.benchmarks.stats import summarize
from edgetrack.benchmarks.stub import noise_frames, stub_tracker
from edgetrack.cli import console
from edgetrack.runtime.tracker import Tracker

__all__ = ["SCHEMA", "main", "measure_outside"]

SCHEMA = "edgetrack-outside/1"

_SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
_TARGET_PX = (96.0, 72.0)
_TARGET_SHARE = 0.15
_FRAMES = 8
_WARMUP = 50
_DEFAULT_UPDATES = 500
_STAGES = ("crop", "run", "decode", "memory")


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = new_parser("outside", "Cost of a frame outside the engine call, by frame size.")
    parser.add_argument("--updates", type=int, default=_DEFAULT_UPDATES, help="measured updates per size")
    return run_program(parser, _run, _show, words)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    return measure_outside(max(1, options.updates))


def measure_outside(updates: int, sizes: Sequence[tuple[int, int]] = _SIZES) -> dict[str, Any]:
    """Time updates on frames of several sizes, with a target of fixed size and one that grows with the frame.

    Args:
        updates: per size and target.
        sizes: width and height of the frames, in pixels.

    Returns:
        The document: medians and percentiles in ms, and the core they ran on.
    """
    with _one_core() as core:
        rows = [_row(size, target, updates) for size in sizes for target in ("fixed", "scaled")]
    return {
        "schema": SCHEMA,
        "edgetrack": edgetrack.__version__,
        "time": now(),
        "machine": describe_machine(),
        "core": core,
        "updates": updates,
        "rows": rows,
    }


def _row(size: tuple[int, int], target: str, updates: int) -> dict[str, Any]:
    width, height = size
    w, h = _TARGET_PX if target == "fixed" else (_TARGET_SHARE * width, _TARGET_SHARE * height)
    box = ((width - w) / 2, (height - h) / 2, w, h)
    with stub_tracker() as tracker:
        times, stages = _time(tracker, noise_frames(_FRAMES, width, height), box, updates)
    return {
        "width": width,
        "height": height,
        "target": target,
        "target_px": [w, h],
        "total_ms": asdict(summarize(times)),
        "stages_ms": {stage: asdict(summarize(values)) for stage, values in stages.items()},
    }


def _time(tracker: Tracker, frames: list[Frame], box: Box, updates: int) -> tuple[list[float], dict[str, list[float]]]:
    """Time whole calls of `update`; the box is put back before each, so that all see the same target size."""
    times: list[float] = []
    stages: dict[str, list[float]] = {stage: [] for stage in _STAGES}
    tracker.init(frames[0], box)
    for number in range(_WARMUP + updates):
        tracker.core.set_state(box)
        frame = frames[number % len(frames)]
        began = time.perf_counter()
        tracker.update(frame)
        ms = 1e3 * (time.perf_counter() - began)
        if number >= _WARMUP:
            times.append(ms)
            for stage, values in stages.items():
                values.append(tracker.timings_ms[stage])
    return times, stages


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
