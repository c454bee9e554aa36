"""One run of `edgetrack bench`: open the contenders, measure them, and say what was found.

The result is the document that `bench-1.schema.json` describes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import Any

import edgetrack
from edgetrack.benchmarks.contenders import STAGES, ContenderSpec, open_contender
from edgetrack.benchmarks.device import describe_machine, now
from edgetrack.benchmarks.frames import Footage
from edgetrack.benchmarks.fresh import cold_start, peak_memory
from edgetrack.benchmarks.loop import Plan, Series, measure
from edgetrack.benchmarks.others import OtherLoad
from edgetrack.benchmarks.stats import drift, fps, ratio_of_medians, ratio_of_rates, summarize
from edgetrack.cli.console import Progress

__all__ = ["COLD_STARTS", "MEMORY_UPDATES", "SCHEMA", "run_bench"]

SCHEMA = "edgetrack-bench/1"
COLD_STARTS = 3
MEMORY_UPDATES = 100


def run_bench(
    specs: Sequence[ContenderSpec],
    footage: Footage,
    plan: Plan,
    progress: Progress,
    *,
    compare: bool = False,
    fresh: bool = True,
) -> dict[str, Any]:
    """Measure contenders one after the other, or all in turns.

    Args:
        specs: what to measure; with `compare` the first one is what the others are compared with.
        footage: the frames.
        plan: how to measure.
        progress: told of stages and updates.
        compare: take turns in one run, and report ratios and differences of boxes.
        fresh: measure cold start and peak memory of artifacts too, each in a process of its own, before the loop.

    Raises:
        EdgetrackError: a contender cannot be opened or run.
    """
    machine = describe_machine()
    apart = [_fresh(spec, footage, progress, wanted=fresh) for spec in specs]
    groups = [list(specs)] if compare else [[spec] for spec in specs]
    with OtherLoad() as others:
        found = [pair for group in groups for pair in _measure_group(group, footage, plan, progress)]
    contenders = [_contender(spec, facts, series, plan) for spec, (facts, series) in zip(specs, found, strict=True)]
    for index, entry in enumerate(contenders):
        entry.update(apart[index], versus=None)
        if compare and index > 0:
            same = specs[index].variant == specs[0].variant
            entry["versus"] = _versus(specs[0].name, found[0][1], found[index][1], same_variant=same)
    width, height = footage.size
    return {
        "schema": SCHEMA,
        "edgetrack": edgetrack.__version__,
        "time": now(),
        "machine": machine,
        "others_share": others.share,
        "clip": {
            "name": footage.name,
            "frames": len(footage.frames),
            "cut": footage.cut,
            "width": width,
            "height": height,
            "box": list(footage.box),
        },
        "plan": {**asdict(plan), "interleaved": compare, "threads": specs[0].threads},
        "contenders": contenders,
    }


def _fresh(spec: ContenderSpec, footage: Footage, progress: Progress, *, wanted: bool) -> dict[str, Any]:
    # The reference is left out: to build it we make up stand-in weights and fold tables for our own graphs, which the
    # published code does not do. Its start and its memory would say more about us than about that code.
    if not wanted or spec.kind != "artifact":
        return {"cold_start": None, "memory": None}
    progress.stage(f"cold start of {spec.name}")
    cold = cold_start(spec, footage, COLD_STARTS)
    progress.stage(f"memory of {spec.name}")
    return {"cold_start": cold, "memory": peak_memory(spec, footage, MEMORY_UPDATES)}


def _measure_group(
    specs: Sequence[ContenderSpec], footage: Footage, plan: Plan, progress: Progress
) -> list[tuple[dict[str, Any], Series]]:
    """Return, for each contender, what it says of itself, and its series."""
    with ExitStack() as stack:
        progress.stage("load")
        contenders = [stack.enter_context(closing(open_contender(spec))) for spec in specs]
        series = measure(contenders, footage, plan, progress)
        facts = [
            {
                "engine": contender.describe(),
                "stage_notes": dict(contender.stage_notes()),
                "text_ms": contender.text_ms(),
            }
            for contender in contenders
        ]
    return list(zip(facts, series, strict=True))


def _contender(spec: ContenderSpec, facts: dict[str, Any], series: Series, plan: Plan) -> dict[str, Any]:
    pace = None
    if plan.pace_fps is not None:
        pace = {"fps": plan.pace_fps, "over_budget": series.over_budget}
    text = {} if facts["text_ms"] is None else {"text_ms": facts["text_ms"]}
    return {
        "name": spec.name,
        "kind": spec.kind,
        "variant": spec.variant,
        "precision": spec.precision,
        "weights": spec.weights,
        "engine": {**facts["engine"], "threads": spec.threads},
        "frames_on": spec.frames_on,
        "updates": len(series.ms),
        "fps": fps(series.ms),
        "total_ms": asdict(summarize(series.ms)),
        "stages_ms": {stage: asdict(summarize(series.stages[stage])) for stage in STAGES},
        "stage_notes": facts["stage_notes"],
        "init_ms": asdict(summarize(series.init_ms)),
        **text,
        "warmup": {"updates": series.warmup_updates, "settled": series.settled},
        "drift": asdict(drift(series.ms)),
        "pace": pace,
        "states": dict(series.states),
        "updates_ms": [round(ms, 4) for ms in series.ms],
    }


def _versus(base_name: str, base: Series, other: Series, *, same_variant: bool) -> dict[str, Any]:
    """Compare two series of the same frames; boxes only between trackers of one network."""
    distances = [
        max(abs(a - b) for a, b in zip(left, right, strict=True))
        for left, right in zip(base.boxes, other.boxes, strict=True)
    ]
    return {
        "base": base_name,
        "fps_ratio": asdict(ratio_of_rates(base.ms, other.ms, base.blocks)),
        "median_ratio": asdict(ratio_of_medians(base.ms, other.ms, base.blocks)),
        "max_box_px": max(distances) if same_variant else None,
    }
