"""What a precision costs and gives: `python -m edgetrack.benchmarks.precisions --calib CLIPS --data CLIPS`.

For every variant, engine and precision: the whole loop in turns with the same engine's fp32, size, overlap of the boxes
with fp32's on annotated sequences that were not calibrated with, and success AUC where the weights were trained. What
fp32 itself keeps from engine to engine is measured too: no precision can be held to more. What is built and tracked is
kept in the work folder, so that an interrupted run goes on; times are always measured anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgetrack.artifact import MANIFEST_NAME, Artifact, read_artifact
from edgetrack.benchmarks.accuracy.evaluation import evaluate, open_folder
from edgetrack.benchmarks.accuracy.records import SequenceRecord
from edgetrack.benchmarks.accuracy.sequences import EvalSequence, read_sequences
from edgetrack.benchmarks.accuracy.subjects import artifact_subject
from edgetrack.benchmarks.bench import run_bench
from edgetrack.benchmarks.contenders import artifact_spec
from edgetrack.benchmarks.files import document_head
from edgetrack.benchmarks.frames import load_footage
from edgetrack.benchmarks.loop import Plan
from edgetrack.benchmarks.program import new_parser, run_program
from edgetrack.cli import console
from edgetrack.data.metrics import CONVENTIONS, box_iou, follows
from edgetrack.demo import demo_weights
from edgetrack.errors import ArtifactError, EdgetrackError, EngineUnavailable, InputError
from edgetrack.export.targets import target_of

__all__ = ["PRECISIONS", "SCHEMA", "TARGETS", "VARIANTS", "main"]

SCHEMA = "edgetrack-precisions/1"
VARIANTS = ("fartrack-pico", "fartrack-tiny")
TARGETS = ("onnx", "openvino")
PRECISIONS = ("fp32", "fp16", "int8")

_UPDATES, _WARMUP = 320, 64
_STAND_IN = "stand-in"
_IOU_CONVENTION = "mean over frames, the first of a sequence left out; fp32: to that of the variant's first engine"


@dataclass(frozen=True)
class _Setting:
    """What holds for every cell of the table."""

    options: argparse.Namespace
    sequences: Sequence[EvalSequence]

    def weights(self, variant: str) -> str:
        """Return trained weights, where there are some: given ones, then edgetrack's own."""
        given = dict(item.split("=", 1) for item in self.options.weights)
        return given.get(variant) or ("demo" if demo_weights(variant) is not None else _STAND_IN)


@dataclass(frozen=True)
class _Group:
    """One variant on one engine: its rows, fp32's first; what others took of the machine; what fp32 tracked."""

    rows: list[dict[str, Any]]
    others_share: float | None
    base: Sequence[SequenceRecord]


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = new_parser("precisions", "Speed, size and accuracy of every precision against fp32.")
    parser.add_argument("--calib", required=True, help="clips to calibrate int8 with, as `edgetrack export` takes them")
    parser.add_argument("--calib-frames", type=int, help="frames to calibrate with; default: as `edgetrack export`")
    parser.add_argument("--data", action="append", required=True, help="data to compare boxes on, as `edgetrack eval`")
    parser.add_argument("--only", help="take the sequences alone whose names match this pattern")
    parser.add_argument("--max-frames", type=int, help="of each sequence; default: all")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="of `edgetrack models`")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), help="of `edgetrack targets`")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), help="fp32 is always there")
    parser.add_argument("--weights", action="append", default=[], metavar="VARIANT=FILE", help="trained weights")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the engines")
    parser.add_argument("--updates", type=int, default=_UPDATES, help="of each contender that are timed")
    parser.add_argument("--work", type=Path, default=Path("build/precisions"), help="where everything is kept")
    return run_program(parser, _run, _show, words)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    with redirect_stdout(sys.stderr):  # exports tell what they find; stdout is for the table or the JSON alone
        return _measured(options)


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    if bad := [item for item in options.weights if "=" not in item]:
        raise InputError(f"--weights {bad[0]} names no variant; give VARIANT=FILE")
    setting = _Setting(options, _sequences(options))
    open_folder(options.work)
    rows, shares = [], []
    for variant in options.variants:
        groups = [_group(variant, target, setting) for target in options.targets]
        for group in groups[1:]:
            group.rows[0]["iou"], group.rows[0]["iou_followed"] = _overlap(groups[0].base, group.base)
        rows += [row for group in groups for row in group.rows]
        shares += [group.others_share for group in groups if group.others_share is not None]
    return {
        **document_head(SCHEMA),
        "threads": options.threads,
        "updates": options.updates,
        "calibration": Path(options.calib).name,
        "data": [Path(item).name for item in options.data],
        "sequences": [{"name": item.name, "frames": len(item.boxes)} for item in setting.sequences],
        "conventions": {"auc": CONVENTIONS["pytracking"], "iou": _IOU_CONVENTION},
        "others_share": max(shares, default=None),
        "rows": rows,
    }


def _sequences(options: argparse.Namespace) -> list[EvalSequence]:
    """Read the sequences, none of which may be among those calibrated with."""
    found = read_sequences(options.data, only=options.only)
    calibrated = {Path(options.calib.rpartition(":")[2]).resolve()}
    for sequence in found:
        own = {path.resolve() for path in (*sequence.images[:1], *filter(None, [sequence.video]))}
        if any(calibrated & set(path.parents) or path in calibrated for path in own):
            raise InputError(f"sequence {sequence.name} is in what int8 is calibrated with; leave it out of --data")
    count = options.max_frames
    return [replace(item, boxes=item.boxes[:count], images=item.images[:count]) for item in found]


def _group(variant: str, target: str, setting: _Setting) -> _Group:
    options, info = setting.options, target_of(target)
    wanted = [name for name in dict.fromkeys(("fp32", *options.precisions)) if name in info.precisions]
    rows = [{"variant": variant, "target": info.name, "engine": info.engine, "precision": name} for name in wanted]
    built: dict[str, Artifact] = {}
    for row in rows:
        path = options.work / f"{variant}-{info.name}-{row['precision']}"
        console.line(f"{path.name}: building")
        try:
            built[row["precision"]] = _build(path, variant, setting)
            row["error"] = None
        except EdgetrackError as error:
            row["error"] = str(error)
    if "fp32" not in built:
        raise EngineUnavailable(f"{variant} cannot be built for {target} in fp32: {rows[0]['error']}")
    document = _time(list(built.values()), options)
    base: list[SequenceRecord] = []
    for row in rows:
        artifact = built.get(row["precision"])
        if artifact is None:
            continue
        entry = document["contenders"][list(built).index(row["precision"])]
        versus = entry["versus"]
        row |= {
            "version": entry["engine"]["version"],
            "weights": artifact.model.weights,
            "fps": entry["fps"],
            "fps_ratio": None if versus is None else versus["fps_ratio"],
            "bytes": artifact.size_bytes(),
            "size_ratio": artifact.size_bytes() / built["fp32"].size_bytes(),
            "verdict": (artifact.verification or {}).get("verdict"),
            "islands": len(artifact.precision.fp32_islands),
            "int8_path": artifact.manifest["target"].get("int8_path"),
        }
        console.line(f"{artifact.path.name}: tracking")
        auc, records = _track(artifact, setting)
        base = base or records
        overlaps = (None, None) if row["precision"] == "fp32" else _overlap(base, records)
        row |= {"auc": auc, "iou": overlaps[0], "iou_followed": overlaps[1]}
    return _Group(rows, document["others_share"], base)


def _build(path: Path, variant: str, setting: _Setting) -> Artifact:
    """Export, unless that was done for the same request; a gate that fails is a figure of the table, not its end."""
    from edgetrack.cli import main as edgetrack

    options, precision = setting.options, path.name.rpartition("-")[2]
    words = ["export", variant, "--weights", setting.weights(variant), "--target", path.name.split("-")[-2]]
    words += ["--precision", precision, "--threads", str(options.threads), "--output", str(path), "--no-speed-check"]
    if precision == "int8":
        words += ["--calib", options.calib]
        words += [] if options.calib_frames is None else ["--calib-frames", str(options.calib_frames)]
    if not (path / MANIFEST_NAME).is_file() and edgetrack([*words, "--allow-mismatch"]) != 0:
        raise ArtifactError(f"edgetrack {' '.join(words)} failed; see above")
    return read_artifact(path)


def _time(artifacts: Sequence[Artifact], options: argparse.Namespace) -> dict[str, Any]:
    """Time the whole loops in turns on the clip of edgetrack."""
    specs = [artifact_spec(artifact.path, threads=options.threads) for artifact in artifacts]
    plan = Plan.of(max(2, len(specs)), updates=options.updates, warmup=min(_WARMUP, options.updates))
    with console.progress(options.updates * len(specs), "time the loops") as bar:
        return run_bench(specs, load_footage(), plan, bar, compare=True, fresh=False)


def _track(artifact: Artifact, setting: _Setting) -> tuple[float | None, list[SequenceRecord]]:
    """Return success AUC in percent, None for weights that follow nothing, and what was tracked."""
    options = setting.options
    subject = artifact_subject(artifact.path, threads=options.threads)
    folder = options.work / "eval" / artifact.path.name
    frames = sum(len(item.boxes) for item in setting.sequences)
    with console.progress(frames, f"track {artifact.path.name}") as bar:
        found, records = evaluate(
            subject, setting.sequences, folder, data=options.data, jobs=1, progress=bar, plots=False
        )
    trained = artifact.model.weights != _STAND_IN
    return (found["overall"]["pytracking"]["auc"] if trained else None), records


def _overlap(base: Sequence[SequenceRecord], other: Sequence[SequenceRecord]) -> tuple[float, float | None]:
    """Return the mean IoU of two loops' boxes, the first frame of each sequence left out.

    Over all frames, and over those in which the base overlaps the truth by more than half (None: there are none): where
    both have lost their target each is somewhere.
    """
    found, followed = [], []
    for one, two in zip(base, other, strict=True):
        boxes, truth = one.raw_array(), one.truth_array()
        found.append(box_iou(two.raw_array(), boxes)[1:])
        followed.append(follows(boxes, truth)[1:])
    overlaps, chosen = np.concatenate(found), np.concatenate(followed)
    return float(overlaps.mean()), float(overlaps[chosen].mean()) if chosen.any() else None


def _show(document: dict[str, Any]) -> None:
    from edgetrack.benchmarks.precisions_page import COLUMNS, cells

    console.table(COLUMNS, [cells(row) for row in document["rows"]])


if __name__ == "__main__":
    sys.exit(main())
