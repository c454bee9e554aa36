"""CUDA graphs: work recorded once on a stream and launched as a whole from then on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.cuda.api import Cuda

__all__ = ["capture"]


def capture(cuda: Cuda, stream: Any, enqueue: Callable[[], None]) -> Any:  # noqa: ANN401 (cudaStream_t, cudaGraphExec_t)
    """Record what `enqueue` puts on `stream`, without running it, and return the executable graph.

    The caller destroys it with cudaGraphExecDestroy. After a failure the stream is usable as before.

    Raises:
        EngineUnavailable: something that was enqueued cannot be recorded.
    """
    # Other threads may allocate meanwhile: only calls of this one can spoil the recording.
    cuda.call("cudaStreamBeginCapture", stream, cuda.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
    try:
        enqueue()
    except EngineUnavailable:
        _abandon(cuda, stream)
        raise
    graph = cuda.call("cudaStreamEndCapture", stream)
    try:
        return cuda.call("cudaGraphInstantiate", graph, 0)
    finally:
        cuda.call("cudaGraphDestroy", graph)


def _abandon(cuda: Cuda, stream: Any) -> None:  # noqa: ANN401
    """End a recording that failed; the runtime says again that it did."""
    status, graph = cuda.runtime.cudaStreamEndCapture(stream)
    if int(status) == 0 and graph:
        cuda.call("cudaGraphDestroy", graph)
    cuda.runtime.cudaGetLastError()
