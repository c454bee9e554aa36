"""The document of an evaluation: scores of every sequence and of all together, with the conventions they follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgetrack
from edgetrack.benchmarks.accuracy.loss import LossCounts, count_states
from edgetrack.benchmarks.accuracy.records import SequenceRecord
from edgetrack.benchmarks.accuracy.subjects import Subject
from edgetrack.benchmarks.device import describe_machine, now
from edgetrack.benchmarks.stats import fps
from edgetrack.data.metrics import (
    CENTRE_THRESHOLDS,
    CONVENTIONS,
    GOT10K_THRESHOLDS,
    NORMALISED_THRESHOLDS,
    OVERLAP_THRESHOLDS,
    PytrackingCurves,
    got10k_overlaps,
    got10k_scores,
    present,
    pytracking_curves,
    pytracking_scores,
)

__all__ = ["COLUMNS", "SCHEMA", "evaluation_document", "table_rows"]

SCHEMA = 1
KIND = "edgetrack-eval"

COLUMNS = (
    "sequence",
    ">frames",
    ">absent",
    ">AUC",
    ">OP50",
    ">OP75",
    ">P",
    ">NP",
    ">AO",
    ">SR50",
    ">SR75",
    ">lost true",
    ">lost false",
    ">unc. true",
    ">unc. false",
    ">updates/s",
)
"""Headings of `table_rows`: pytracking's figures in percent, GOT-10k's from 0 to 1, rates in percent."""


def evaluation_document(
    subject: Subject, records: Sequence[SequenceRecord], *, jobs: int, data: Sequence[str]
) -> dict[str, Any]:
    """Return everything that was found, as JSON; figures that nothing was measured for are None.

    Raises:
        InputError: there is no sequence, or one in which the target is in no frame.
    """
    scored = [_score(record) for record in records]
    curves = [curve for _, curve, _, _ in scored]
    overlaps = [overlap for _, _, overlap, _ in scored]
    counts = [count for _, _, _, count in scored]
    spec = subject.spec
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "edgetrack": edgetrack.__version__,
        "time": now(),
        "machine": describe_machine(),
        "subject": {**asdict(spec), "identity": subject.identity},
        "data": list(data),
        "jobs": jobs,
        "conventions": dict(CONVENTIONS),
        "overall": {
            "sequences": len(records),
            "frames": sum(len(record.truth) for record in records),
            "pytracking": asdict(pytracking_scores(curves)),
            "got10k": _got10k(overlaps),
            "got10k_ao_by_sequence": _mean([float(overlap.mean()) for overlap in overlaps if overlap.size]),
            "loss": _loss(counts),
            "fps": fps([1e3 * seconds for record in records for seconds in record.seconds[1:]]),
            "curves": _curves(curves, overlaps),
        },
        "sequences": [entry for entry, _, _, _ in scored],
    }


def table_rows(document: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row of `COLUMNS` for each sequence and one for all of them."""
    for entry in document["sequences"]:
        yield (entry["name"], str(entry["frames"]), str(entry["absent"]), *_cells(entry))
    overall = document["overall"]
    absent = sum(entry["absent"] for entry in document["sequences"])
    yield (f"all {overall['sequences']}", str(overall["frames"]), str(absent), *_cells(overall))


Scored = tuple[dict[str, Any], PytrackingCurves, NDArray[np.float64], LossCounts | None]


def _score(record: SequenceRecord) -> Scored:
    """Return the entry of one sequence, and what the overall figures are made of."""
    truth, boxes = record.truth_array(), record.raw_array()
    curve = pytracking_curves(boxes, truth, absent_missed=record.dataset == "lasot")
    overlap = got10k_overlaps(boxes, truth, (record.width, record.height))
    counts = count_states(record.states, truth) if record.has_states else None
    entry = {
        "name": record.name,
        "dataset": record.dataset,
        "file": record.slug,
        "frames": len(truth),
        "absent": int((~present(truth)).sum()),
        "pytracking": asdict(pytracking_scores([curve])),
        "got10k": _got10k([overlap]),
        "loss": None if counts is None else counts.as_dict(),
        "fps": fps([1e3 * seconds for seconds in record.seconds[1:]]),
    }
    return entry, curve, overlap, counts


def _got10k(overlaps: Sequence[NDArray[np.float64]]) -> dict[str, float] | None:
    found = got10k_scores(overlaps)
    return None if found is None else asdict(found)


def _loss(counts: Sequence[LossCounts | None]) -> dict[str, Any] | None:
    """Return the rates over all sequences; None for a tracker without states."""
    known = [count for count in counts if count is not None]
    return sum(known, LossCounts()).as_dict() if known else None


def _curves(curves: Sequence[PytrackingCurves], overlaps: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    """Return what plots need: thresholds and shares (0 to 1)."""
    together = np.concatenate([np.zeros(0), *overlaps])
    got10k = (together[:, None] > GOT10K_THRESHOLDS).mean(axis=0) if together.size else np.zeros(0)
    means = {
        name: np.mean([getattr(curve, name) for curve in curves], axis=0)
        for name in ("success", "precision", "normalised")
    }
    return {
        "success": _pairs(OVERLAP_THRESHOLDS, means["success"]),
        "precision": _pairs(CENTRE_THRESHOLDS, means["precision"]),
        "normalised": _pairs(NORMALISED_THRESHOLDS, means["normalised"]),
        "got10k": _pairs(GOT10K_THRESHOLDS[: got10k.size], got10k),
    }


def _pairs(thresholds: NDArray[np.float64], shares: NDArray[np.float64]) -> dict[str, list[float]]:
    return {"thresholds": np.round(thresholds, 6).tolist(), "shares": np.round(shares, 6).tolist()}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _cells(entry: dict[str, Any]) -> list[str]:
    toolkit, got10k, loss = entry["pytracking"], entry["got10k"] or {}, entry["loss"] or {}
    percent = [f"{toolkit[name]:.1f}" for name in ("auc", "op50", "op75", "precision", "norm_precision")]
    shares = [_cell(got10k.get(name), 1, 3) for name in ("ao", "sr50", "sr75")]
    rates = [
        _cell(loss.get(f"{kind}_{state}_rate"), 100, 1) for state in ("lost", "uncertain") for kind in ("true", "false")
    ]
    return [*percent, *shares, *rates, f"{entry['fps']:.1f}"]


def _cell(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"
