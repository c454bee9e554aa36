"""What only a fresh process shows: how long until the first box, and how much memory that takes.

Each is measured in processes of its own, so that neither disturbs the timing of the loop.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgetrack import errors
from edgetrack.benchmarks.contenders import ContenderSpec
from edgetrack.benchmarks.frames import Footage

__all__ = ["cold_start", "peak_memory", "run_python"]

_TIMEOUT_S = 600
_CHILD = "from edgetrack.benchmarks.fresh_child import main; main()"


def cold_start(spec: ContenderSpec, footage: Footage, repeats: int) -> dict[str, Any]:
    """Return the milliseconds from the start of a process to its first box, and of the steps in between.

    The files may still be in the system's cache: the process is cold, the disk is not. The two frames are read from
    a file, which is part of the whole but takes about a millisecond.

    Raises:
        EdgetrackError: what the contender raised in the new process.
    """
    runs = [_child("cold_start", spec, footage, 1) for _ in range(repeats)]
    return {"runs": runs, "median": {key: median(run[key] for run in runs) for key in runs[0]}}


def peak_memory(spec: ContenderSpec, footage: Footage, updates: int) -> dict[str, Any]:
    """Return the resident memory in bytes of a process that tracks, at each step on its way.

    Returns:
        interpreter (with numpy and edgetrack), engine_import, load, end (after `updates`), peak, and updates. Two
        frames of the clip are part of it.

    Raises:
        EdgetrackError: what the contender raised in the new process.
    """
    return _child("memory", spec, footage, updates)


def run_python(arguments: list[str], timeout_s: float = _TIMEOUT_S) -> str:
    """Run this interpreter in an empty folder and return what it writes to stdout.

    The empty folder keeps a source tree that the user stands in from shadowing the installed edgetrack.

    Raises:
        EngineUnavailable: it failed or did not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="edgetrack-bench-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise errors.EngineUnavailable(
                f"a process to measure in did not end in {timeout_s:g} s; try again"
            ) from error
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no message"])[-1]
            raise errors.EngineUnavailable(
                f"a process to measure in failed with code {error.returncode} ({last}); run `edgetrack doctor`"
            ) from error
    return done.stdout


def _child(task: str, spec: ContenderSpec, footage: Footage, updates: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgetrack-bench-") as folder:
        frames = Path(folder) / "frames.npy"
        np.save(frames, np.stack(footage.frames[:2]))
        request = {
            "task": task,
            "spec": asdict(spec),
            "frames": str(frames),
            "box": list(footage.box),
            "updates": updates,
        }
        # The monotonic clock is the system's, the same in both processes.
        request["started_s"] = time.monotonic()
        answer = json.loads(run_python(["-c", _CHILD, json.dumps(request)]))
    if "error" in answer:
        kind = getattr(errors, answer["error"], errors.EdgetrackError)
        raise kind(answer["message"])
    found: dict[str, Any] = answer
    return found
