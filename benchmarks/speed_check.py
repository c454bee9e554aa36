"""Is a smaller precision faster here? The whole loops of two artifacts, in turns for a few seconds."""

from __future__ import annotations

import platform
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from edgetrack.benchmarks.contenders import artifact_spec, open_contender
from edgetrack.benchmarks.frames import Footage
from edgetrack.benchmarks.loop import Plan, measure
from edgetrack.benchmarks.stats import ratio_of_medians
from edgetrack.cli.console import Progress
from edgetrack.cli.machine import cpu_name, usable_cores

__all__ = ["PLAN", "compare_speed"]

PLAN = Plan(updates=96, duration_s=6.0, warmup=16, block=8, settle=1, pause_s=0.05)


def compare_speed(
    base: Path, other: Path, footage: Footage, progress: Progress, *, threads: int | None = None, plan: Plan = PLAN
) -> dict[str, Any]:
    """Time the whole loop of two artifacts on the devices that they were built for.

    Args:
        base: the float32 artifact.
        other: the one that should be faster.
        footage: the frames, and the target in the first.
        progress: told of stages and updates.
        threads: CPU threads of one network call; None leaves it to the engines.
        plan: how to measure.

    Returns:
        `fp32_fps` and `fps` (from median times), `ratio` of the two with its 95 % interval `low` and `high`, `faster`:
        whether the interval is above 1, `frames` that each tracked, `threads`, and `where`, the machine.

    Raises:
        ArtifactError: one cannot be loaded.
        EngineUnavailable: the engine or device is not here.
    """
    with ExitStack() as stack:
        specs = [artifact_spec(path, threads=threads) for path in (base, other)]
        contenders = [stack.enter_context(closing(open_contender(spec))) for spec in specs]
        slow, fast = measure(contenders, footage, plan, progress)
        device = contenders[1].describe()["device"]
    ratio = ratio_of_medians(slow.ms, fast.ms, slow.blocks)
    return {
        "fp32_fps": round(1e3 / float(np.median(slow.ms)), 2),
        "fps": round(1e3 / float(np.median(fast.ms)), 2),
        "ratio": round(ratio.value, 3),
        "low": round(ratio.low, 3),
        "high": round(ratio.high, 3),
        "faster": ratio.low > 1,
        "frames": len(fast.ms),
        "threads": threads,
        "where": f"{device}: {cpu_name()}, {usable_cores()} cores, {platform.system()} {platform.machine()}",
    }
