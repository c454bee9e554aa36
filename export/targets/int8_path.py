"""Which form of 8-bit products is faster on this machine: measured on the graph itself, and remembered.

On x86 the two differ by up to two times either way, with the CPU's instructions, the graph and the engine's release; no
table would stay right. The answer is kept in the user's cache folder per machine, ONNX Runtime release and graph.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetrack.artifact import sha256_of
from edgetrack.cli.machine import cpu_name, simd_flags, usable_cores
from edgetrack.errors import InputError
from edgetrack.runtime.engine import Engine, Session
from edgetrack.video.boxes import write_text

__all__ = ["PROBE_S", "Choice", "cache_file", "choose"]

PROBE_S = 1.5
"""What a probe may take, warming up excluded."""

_ALIKE = 0.05
"""Times that differ by less are alike, on a machine that does other things too."""

_ROUNDS = 7  # at least
_WARM_UP = 3
_MOST_ENTRIES = 256
_MAX_CACHE_BYTES = 1 << 20


@dataclass(frozen=True)
class Choice:
    """The form that was chosen and why.

    Attributes:
        path: its name.
        ms: name -> median time of one run; empty where it was not measured.
        cached: whether the times are of an earlier probe.
    """

    path: str
    ms: Mapping[str, float]
    cached: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return what goes into the manifest."""
        return {"path": self.path, "probe_ms": {name: round(ms, 3) for name, ms in self.ms.items()}}


def choose(files: Mapping[str, Path], dims: Mapping[str, int], engine: Engine, graph: Path) -> Choice:
    """Return the fastest of several files of one graph on this machine.

    Args:
        files: name -> file, preferred ones first: among times that are alike it is the first.
        dims: a value of every symbolic dimension.
        engine: what runs them; stays open.
        graph: the file that they were made from, which with the machine and the engine's release identifies the probe.
    """
    key = _key(graph, dims, engine.describe())
    known = _read().get(key)
    if known is not None and set(known) == set(files):
        return Choice(_fastest(known, files), known, cached=True)
    ms = _measure({name: engine.open(path, dims) for name, path in files.items()})
    _remember(key, ms)
    return Choice(_fastest(ms, files), ms)


def _fastest(ms: Mapping[str, float], files: Mapping[str, Path]) -> str:
    """Return the name of the smallest time, the first in the order of `files` where times are alike."""
    best = min(ms.values())
    return next(name for name in files if ms[name] <= best * (1 + _ALIKE))


def cache_file() -> Path:
    """Return where probes are remembered."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgetrack" / "int8-path.json"


def _measure(sessions: Mapping[str, Session]) -> dict[str, float]:
    """Run all in turns and return the median time of each in milliseconds."""
    generator = np.random.default_rng(0)
    for session in sessions.values():
        for array in session.inputs.values():
            array[...] = generator.standard_normal(array.shape, np.float32)
        for _ in range(_WARM_UP):
            session.run()
    times: dict[str, list[float]] = {name: [] for name in sessions}
    began, names = time.perf_counter(), list(sessions)
    while len(times[names[0]]) < _ROUNDS or time.perf_counter() - began < PROBE_S:
        for name in names:
            sessions[name].run()  # the caches hold another graph: not counted
            start = time.perf_counter()
            sessions[name].run()
            times[name].append(1e3 * (time.perf_counter() - start))
        names.reverse()
    return {name: float(np.median(spent)) for name, spent in times.items()}


def _key(graph: Path, dims: Mapping[str, int], engine: Mapping[str, str]) -> str:
    told: Sequence[Any] = (cpu_name(), simd_flags(), usable_cores(), dict(engine), sorted(dims.items()))
    return hashlib.sha256(f"{json.dumps(told)} {sha256_of(graph)}".encode()).hexdigest()


def _read() -> dict[str, dict[str, float]]:
    """Return what is remembered; a file that is missing or damaged is as good as empty."""
    try:
        with cache_file().open("rb") as stream:
            text = stream.read(_MAX_CACHE_BYTES + 1)
        found = json.loads(text) if len(text) <= _MAX_CACHE_BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: entry for key, entry in found.items() if _is_entry(entry)} if isinstance(found, dict) else {}


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and bool(entry) and all(type(ms) is float and ms > 0 for ms in entry.values())


def _remember(key: str, ms: Mapping[str, float]) -> None:
    """Add a probe; where the cache cannot be written it is made again next time."""
    kept = dict(list(_read().items())[-_MOST_ENTRIES + 1 :])
    path = cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({**kept, key: dict(ms)}, indent=1))
    except (OSError, InputError):
        return
