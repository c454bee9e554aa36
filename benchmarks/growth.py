"""Resident memory over a very long video: flat once the bound of the template history is reached.

`python -m edgetrack.benchmarks.growth`. The engine is a stub; the history is the real one, with its default bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, cast

from edgetrack.benchmarks.files import document_head
from edgetrack.benchmarks.process import rss_bytes
from edgetrack.benchmarks.program import new_parser, run_program
from edgetrack.benchmarks.stub import FARTRACK_SPEC, noise_frames, stub_tracker
from edgetrack.cli import console
from edgetrack.runtime.core import FarTracker

__all__ = ["SCHEMA", "main", "measure_growth"]

SCHEMA = "edgetrack-growth/1"

_SIZE = (320, 240)
_BOX = (130.0, 95.0, 60.0, 50.0)
_DEFAULT_UPDATES = 100_000
_MEGABYTE = 1e6


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = new_parser("growth", "Resident memory over a very long video.")
    parser.add_argument("--updates", type=int, default=_DEFAULT_UPDATES, help="updates in all")
    return run_program(parser, _run, _show, words)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    with console.progress(options.updates, "grow") as bar:
        return measure_growth(max(1, options.updates), bar)


def measure_growth(updates: int, progress: console.Progress, limit_mib: float | None = None) -> dict[str, Any]:
    """Update that often and sample the resident memory on the way.

    Args:
        updates: in all.
        progress: told of every sample.
        limit_mib: bound on the history; None is the default of published artifacts.

    Returns:
        The document: the bound, the samples, where the bound was reached, and what changed after it, in bytes.
    """
    spec = FARTRACK_SPEC if limit_mib is None else {**FARTRACK_SPEC, "memory": {"limit_mib": limit_mib}}
    every = max(1, updates // 400)
    frames = noise_frames(4, *_SIZE)
    samples: list[dict[str, int]] = []
    with stub_tracker(spec) as tracker:
        tracker.init(frames[0], _BOX)
        for number in range(1, updates + 1):
            tracker.update(frames[number % len(frames)])
            if number % every == 0 or number == updates:
                history = cast(FarTracker, tracker.core).memory
                row = {"update": number, "rss": rss_bytes(), "history": history["used_bytes"]}
                samples.append(row | {"stride": history["stride"]})
                progress.advance(every)
        history = cast(FarTracker, tracker.core).memory
    return {
        **document_head(SCHEMA),
        "updates": updates,
        "limit_bytes": history["limit_bytes"],
        "exact_frames": history["exact_frames"],
        **_findings(samples),
        "samples": samples,
    }


def _findings(samples: list[dict[str, int]]) -> dict[str, Any]:
    """Say where the history filled up (its entries are thinned from then on) and what memory did after that."""
    after = [row for row in samples if row["stride"] > 1]
    if not after:
        return {"at_bound": None, "end": samples[-1], "growth_after_bound_bytes": None}
    growth = max(row["rss"] for row in after) - after[0]["rss"]
    return {"at_bound": after[0], "end": samples[-1], "growth_after_bound_bytes": growth}


def _show(document: dict[str, Any]) -> None:
    limit, bound, end = document["limit_bytes"] / _MEGABYTE, document["at_bound"], document["end"]
    console.line(f"bound of the history: {limit:.1f} MB; exact up to frame {document['exact_frames']}")
    if bound is None:
        console.line(f"not reached in {document['updates']} updates; ask for more with --updates")
    else:
        console.line(f"reached by update {bound['update']}: resident memory {bound['rss'] / _MEGABYTE:.1f} MB")
        growth = document["growth_after_bound_bytes"] / _MEGABYTE
        console.line(f"largest growth after that: {growth:.2f} MB")
    rss, history = end["rss"] / _MEGABYTE, end["history"] / _MEGABYTE
    console.line(f"after {end['update']} updates: {rss:.1f} MB, {history:.1f} of it history")


if __name__ == "__main__":
    sys.exit(main())
