"""Runs a tracker over sequences: in several processes, resumable, interruptible between two frames."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgetrack.benchmarks.accuracy.records import RecordStore, SequenceRecord, record_key
from edgetrack.benchmarks.accuracy.sequences import EvalSequence
from edgetrack.benchmarks.accuracy.subjects import Loop, Observation, Subject, open_loop
from edgetrack.cli.console import Progress
from edgetrack.errors import EdgetrackError, InputError

__all__ = ["pending", "run_sequences", "track_sequence"]

_POLL_S = 0.2


def pending(subject: Subject, sequences: Sequence[EvalSequence], store: RecordStore) -> list[EvalSequence]:
    """Return the sequences that are not finished yet in `store`."""
    return [sequence for sequence in sequences if store.load(sequence.slug, _key(subject, sequence)) is None]


def run_sequences(
    subject: Subject, sequences: Sequence[EvalSequence], store: RecordStore, *, jobs: int, progress: Progress
) -> list[SequenceRecord]:
    """Track every sequence that is not finished yet, and return all of them in their order.

    A sequence is kept in `store` as soon as it is finished, so a run that is interrupted goes on where it was.

    Args:
        subject: the tracker; `subject.spec.threads` is what each process uses.
        sequences: what to track.
        store: where finished sequences are kept.
        jobs: processes; 1: this one.
        progress: told of frames.

    Raises:
        InputError: a frame cannot be read or used, or the store cannot be written.
        EdgetrackError: the tracker cannot be loaded or fails.
    """
    todo = pending(subject, sequences, store)
    progress.advance(sum(len(sequence.boxes) for sequence in sequences) - sum(len(left.boxes) for left in todo))
    if todo:
        progress.stage(f"track {len(todo)} of {len(sequences)} sequences")
        if jobs == 1 or len(todo) == 1:
            _run_here(subject, todo, store, progress)
        else:
            _run_apart(subject, todo, store, min(jobs, len(todo)), progress)
    found = [store.load(sequence.slug, _key(subject, sequence)) for sequence in sequences]
    lost = [sequence.name for sequence, record in zip(sequences, found, strict=True) if record is None]
    if lost:
        raise InputError(f"what was tracked of {', '.join(lost[:3])} is not in {store.folder} any more; run again")
    return [record for record in found if record is not None]


def track_sequence(loop: Loop, sequence: EvalSequence, on_frame: Callable[[], None]) -> SequenceRecord:
    """Track one sequence from its first annotated box.

    Args:
        loop: an open tracker.
        sequence: what to track.
        on_frame: called after each frame; what it raises ends the sequence.

    Raises:
        InputError: a frame cannot be read or used, or the tracker gives a box that is not finite.
    """
    seen: list[Observation] = []
    seconds: list[float] = []
    size = (0, 0)
    x, y, w, h = sequence.boxes[0].tolist()
    for index, picture in enumerate(sequence.frames()):
        size = (picture.shape[1], picture.shape[0])
        frame = loop.prepare(picture)
        began = time.perf_counter()
        try:
            if index == 0:
                loop.init(frame, (x, y, w, h), sequence.text)
            else:
                loop.update(frame)
        except InputError as error:
            raise InputError(f"sequence {sequence.name}, frame {index + 1}: {error}") from error
        seconds.append(time.perf_counter() - began)
        seen.append(loop.observe())
        on_frame()
    return _record(sequence, size, seen, seconds)


def _record(
    sequence: EvalSequence, size: tuple[int, int], seen: list[Observation], seconds: list[float]
) -> SequenceRecord:
    raw = np.array([one.raw_box for one in seen], np.float64)
    if not np.isfinite(raw).all():
        frame = int(np.flatnonzero(~np.isfinite(raw).all(axis=1))[0])
        raise InputError(f"sequence {sequence.name}, frame {frame + 1}: the tracker's box is not finite; verify it")
    return SequenceRecord(
        name=sequence.name,
        dataset=sequence.dataset,
        slug=sequence.slug,
        width=size[0],
        height=size[1],
        truth=[row if all(map(math.isfinite, row)) else None for row in sequence.boxes.tolist()],
        boxes=[list(one.box) for one in seen],
        raw_boxes=raw.tolist(),
        scores=[one.score for one in seen],
        raw_scores=[one.raw_score for one in seen],
        states=[one.state for one in seen],
        seconds=seconds,
    )


def _key(subject: Subject, sequence: EvalSequence) -> str:
    return record_key(subject.identity, sequence.fingerprint())


def _run_here(subject: Subject, todo: Sequence[EvalSequence], store: RecordStore, progress: Progress) -> None:
    with closing(open_loop(subject.spec)) as loop:
        for sequence in todo:
            store.save(track_sequence(loop, sequence, progress.advance), _key(subject, sequence))


def _run_apart(
    subject: Subject, todo: Sequence[EvalSequence], store: RecordStore, jobs: int, progress: Progress
) -> None:
    """Share sequences among processes, the longest first; on any error the others stop after their frame."""
    context = multiprocessing.get_context("spawn")  # engines and PyTorch do not survive a fork
    stop, counter = context.Event(), context.Value("q", 0)
    shared = (subject, store.folder, stop, counter)
    with ProcessPoolExecutor(jobs, context, _start_worker, shared) as pool:
        try:
            order = sorted(todo, key=lambda sequence: -len(sequence.boxes))
            _follow([pool.submit(_track_in_worker, sequence) for sequence in order], counter, progress)
        except BaseException as error:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    "a process of the evaluation ended by itself (out of memory?); give fewer --jobs, and run again "
                    "to go on"
                ) from error
            raise


def _follow(futures: list[Future[None]], counter: Any, progress: Progress) -> None:  # noqa: ANN401 (a shared number)
    """Wait for all; report frames meanwhile, and raise what a process raised."""
    left, told = set(futures), 0
    while left:
        done, left = wait(left, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        now = int(counter.value)
        progress.advance(now - told)
        told = now
        for future in done:
            future.result()


class _StoppedError(EdgetrackError):
    """Ends a worker's sequence because the run was given up."""


_worker = SimpleNamespace()


def _start_worker(subject: Subject, folder: Path, stop: Any, counter: Any) -> None:  # noqa: ANN401 (shared objects)
    """Make this process a worker: it keeps one loaded tracker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _worker.subject, _worker.store, _worker.loop = subject, RecordStore(folder), None
    _worker.stop, _worker.counter = stop, counter


def _end_with(parent: Any) -> None:  # noqa: ANN401 (multiprocessing's own type)
    """End this process when its parent is killed; nothing would ever ask it for anything again."""
    parent.join()
    os._exit(1)


def _track_in_worker(sequence: EvalSequence) -> None:
    if _worker.loop is None:  # here, not at the start: what goes wrong must reach the parent as it is
        _worker.loop = open_loop(_worker.subject.spec)
    record = track_sequence(_worker.loop, sequence, _count_frame)
    _worker.store.save(record, _key(_worker.subject, sequence))


def _count_frame() -> None:
    if _worker.stop.is_set():
        raise _StoppedError("the evaluation was given up")
    with _worker.counter.get_lock():
        _worker.counter.value += 1
