"""`edgetrack demo`: the whole way in one command, on the clip that comes with edgetrack."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetrack.cli import console
from edgetrack.cli.export import STAND_IN_WARNING, check_torch, print_report, usage_error
from edgetrack.cli.options import JsonOption, ThreadsOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgetrack.export.parity.clip import Box, Clip
    from edgetrack.export.pipeline import ExportResult

    Frame = NDArray[np.uint8]

__all__ = ["run"]

_CHUNK = 16
"""Frames that one loop tracks before the next one takes over; its data is back in the caches after one."""


def run(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for artifacts and video; what is there is replaced."),
    ] = Path("edgetrack-demo"),
    *,
    model: Annotated[str, typer.Option("--model", help="As `edgetrack models` lists it.")] = "fartrack-pico",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export a tracker with stand-in weights, prove it, follow a target through a clip, and time all that."""
    from edgetrack.export.models import find_variant

    with usage_error("--model"):
        find_variant(model)
    check_torch()
    from edgetrack.export.parity.clip import demo_clip

    clip = demo_clip()
    results = _export(model, output, clip, threads)
    video = output / "track.mp4"
    states = _track(results[0].path, clip, video, threads)
    timings = _time(model, results, clip, threads)
    if as_json:
        console.emit_json(_as_json(results, video, states, timings))
        return
    for result in results:
        print_report(result.report, result.path.name)
        console.line(f"verification: {result.report.verdict}")
        console.line()
    _print_timings(timings, clip)
    console.line()
    console.line(f"annotated video: {video} ({', '.join(f'{name} {count}' for name, count in states.items())})")
    console.line(f"note: {STAND_IN_WARNING}; its boxes in the video mean nothing")
    console.line("next: edgetrack export MODEL --weights CHECKPOINT, with a published checkpoint")


def _export(model: str, output: Path, clip: Clip, threads: int | None) -> list[ExportResult]:
    """Export for every target whose packages are here; ONNX first."""
    from edgetrack.export.pipeline import FIXED_STEPS, export_tracker
    from edgetrack.export.source import STAND_IN

    targets = ["onnx"] + (["openvino"] if importlib.util.find_spec("openvino") else [])
    results = []
    for target in targets:
        folder = output / f"{model}-{target}-fp32"
        steps = None if clip.count is None else clip.count + FIXED_STEPS
        with console.progress(steps, f"export {model} for {target}") as bar:
            results.append(
                export_tracker(
                    model,
                    STAND_IN,
                    target=target,
                    output=folder,
                    clip=clip,
                    force=True,
                    threads=threads,
                    progress=bar,
                )
            )
    return results


def _track(artifact: Path, clip: Clip, video: Path, threads: int | None) -> dict[str, int]:
    """Follow the clip's target, write an annotated video, and count the frames of each state."""
    from edgetrack.loading import load
    from edgetrack.video import FrameResult, VideoSink, open_source
    from edgetrack.video.overlay import draw

    counts: dict[str, int] = {}
    with ExitStack() as stack:
        source = stack.enter_context(open_source(clip.path))
        tracker = stack.enter_context(load(artifact, threads=threads))
        sink = stack.enter_context(VideoSink(video, source.size, source.fps))
        bar = stack.enter_context(console.progress(source.count, "track the clip"))
        for index, frame in enumerate(source):
            ok = True
            if index == 0:
                tracker.init(frame, clip.box)
            else:
                ok, _ = tracker.update(frame)
                counts[tracker.state.name] = counts.get(tracker.state.name, 0) + 1
            result = FrameResult(tracker.box, ok, tracker.score, tracker.state.name, 0.0)
            sink.write(draw(frame, result, index))
            bar.advance()
    return counts


@dataclass
class _Timed:
    """One loop and the milliseconds of its updates."""

    name: str
    init: Callable[[Frame, Box], object]
    update: Callable[[Frame], object]
    ms: list[float] = field(default_factory=list)

    @property
    def fps(self) -> float:
        return 1e3 * len(self.ms) / sum(self.ms)


def _time(model: str, results: Sequence[ExportResult], clip: Clip, threads: int | None) -> list[_Timed]:
    """Time the published loop and every artifact, taking turns on the same decoded frames."""
    from edgetrack.export.parity.gate import torch_threads
    from edgetrack.export.source import STAND_IN, load_source
    from edgetrack.loading import load

    frames = list(clip.frames())
    source = load_source(model, STAND_IN)
    reference = source.family.reference(model, source.net)
    loops = [_Timed("published loop, eager PyTorch", reference.init, reference.update)]
    with ExitStack() as stack:
        stack.enter_context(torch_threads(threads))
        for result in results:
            tracker = stack.enter_context(load(result.path, threads=threads))
            loops.append(_timed_tracker(result.path.name, tracker))
        for loop in loops:
            loop.init(frames[0], clip.box)
        bar = stack.enter_context(console.progress((len(frames) - 1) * len(loops), "time the loops"))
        for start in range(1, len(frames), _CHUNK):
            for loop in loops:
                for frame in frames[start : start + _CHUNK]:
                    began = time.perf_counter()
                    loop.update(frame)
                    loop.ms.append(1e3 * (time.perf_counter() - began))
                    bar.advance()
    return loops


def _timed_tracker(name: str, tracker: Any) -> _Timed:  # noqa: ANN401 (a Tracker)
    return _Timed(
        name,
        lambda frame, box: tracker.init(frame, box, color="rgb"),
        lambda frame: tracker.update(frame, color="rgb"),
    )


def _print_timings(timings: Sequence[_Timed], clip: Clip) -> None:
    base = timings[0].fps
    rows = [
        (item.name, f"{statistics.median(item.ms):.1f}", f"{item.fps:.1f}", f"{item.fps / base:.2f}x")
        for item in timings
    ]
    title = f"whole loop on {clip.name}, {len(timings[0].ms)} frames, taking turns on this machine"
    console.table(("loop", ">median ms", ">frames/s", ">ratio"), rows, title=title)


def _as_json(
    results: Sequence[ExportResult], video: Path, states: dict[str, int], timings: Sequence[_Timed]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "note": STAND_IN_WARNING,
        "artifacts": [{"path": str(result.path), "verification": result.report.as_dict()} for result in results],
        "video": str(video),
        "states": states,
        "timings": [
            {
                "loop": item.name,
                "median_ms": statistics.median(item.ms),
                "fps": item.fps,
                "ratio": item.fps / timings[0].fps,
            }
            for item in timings
        ],
    }
