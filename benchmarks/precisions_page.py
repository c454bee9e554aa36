"""The table of precisions and its goals, from the stored document of `edgetrack.benchmarks.precisions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgetrack.benchmarks.goals import NOT_MEASURED, Goal, is_disturbed
from edgetrack.benchmarks.markdown import table

__all__ = ["COLUMNS", "cells", "precision_goals", "precision_section"]

Document = Mapping[str, Any]

COLUMNS = (
    "variant",
    "engine",
    "precision",
    ">FPS",
    ">of fp32",
    "95 %",
    ">MB",
    ">of fp32",
    ">IoU to fp32",
    ">followed",
    ">AUC",
    "",
)
"""Headings of `cells`."""

GOAL_VARIANTS, GOAL_ENGINE = ("fartrack-pico", "fartrack-tiny"), "onnxruntime"
INT8_RATIO, INT8_SIZE = 1.25, 0.35
FP16_IOU = 0.99
INT8_IOU = {"stand-in": 0.9, "checkpoint": 0.95}


def precision_goals(document: Document | None) -> list[Goal]:
    """Return the goals of int8 and fp16, whether or not the document says something about them."""
    rows = (document or {}).get("rows", ())
    disturbed = document is not None and is_disturbed(document)
    return [
        *(goal for variant in GOAL_VARIANTS for goal in _int8(variant, rows, disturbed=disturbed)),
        _overlap("fp16", rows),
        _overlap("int8", rows),
    ]


def _int8(variant: str, rows: Sequence[Document], *, disturbed: bool) -> Iterator[Goal]:
    found = next((row for row in rows if _is(row, variant, GOAL_ENGINE, "int8") and row["error"] is None), None)
    speed = f"{variant} int8 on {GOAL_ENGINE}: FPS of the whole loop over its own fp32"
    size = f"{variant} int8 on {GOAL_ENGINE}: size over its own fp32"
    wanted = f"≥ {INT8_RATIO}x", f"< {INT8_SIZE}x"
    if found is None or found["fps_ratio"] is None:
        yield from (Goal(speed, wanted[0]), Goal(size, wanted[1]))
        return
    ratio, share = found["fps_ratio"]["value"], found["size_ratio"]
    yield Goal(speed, wanted[0], f"{ratio:.2f}x", ratio >= INT8_RATIO, disturbed)
    yield Goal(size, wanted[1], f"{share:.3f}x", share < INT8_SIZE)


def _is(row: Document, variant: str, engine: str, precision: str) -> bool:
    return (row["variant"], row["engine"], row["precision"]) == (variant, engine, precision)


def _overlap(precision: str, rows: Sequence[Document]) -> Goal:
    """Return the goal of the boxes: every row of this precision has to reach what its weights ask."""
    limits = {weights: FP16_IOU for weights in INT8_IOU} if precision == "fp16" else INT8_IOU
    told = f"≥ {FP16_IOU}" if precision == "fp16" else " or ".join(f"≥ {iou} ({name})" for name, iou in limits.items())
    what = f"{precision} boxes on clips that were not calibrated with: mean IoU to fp32"
    own = [row for row in rows if row["precision"] == precision]
    measured = [row for row in own if row["error"] is None and row["iou"] is not None]
    if not measured:
        return Goal(what, told)
    worst = min(measured, key=lambda row: row["iou"] - limits[row["weights"]])
    missing = f", {len(own) - len(measured)} of {len(own)} {NOT_MEASURED}" if len(own) > len(measured) else ""
    found = f"{worst['iou']:.3f} at worst ({worst['variant']}, {worst['engine']}, {worst['weights']}){missing}"
    return Goal(what, told, found, not missing and worst["iou"] >= limits[worst["weights"]])


def cells(row: Document) -> list[str]:
    """Return the cells of a row under `COLUMNS`."""
    name = [row["variant"], row["engine"], row["precision"]]
    if row["error"] is not None:
        return [*name, *[NOT_MEASURED] * 8, row["error"]]
    ratio = row["fps_ratio"]
    return [
        *name,
        f"{row['fps']:.1f}",
        "1" if ratio is None else f"{ratio['value']:.2f}x",
        "" if ratio is None else f"{ratio['low']:.2f} to {ratio['high']:.2f}",
        f"{row['bytes'] / 1e6:.1f}",
        f"{row['size_ratio']:.2f}x",
        "1" if row["iou"] is None else f"{row['iou']:.3f}",
        "-" if row["iou_followed"] is None else f"{row['iou_followed']:.3f}",
        "stand-in weights" if row["auc"] is None else f"{row['auc']:.1f}",
        "; ".join(_notes(row)),
    ]


def _notes(row: Document) -> Iterator[str]:
    if row["verdict"] != "passed":
        yield f"gate: {row['verdict']}"
    if row["islands"]:
        yield f"{row['islands']} layers kept in fp32"
    search = (row["int8_path"] or {}).get("search")
    if search is not None:
        yield f"{search['path']} ranges"


def precision_section(document: Document | None) -> Iterator[str]:
    """Yield the section of the page; nothing where nothing is stored."""
    if document is None:
        return
    frames = sum(item["frames"] for item in document["sequences"])
    yield "## Precisions\n"
    yield (
        f"Whole loop on {document['threads']} threads, {document['updates']} updates each, in turns with the fp32 "
        f"artifact of the same engine{' (disturbed)' if is_disturbed(document) else ''}. Boxes and AUC on "
        f"{len(document['sequences'])} sequences of {', '.join(document['data'])} ({frames} frames); int8 was "
        f"calibrated with {document['calibration']}. IoU is that of the closed loops' boxes, every loop on its own; "
        "followed: in the frames alone in which fp32's box overlaps the truth by more than half. The row of an "
        "engine's fp32 gives what float32 itself keeps from the first engine to this one: where that is below 1, sums "
        "in another order drive the loops apart, and no precision can be held to more.\n"
    )
    yield table(COLUMNS, [cells(row) for row in document["rows"]])
