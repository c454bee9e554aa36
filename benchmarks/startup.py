"""What it costs to begin: `import edgetrack`, loading an artifact, the size of the wheel.

`python -m edgetrack.benchmarks.startup [ARTIFACT ...] [--wheel FILE]`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgetrack.benchmarks.contenders import artifact_spec
from edgetrack.benchmarks.files import document_head
from edgetrack.benchmarks.frames import load_footage
from edgetrack.benchmarks.fresh import cold_start, run_python
from edgetrack.benchmarks.others import OtherLoad, others_line
from edgetrack.benchmarks.program import new_parser, run_program
from edgetrack.benchmarks.stats import summarize
from edgetrack.cli import console
from edgetrack.errors import InputError

__all__ = ["SCHEMA", "main", "measure_startup"]

SCHEMA = "edgetrack-startup/1"

_DEFAULT_REPEATS = 7
_HEAVY = ("torch", "onnx", "cv2", "onnxruntime", "openvino", "typer", "rich")
_IMPORT = """
import json, sys, time
before = set(sys.modules)
began = time.perf_counter()
import edgetrack
ms = 1e3 * (time.perf_counter() - began)
print(json.dumps({"ms": ms, "modules": sorted(set(sys.modules) - before)}))
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = new_parser("startup", "Cost of importing edgetrack and of loading artifacts, in fresh processes.")
    parser.add_argument("artifacts", nargs="*", type=Path, help="artifacts to load")
    parser.add_argument("--wheel", type=Path, help="a built wheel, to report its size")
    parser.add_argument("--repeats", type=int, default=_DEFAULT_REPEATS, help="processes per measurement")
    parser.add_argument("--threads", type=int, help="CPU threads of the engine")
    return run_program(parser, _run, _show, words)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    return measure_startup(
        options.artifacts, repeats=max(1, options.repeats), wheel=options.wheel, threads=options.threads
    )


def measure_startup(
    artifacts: Sequence[Path], *, repeats: int, wheel: Path | None = None, threads: int | None = None
) -> dict[str, Any]:
    """Import and load in fresh processes.

    Args:
        artifacts: to load.
        repeats: processes per measurement.
        wheel: file to report the size of.
        threads: CPU threads of the engine.

    Raises:
        InputError: there is no such wheel.
        EdgetrackError: an artifact cannot be loaded.
    """
    if wheel is not None and not wheel.is_file():
        raise InputError(f"wheel {wheel} does not exist; build one with pip wheel --no-deps .")
    with OtherLoad() as others:
        imported, loaded = _import(repeats), [_load(path, repeats, threads) for path in artifacts]
    return {
        **document_head(SCHEMA),
        "others_share": others.share,
        "import": imported,
        "wheel": None if wheel is None else {"name": wheel.name, "bytes": wheel.stat().st_size},
        "artifacts": loaded,
    }


def _import(repeats: int) -> dict[str, Any]:
    runs = [json.loads(run_python(["-c", _IMPORT])) for _ in range(repeats)]
    modules = runs[0]["modules"]
    return {
        "ms": asdict(summarize([run["ms"] for run in runs])),
        "modules": len(modules),
        "heavy": [name for name in _HEAVY if name in modules],
    }


def _load(path: Path, repeats: int, threads: int | None) -> dict[str, Any]:
    spec = artifact_spec(path, threads=threads)
    found = cold_start(spec, load_footage(), repeats)
    return {"name": spec.name, "variant": spec.variant, "engine": spec.engine, "cold_start": found}


def _show(document: dict[str, Any]) -> None:
    if warning := others_line(document["others_share"]):
        console.warn(warning)
    found = document["import"]
    heavy = ", ".join(found["heavy"]) or "none of them heavy"
    console.line(f"import edgetrack: {found['ms']['p50']:.0f} ms, {found['modules']} modules, {heavy}")
    if document["wheel"] is not None:
        console.line(f"{document['wheel']['name']}: {document['wheel']['bytes'] / 1e6:.2f} MB")
    rows = [
        (
            item["name"],
            item["engine"],
            *(f"{item['cold_start']['median'][key]:.0f}" for key in ("load_ms", "load_again_ms", "to_first_box_ms")),
        )
        for item in document["artifacts"]
    ]
    if rows:
        columns = ("artifact", "engine", ">load", ">load again", ">process start to first box")
        console.table(columns, rows, title="ms, medians of fresh processes; load includes the engine's import")


if __name__ == "__main__":
    sys.exit(main())
