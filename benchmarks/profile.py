"""Where the network's time goes: by operator, and as a share of the machine's matrix rate.

`python -m edgetrack.benchmarks.profile ARTIFACT`. The matrix rate is measured in the same run, on the same engine with
the same threads, as a chain of plain fp32 products of the network's shapes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgetrack.artifact import Artifact, read_artifact
from edgetrack.benchmarks.contenders import artifact_spec, described, open_contender
from edgetrack.benchmarks.device import machine_line
from edgetrack.benchmarks.files import document_head
from edgetrack.benchmarks.frames import Footage, load_footage
from edgetrack.benchmarks.loop import DEFAULT_WARMUP, Plan, measure
from edgetrack.benchmarks.matrix_rate import Chain, chain_of, measure_matrix_rate
from edgetrack.benchmarks.operators import MATRIX_OPERATORS, Call, open_profiler
from edgetrack.benchmarks.others import OtherLoad, others_line
from edgetrack.benchmarks.program import new_parser, run_program
from edgetrack.benchmarks.stats import summarize
from edgetrack.cli import console
from edgetrack.demo import TEXT
from edgetrack.errors import InputError
from edgetrack.export.models import find_variant
from edgetrack.export.models.base import Variant
from edgetrack.loading import graph_files, language_home, open_engine
from edgetrack.runtime.tracker import build_tracker

__all__ = ["SCHEMA", "main", "measure_profile", "table_of_calls"]

SCHEMA = "edgetrack-profile/1"

_DEFAULT_UPDATES = 128
_CHAIN_OPERATIONS = 150e9
_WARMUP_SHARE = 0.08
_SHOWN = 12


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = new_parser("profile", "Time of a network by operator, and its share of the machine's matrix rate.")
    parser.add_argument("artifact", type=Path, help="the artifact to profile")
    parser.add_argument("--engine", help="onnxruntime or openvino; default: what the artifact was built for")
    parser.add_argument("--threads", type=int, help="CPU threads; default: the engine decides")
    parser.add_argument("--updates", type=int, default=_DEFAULT_UPDATES, help="updates to profile")
    return run_program(parser, _run, _show, words)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    with console.progress(None, "profile") as bar:
        return measure_profile(
            options.artifact,
            engine=options.engine,
            threads=options.threads,
            updates=max(1, options.updates),
            progress=bar,
        )


def measure_profile(
    path: Path, *, engine: str | None, threads: int | None, updates: int, progress: console.Progress
) -> dict[str, Any]:
    """Profile an artifact in the closed loop on the clip that comes with edgetrack.

    Args:
        path: the artifact.
        engine: None is the one it was built for.
        threads: None leaves it to the engine.
        updates: how many to profile.
        progress: told of stages.

    Raises:
        EdgetrackError: the artifact cannot be loaded, or the engine cannot be profiled.
    """
    artifact, footage = read_artifact(path), load_footage()
    spec = artifact_spec(path, device="cpu", engine=engine, threads=threads, usual_text=TEXT)
    variant = _known(spec.variant)
    chain = chain_of(variant)
    with OtherLoad() as others:
        before = _chain_gflops(artifact, spec.engine, chain, threads, progress)
        progress.stage("measure without profiling")
        with closing(open_contender(spec)) as contender:
            plan = Plan(updates=updates, warmup=min(DEFAULT_WARMUP, updates))
            (series,) = measure([contender], footage, plan, progress)
            facts = contender.describe()
        after = _chain_gflops(artifact, spec.engine, chain, threads, progress)
    progress.stage("profile operators")
    operators = table_of_calls(_profile(artifact, spec.engine, threads, footage, updates))
    run_ms = summarize(series.stages["run"])
    gmacs = variant.gmacs if variant else None
    return {
        **document_head(SCHEMA),
        "others_share": others.share,
        "artifact": spec.name,
        "variant": spec.variant,
        "precision": spec.precision,
        "engine": {**facts, "threads": threads},
        "updates": updates,
        "run_ms": asdict(run_ms),
        "operators": operators,
        "matrix": {"chain": str(chain), **_matrix(gmacs, run_ms.p50, operators, (before + after) / 2)},
    }


def _known(name: str) -> Variant | None:
    try:
        return find_variant(name)
    except InputError:
        return None


def _chain_gflops(
    artifact: Artifact, engine: str, chain: Chain, threads: int | None, progress: console.Progress
) -> float:
    progress.stage("matrix rate")
    with closing(open_engine(artifact, device="cpu", engine=engine, threads=threads)) as opened:
        return measure_matrix_rate(opened, chain, _CHAIN_OPERATIONS).gflops


def _profile(
    artifact: Artifact, engine: str, threads: int | None, footage: Footage, updates: int
) -> dict[str, list[Call]]:
    """Track with profiling on; return the calls after warm-up of each graph that runs in every frame."""
    profiler = open_profiler(engine, threads)
    graphs = graph_files(artifact)
    with build_tracker(artifact.tracker, graphs, profiler.engine, language_home(artifact)) as tracker:
        count = len(footage.frames)
        said = TEXT if tracker.language is not None and tracker.language.encodes else None
        text, pack = described(tracker, artifact.model.weights, said, None)
        for step in range(updates + 1 + updates // count):
            if step % count == 0:
                tracker.init(footage.frames[0], footage.box, text=text, pack=pack, color="rgb")
            else:
                tracker.update(footage.frames[step % count], color="rgb")
        found = {name: calls for name, calls in profiler.calls().items() if len(calls) >= updates}
        return {name: calls[round(_WARMUP_SHARE * len(calls)) :] for name, calls in found.items()}


def table_of_calls(calls: dict[str, list[Call]]) -> list[dict[str, Any]]:
    """Sum up a frame: each graph once, each operator with its median over the graph's calls.

    Returns:
        Per operator type: op, count, ms, share of all operators, and whether it is a matrix product; slowest first.
    """
    totals: dict[str, tuple[int, float]] = {}
    for of_graph in calls.values():
        for operator in {name for call in of_graph for name in call}:
            seen = [call.get(operator, (0, 0.0)) for call in of_graph]
            count, ms = totals.get(operator, (0, 0.0))
            count += round(float(np.median([number for number, _ in seen])))
            totals[operator] = (count, ms + float(np.median([time for _, time in seen])))
    whole = sum(ms for _, ms in totals.values()) or 1.0
    rows = [
        {"op": name, "count": count, "ms": ms, "share": ms / whole, "matrix": name in MATRIX_OPERATORS}
        for name, (count, ms) in totals.items()
        if count
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def _matrix(
    gmacs: float | None, run_ms: float, operators: Sequence[dict[str, Any]], chain_gflops: float
) -> dict[str, Any]:
    """Put the network's arithmetic over its time, beside what the chain reached."""
    matrix_ms = sum(row["ms"] for row in operators if row["matrix"])
    whole_ms = sum(row["ms"] for row in operators)
    network = 2 * gmacs / run_ms * 1e3 if gmacs and run_ms else None
    products = 2 * gmacs / matrix_ms * 1e3 if gmacs and matrix_ms else None
    return {
        "chain_gflops": chain_gflops,
        "gmacs": gmacs,
        "network_gflops": network,
        "network_share": network / chain_gflops if network else None,
        "operators_ms": whole_ms,
        "other_ms": whole_ms - matrix_ms,
        "other_share": (whole_ms - matrix_ms) / whole_ms if whole_ms else None,
        "products_ms": matrix_ms,
        "products_gflops": products,
        "products_share": products / chain_gflops if products else None,
    }


def _show(document: dict[str, Any]) -> None:
    console.line(machine_line(document["machine"]))
    if warning := others_line(document["others_share"]):
        console.warn(warning)
    engine, matrix = document["engine"], document["matrix"]
    rows = [
        (row["op"], row["count"], f"{row['ms']:.3f}", f"{row['share']:.1%}", "yes" if row["matrix"] else "")
        for row in document["operators"][:_SHOWN]
    ]
    version = engine["version"].split("-")[0]
    title = f"{document['artifact']} on {engine['engine']} {version}, ms per frame (profiling costs some)"
    console.table(("operator", ">count", ">ms", ">share", "product"), rows, title=title)
    console.line(f"engine calls without profiling: {document['run_ms']['p50']:.2f} ms per frame")
    if matrix["other_share"] is not None:
        console.line(f"no matrix product: {matrix['other_ms']:.2f} ms per frame, {matrix['other_share']:.1%} of all")
    console.line(f"chain of plain products: {matrix['chain_gflops']:.0f} GFLOP/s")
    if matrix["network_gflops"] is not None:
        console.line(f"whole network: {matrix['network_gflops']:.0f} GFLOP/s, {matrix['network_share']:.0%} of that")
    if matrix["products_gflops"] is not None:
        console.line(f"its products: {matrix['products_gflops']:.0f} GFLOP/s, {matrix['products_share']:.0%} of that")


if __name__ == "__main__":
    sys.exit(main())
