"""How large a network is: on disk, while it is exported, and while it tracks.

`python -m edgetrack.benchmarks.footprint ARTIFACT ...`. Each artifact tracks in a process of its own. The memory of its
export comes from the note beside it, where `edgetrack.benchmarks.exporting` wrote one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetrack.artifact import Artifact, read_artifact
from edgetrack.benchmarks import exporting
from edgetrack.benchmarks.contenders import ContenderSpec, artifact_spec
from edgetrack.benchmarks.files import document_head, read_document
from edgetrack.benchmarks.frames import Footage, load_footage
from edgetrack.benchmarks.fresh import peak_memory
from edgetrack.benchmarks.program import new_parser, run_program
from edgetrack.cli import console
from edgetrack.demo import TEXT
from edgetrack.export.models import find_variant
from edgetrack.loading import load

__all__ = ["SCHEMA", "main", "measure_footprint"]

SCHEMA = "edgetrack-footprint/1"

_UPDATES = 4
_WEIGHT_BYTES = {"fp32": 4, "fp16": 2}
_MEGABYTE = 1e6


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = new_parser("footprint", "Size of artifacts on disk, in export and in tracking.")
    parser.add_argument("artifacts", nargs="+", type=Path, help="artifacts of variants that `edgetrack models` lists")
    parser.add_argument("--threads", type=int, help="CPU threads of the engine")
    parser.add_argument("--updates", type=int, default=_UPDATES, help="updates to track")
    return run_program(parser, _run, _show, words)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    return measure_footprint(options.artifacts, updates=max(1, options.updates), threads=options.threads)


def measure_footprint(artifacts: Sequence[Path], *, updates: int, threads: int | None = None) -> dict[str, Any]:
    """Measure artifacts, each in a fresh process.

    Args:
        artifacts: their folders.
        updates: frames to track; what an engine allocates in its first runs is there after a few.
        threads: of the engine; None leaves the number to it.

    Returns:
        The document: a row per artifact, sizes in bytes. `memory` is resident memory as `fresh.peak_memory` gives it.

    Raises:
        EdgetrackError: an artifact cannot be loaded, or its variant is in no table.
    """
    footage = load_footage()
    rows = [_row(path, footage, updates, threads) for path in artifacts]
    return {**document_head(SCHEMA), "threads": threads, "updates": updates, "rows": rows}


def _row(path: Path, footage: Footage, updates: int, threads: int | None) -> dict[str, Any]:
    spec, artifact = artifact_spec(path, threads=threads, usual_text=TEXT), read_artifact(path)
    variant, note = find_variant(spec.variant), exporting.note_of(path)
    return {
        "artifact": spec.name,
        "variant": spec.variant,
        "engine": spec.engine,
        "precision": spec.precision,
        "parameters": variant.parameters,
        "gmacs": variant.gmacs,
        "published_gmacs": variant.published_gmacs,
        "weights_bytes": variant.parameters * _WEIGHT_BYTES[spec.precision],
        "artifact_bytes": artifact.size_bytes(),
        **_told(spec, artifact, footage, updates),
        "export": _export(note) if note.is_file() else None,
        "memory": peak_memory(spec, footage, updates),
    }


def _told(spec: ContenderSpec, artifact: Artifact, footage: Footage, updates: int) -> dict[str, Any]:
    """Return what a device needs of a tracker that reads text, if the target is described elsewhere.

    Returns:
        target_bytes: what it is fed of a description. device: `graphs_bytes`, of the files without those that describe
        targets; `pack_bytes`, of a target pack's file; `memory`, as `fresh.peak_memory` gives it for tracking with that
        pack. Both None for a tracker that reads no text.
    """
    with load(spec.path, threads=spec.threads) as tracker:
        language = tracker.language
        if language is None:
            return {"target_bytes": None, "device": None}
        if language.encodes:
            pack = language.encode(TEXT, tracker.picture(footage.frames[0], footage.box, "rgb"))
        else:
            pack = language.made_up()
        describing = language.spec.chain
    files = [artifact.file(name) for entry in artifact.graphs if entry.role not in describing for name in entry.files]
    with tempfile.TemporaryDirectory(prefix="edgetrack-bench-") as folder:
        place = pack.save(Path(folder) / "target.pack")
        device = {
            "graphs_bytes": sum(path.stat().st_size for path in files),
            "pack_bytes": place.stat().st_size,
            "memory": peak_memory(replace(spec, text=None, pack=str(place)), footage, updates),
        }
    return {"target_bytes": sum(array.nbytes for array in pack.arrays.values()), "device": device}


def _export(note: Path) -> dict[str, Any]:
    document = read_document(note, exporting.SCHEMA)
    return {key: document[key] for key in ("seconds", "peak_rss_bytes")}


def _show(document: dict[str, Any]) -> None:
    rows = [
        (
            row["artifact"],
            *(f"{row[key] / _MEGABYTE:.0f}" for key in ("weights_bytes", "artifact_bytes")),
            "-" if row["export"] is None else f"{row['export']['peak_rss_bytes'] / _MEGABYTE:.0f}",
            *(f"{row['memory'][key] / _MEGABYTE:.0f}" for key in ("load", "end", "peak")),
        )
        for row in document["rows"]
    ]
    columns = ("artifact", ">weights", ">files", ">peak of the export", ">loaded", ">tracking", ">peak")
    console.table(columns, rows, title="MB; the last three: resident in a process of its own")


if __name__ == "__main__":
    sys.exit(main())
