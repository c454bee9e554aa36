"""The program that `fresh` starts: one contender, one task, one JSON object on stdout."""

from __future__ import annotations

import json
import sys
import time

_MAIN_STARTED_S = time.monotonic()

from typing import Any  # noqa: E402 (the clock is read before anything of ours is imported)

__all__ = ["main"]


def main() -> None:
    """Do what the JSON object in the first argument asks for; errors of edgetrack become an answer too."""
    request = json.loads(sys.argv[1])
    from edgetrack.errors import EdgetrackError

    try:
        answer = _TASKS[request["task"]](request)
    except EdgetrackError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write(json.dumps(answer))


def _cold_start(request: dict[str, Any]) -> dict[str, float]:
    from edgetrack.benchmarks.contenders import ContenderSpec, open_contender

    spec, (first, second) = ContenderSpec(**request["spec"]), _frames(request)
    began = time.monotonic()
    contender = open_contender(spec)
    loaded = time.monotonic()
    contender.init(first, request["box"])
    started = time.monotonic()
    contender.update(second)
    tracked = time.monotonic()
    contender.close()
    again = time.monotonic()
    open_contender(spec).close()
    reloaded = time.monotonic()
    seconds = {
        "to_main_ms": _MAIN_STARTED_S - request["started_s"],
        "load_ms": loaded - began,
        "init_ms": started - loaded,
        "first_update_ms": tracked - started,
        "to_first_box_ms": tracked - request["started_s"],
        "load_again_ms": reloaded - again,
    }
    return {key: 1e3 * value for key, value in seconds.items()}


def _memory(request: dict[str, Any]) -> dict[str, int]:
    from edgetrack.benchmarks.contenders import ContenderSpec, open_contender
    from edgetrack.benchmarks.process import peak_rss_bytes, rss_bytes
    from edgetrack.runtime.engines import ENGINES

    spec, (first, second) = ContenderSpec(**request["spec"]), _frames(request)
    found = {"interpreter": rss_bytes()}
    ENGINES.get(spec.engine).devices()  # imports the engine's package, without a network
    found["engine_import"] = rss_bytes()
    contender = open_contender(spec)
    found["load"] = rss_bytes()
    contender.init(first, request["box"])
    for number in range(request["updates"]):
        contender.update(first if number % 2 else second)
    found["end"] = rss_bytes()
    found["peak"] = peak_rss_bytes()
    found["updates"] = request["updates"]
    return found


def _frames(request: dict[str, Any]) -> Any:  # noqa: ANN401 (an array of two frames)
    import numpy as np

    return np.load(request["frames"])


_TASKS = {"cold_start": _cold_start, "memory": _memory}
