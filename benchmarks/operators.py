"""Engines that say how long each operator took, behind the seam of all engines.

What they report is one table per network call: operator type -> (how many, milliseconds together).
"""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.engine import Engine
from edgetrack.runtime.engines.onnxruntime import OnnxRuntimeEngine
from edgetrack.runtime.engines.openvino import OpenVinoEngine, OpenVinoSession

__all__ = ["MATRIX_OPERATORS", "Call", "Profiler", "calls_of_events", "open_profiler"]

Call = dict[str, tuple[int, float]]
"""One network call: operator type -> (count, ms)."""

MATRIX_OPERATORS = frozenset(
    {
        *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv"),  # ONNX Runtime
        *("Attention", "MultiHeadAttention"),
        *("FullyConnected", "Convolution", "ScaledDotProductAttention", "MHA"),  # OpenVINO
    }
)
"""Operators that are matrix products, or hold them."""

_KERNEL = "_kernel_time"
_MICROSECONDS = 1e-3


class Profiler(Protocol):
    """An engine that keeps account."""

    @property
    def engine(self) -> Engine:
        """The engine to open networks in."""

    def calls(self) -> dict[str, list[Call]]:
        """Return, by file name, every network call so far in order; to be asked once, at the end."""


def open_profiler(name: str, threads: int | None) -> Profiler:
    """Return the profiler of an engine on the CPU.

    Raises:
        EngineUnavailable: the engine is not installed, or there is no profiler for it.
    """
    known: dict[str, Callable[[int | None], Profiler]] = {
        "onnxruntime": _OnnxRuntimeProfiler,
        "openvino": _OpenVinoProfiler,
    }
    if name not in known:
        raise EngineUnavailable(f"engine {name!r} cannot be profiled; known: {', '.join(known)}")
    return known[name](threads)


class _OnnxRuntimeProfiler:
    """ONNX Runtime writes a trace of events per network."""

    def __init__(self, threads: int | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgetrack-profile-")
        self.engine = _TracingOnnxRuntime(Path(self._folder.name), threads)

    def calls(self) -> dict[str, list[Call]]:
        traces = {path.name: session.end_profiling() for path, session in self.engine.sessions.items()}
        found = {name: calls_of_events(json.loads(Path(trace).read_text())) for name, trace in traces.items()}
        self._folder.cleanup()
        return found


class _TracingOnnxRuntime(OnnxRuntimeEngine):
    def __init__(self, folder: Path, threads: int | None) -> None:
        super().__init__("cpu", threads=threads)
        self._folder = folder

    @property
    def sessions(self) -> Mapping[Path, Any]:
        return self._opened

    def _options(self) -> Any:  # noqa: ANN401 (an onnxruntime.SessionOptions)
        options = super()._options()
        options.enable_profiling = True
        options.profile_file_prefix = str(self._folder / "trace")
        return options


def calls_of_events(events: list[dict[str, Any]]) -> list[Call]:
    """Turn ONNX Runtime's trace into calls: kernel events belong to the `model_run` that they began in."""
    starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    counts: list[dict[str, int]] = [defaultdict(int) for _ in starts]
    totals: list[dict[str, float]] = [defaultdict(float) for _ in starts]
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_KERNEL):
            continue
        run = bisect_right(starts, event["ts"]) - 1
        if run < 0:
            continue
        operator = event["args"]["op_name"]
        counts[run][operator] += 1
        totals[run][operator] += event["dur"] * _MICROSECONDS
    return [
        {operator: (number, total[operator]) for operator, number in count.items()}
        for count, total in zip(counts, totals, strict=True)
    ]


class _OpenVinoProfiler:
    """OpenVINO keeps the times of the last call, to be fetched after each."""

    def __init__(self, threads: int | None) -> None:
        self.engine = _CountingOpenVino(threads)

    def calls(self) -> dict[str, list[Call]]:
        return self.engine.found


class _CountingOpenVino(OpenVinoEngine):
    def __init__(self, threads: int | None) -> None:
        super().__init__("cpu", threads=threads)
        self.found: dict[str, list[Call]] = defaultdict(list)

    def _configuration(self) -> dict[str, str]:
        return {**super()._configuration(), "PERF_COUNT": "YES"}

    def open(self, path: Path, dims: Mapping[str, int]) -> Any:  # noqa: ANN401 (like an OpenVinoSession)
        return _CountingSession(super().open(path, dims), self.found[path.name])


class _CountingSession:
    """A session that notes the operators of every call."""

    def __init__(self, session: OpenVinoSession, calls: list[Call]) -> None:
        self._session, self._calls = session, calls
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self) -> None:
        self._session.run()
        call: Call = {}
        # The request is the session's own affair everywhere else; only it knows the operators' times.
        for item in self._session._request.get_profiling_info():
            if item.status != item.Status.EXECUTED:
                continue
            number, ms = call.get(item.node_type, (0, 0.0))
            call[item.node_type] = (number + 1, ms + 1e3 * item.real_time.total_seconds())
        self._calls.append(call)
