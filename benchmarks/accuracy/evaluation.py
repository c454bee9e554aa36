"""One evaluation: track what is not tracked yet, score it, and write everything into one folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetrack.benchmarks.accuracy.plots import check_plots, write_curves
from edgetrack.benchmarks.accuracy.records import RecordStore, SequenceRecord
from edgetrack.benchmarks.accuracy.report import evaluation_document
from edgetrack.benchmarks.accuracy.result_files import write_results
from edgetrack.benchmarks.accuracy.runner import run_sequences
from edgetrack.benchmarks.accuracy.sequences import EvalSequence
from edgetrack.benchmarks.accuracy.subjects import Subject
from edgetrack.benchmarks.files import write_document
from edgetrack.cli.console import Progress
from edgetrack.errors import InputError

__all__ = ["evaluate", "open_folder", "threads_per_job"]


def evaluate(
    subject: Subject,
    sequences: Sequence[EvalSequence],
    folder: Path,
    *,
    data: Sequence[str],
    jobs: int,
    progress: Progress,
    plots: bool = True,
) -> tuple[dict[str, Any], list[SequenceRecord]]:
    """Evaluate a tracker; see `evaluation_document` for what comes back, and `runner` for how it runs.

    `folder` then holds `eval.json`, `sequences/` (what a run is resumed from), `got10k/`, `pytracking/` and, with
    `plots`, `success.png` and `precision.png`.

    Raises:
        EngineUnavailable: matplotlib is wanted and not installed, or the tracker's engine is not here.
        InputError: a sequence or the folder cannot be used.
        EdgetrackError: the tracker cannot be loaded or fails.
    """
    if plots:
        check_plots()
    open_folder(folder)
    store = RecordStore(folder / "sequences")
    records = run_sequences(subject, sequences, store, jobs=jobs, progress=progress)
    if subject.rule is not None:
        records = [record.under(subject.rule) if record.has_states else record for record in records]
    progress.stage("score")
    document = evaluation_document(subject, records, jobs=jobs, data=data)
    write_results(records, folder)
    write_document(folder / "eval.json", document)
    if plots:
        write_curves(document, folder)
    return document, records


def open_folder(folder: Path) -> None:
    """Make the folder of results if it is not there.

    Raises:
        InputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {folder} ({error.strerror}); choose another --output") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write into {folder}; choose another --output")


def threads_per_job(threads: int | None, jobs: int) -> int | None:
    """Return the CPU threads of each of `jobs` trackers: those asked for, else a fair share; None for one job."""
    if threads is not None or jobs == 1:
        return threads
    from edgetrack.cli.machine import usable_cores

    return max(1, usable_cores() // jobs)
