"""The measuring loop: contenders track the same frames, in turns, each on boxes of its own (closed loop).

A clip that ends is started again with `init`. Time spent in `init` is kept apart: it is not an update.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgetrack.benchmarks.contenders import STAGES, Contender
from edgetrack.benchmarks.frames import Box, Footage
from edgetrack.benchmarks.stats import has_settled
from edgetrack.cli.console import Progress
from edgetrack.errors import InputError

__all__ = ["DEFAULT_UPDATES", "DEFAULT_WARMUP", "Plan", "Series", "measure", "turns"]

DEFAULT_UPDATES = 320
DEFAULT_WARMUP = 64

_BLOCK = 16
_PAUSE_S = 0.05


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        updates: stop after this many measured updates of each contender; None: no such limit.
        duration_s: stop after this long; at the end of a block. None: no such limit.
        warmup: at most this many updates of each contender first, fewer if times settle earlier.
        pace_fps: hand over frames at the rate of a camera; None: one after the other.
        block: updates that one contender makes before the next one takes over.
        settle: updates at the start of a block that are made but not measured. After a change of contender the
            caches hold another network and the own threads sleep; that is the comparison's doing, not the
            contender's.
        pause_s: sleep before each block. The idle threads of OpenVINO and PyTorch spin for some milliseconds after
            their last call; they must have stopped before another contender's turn.
    """

    updates: int | None = DEFAULT_UPDATES
    duration_s: float | None = None
    warmup: int = DEFAULT_WARMUP
    pace_fps: float | None = None
    block: int = _BLOCK
    settle: int = 0
    pause_s: float = 0.0

    @classmethod
    def of(
        cls,
        contenders: int,
        *,
        updates: int | None = None,
        duration_s: float | None = None,
        warmup: int = DEFAULT_WARMUP,
        pace_fps: float | None = None,
    ) -> Plan:
        """Return a plan for so many contenders; with neither updates nor duration, 320 updates.

        Raises:
            InputError: a value is not positive, or `warmup` is below 0.
        """
        for name, value in (("--frames", updates), ("--duration", duration_s), ("--pace", pace_fps)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} is {value}, must be above 0")
        if warmup < 0:
            raise InputError(f"--warmup is {warmup}, must be 0 or more")
        if updates is None and duration_s is None:
            updates = DEFAULT_UPDATES
        if contenders == 1:
            return cls(updates, duration_s, warmup, pace_fps)
        return cls(updates, duration_s, warmup, pace_fps, settle=1, pause_s=_PAUSE_S)


@dataclass
class Series:
    """What became of one contender; the lists run along its measured updates, but for `init_ms`."""

    ms: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    boxes: list[Box] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    init_ms: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    over_budget: int = 0
    warmup_updates: int = 0
    settled: bool = False


def measure(contenders: Sequence[Contender], footage: Footage, plan: Plan, progress: Progress) -> list[Series]:
    """Warm up, then measure; the contenders take turns of a block each.

    Returns:
        A series per contender. All have the same frames in the same blocks, so they can be compared pairwise.
    """
    progress.stage("warm up")
    placed = [contender.place(footage.frames) for contender in contenders]
    warm = _warm_up(contenders, placed, footage.box, plan)
    progress.stage("measure")
    measured = [Series(warmup_updates=len(series.ms), settled=has_settled(series.ms)) for series in warm]
    steps = _steps(len(footage.frames))
    began = time.perf_counter()
    for number, order in enumerate(turns(len(contenders))):
        done = len(measured[0].ms)
        if plan.updates is not None and done >= plan.updates:
            break
        if plan.duration_s is not None and done and time.perf_counter() - began >= plan.duration_s:
            break
        want = plan.block if plan.updates is None else min(plan.block, plan.updates - done)
        block = _take(steps, want + plan.settle)
        for index in order:
            _run_block(contenders[index], placed[index], footage.box, plan, block, series=measured[index])
            measured[index].blocks += [number] * want
            progress.advance(want)
    return measured


def turns(contenders: int) -> Iterator[list[int]]:
    """Yield the order of contenders in block after block, without end.

    The first place rotates, and every other round goes backwards, so that nobody always follows the same one.
    """
    first, backwards = 0, False
    while True:
        order = [(first + offset) % contenders for offset in range(contenders)]
        yield order[::-1] if backwards else order
        first += 1
        if first == contenders:
            first, backwards = 0, not backwards


def _steps(frames: int) -> Iterator[int]:
    """Yield frame numbers without end: 0 stands for `init`."""
    while True:
        yield from range(frames)


def _take(steps: Iterator[int], updates: int) -> list[int]:
    """Return the next steps up to and including so many updates."""
    taken: list[int] = []
    while updates:
        taken.append(next(steps))
        updates -= taken[-1] != 0
    return taken


def _warm_up(contenders: Sequence[Contender], placed: Sequence[Sequence[Any]], box: Box, plan: Plan) -> list[Series]:
    """Run blocks in turns until every contender's times have settled, or the limit is reached."""
    warm = [Series() for _ in contenders]
    steps = _steps(len(placed[0]))
    for order in turns(len(contenders)):
        done = len(warm[0].ms)
        if done >= plan.warmup or all(has_settled(series.ms) for series in warm):
            break
        block = _take(steps, min(plan.block, plan.warmup - done) + plan.settle)
        for index in order:
            _run_block(contenders[index], placed[index], box, plan, block, series=warm[index])
    return warm


def _run_block(
    contender: Contender, frames: Sequence[Any], box: Box, plan: Plan, block: Sequence[int], *, series: Series
) -> None:
    """Make the steps of one block; the first `plan.settle` updates leave no trace in `series`."""
    period_s = 1 / plan.pace_fps if plan.pace_fps else 0.0
    time.sleep(plan.pause_s)
    due = time.perf_counter()
    unmeasured = plan.settle
    for step in block:
        frame = frames[step]
        if period_s:
            due = _wait_until(due) + period_s
        began = time.perf_counter()
        if step == 0:
            contender.init(frame, box)
        else:
            contender.update(frame)
        ms = 1e3 * (time.perf_counter() - began)
        if step == 0:
            series.init_ms.append(ms)
        elif unmeasured:
            unmeasured -= 1
        else:
            _note(series, contender, ms)
            series.over_budget += bool(period_s) and ms > 1e3 * period_s


def _wait_until(due: float) -> float:
    """Sleep until `due`; return it, or the time now if that is later (a late loop skips, it does not catch up)."""
    ahead = due - time.perf_counter()
    if ahead > 0:
        time.sleep(ahead)
        return due
    return time.perf_counter()


def _note(series: Series, contender: Contender, ms: float) -> None:
    series.ms.append(ms)
    series.boxes.append(contender.box)
    if state := contender.state:
        series.states[state] += 1
    found = contender.stages_ms()
    for stage in STAGES[:-1]:
        series.stages[stage].append(found.get(stage, 0.0))
    series.stages["rest"].append(max(0.0, ms - sum(found.values())) if found else 0.0)
