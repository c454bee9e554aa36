"""`edgetrack track`: follow a target through a video and write boxes and an annotated video."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetrack.cli import console
from edgetrack.cli.options import (
    ArtifactArgument,
    CacheDirOption,
    DeviceOption,
    EngineOption,
    InitOption,
    JsonOption,
    MaxFramesOption,
    SourceOption,
    ThreadsOption,
    parse_box,
)
from edgetrack.cli.text_options import PackOption, TextOption, check_description
from edgetrack.errors import InputError

if TYPE_CHECKING:
    from edgetrack.runtime.tracker import Tracker
    from edgetrack.video import FrameResult, Source, VideoSink

__all__ = ["ResultsFormat", "run"]


_BOXES_HELP = (
    "File of boxes to write, one line a frame: in got10k and pytracking the published algorithm's, which these "
    "toolkits score and which go on while the target is lost; in json and csv also the reported ones, score and state."
)


class ResultsFormat(str, Enum):
    """Formats of the box file."""

    GOT10K = "got10k"
    PYTRACKING = "pytracking"
    JSON = "json"
    CSV = "csv"


def run(
    artifact: ArtifactArgument,
    *,
    source: SourceOption,
    init: InitOption = None,
    text: TextOption = None,
    pack: PackOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Annotated video to write (.mp4 or .avi).")
    ] = None,
    boxes: Annotated[Path | None, typer.Option("--boxes", help=_BOXES_HELP)] = None,
    results_format: Annotated[
        ResultsFormat,
        typer.Option("--results-format", help="Of --boxes: got10k (x,y,w,h), pytracking (tab, integers), json or csv."),
    ] = ResultsFormat.GOT10K,
    device: DeviceOption = "auto",
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    cache_dir: CacheDirOption = None,
    max_frames: MaxFramesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a target through a video; write annotated video, boxes, or both. Ctrl-C keeps what is done.

    A video or stream that ends early gives a warning and exit code 0.
    """
    from edgetrack.loading import load
    from edgetrack.video import open_source, write_boxes
    from edgetrack.video.boxes import files_of

    start = _Start(None if init is None else parse_box(init), text, pack)
    check_description(text, pack)
    _check_outputs(source, output, files_of(boxes, results_format.value) if boxes is not None else [])
    with open_source(source) as frames:
        tracker = load(artifact, device=device, engine=engine, threads=threads, cache_dir=cache_dir)
        with tracker:
            start.check(tracker)
            followed = _follow(tracker, frames, start, output, max_frames)
            description = tracker.engine.describe()
        for warning in frames.warnings:
            console.warn(warning)
    written: list[Path] = []
    if boxes is not None and followed.results:
        written += write_boxes(boxes, followed.results, results_format.value)
    if output is not None and followed.drawn:
        written.append(output)
    summary = _summary(followed, written) | {
        "artifact": str(artifact),
        "source": source,
        "engine": description,
    }
    if as_json:
        console.emit_json(summary)
    else:
        console.line(_sentence(summary))
    if followed.interrupted:
        raise KeyboardInterrupt


def _check_outputs(source: str, output: Path | None, boxes: list[Path]) -> None:
    """Refuse before the work what could not be written after it."""
    from edgetrack.video.boxes import check_writable

    paths = [*([output] if output is not None else []), *boxes]
    real = [os.path.realpath(path) for path in paths]
    for index, path in enumerate(paths):
        if real[index] in real[:index]:
            raise typer.BadParameter(
                f"{path} would be written twice; choose another name", param_hint="--output, --boxes"
            )
    for path in paths:
        check_writable(path)
        if os.path.realpath(path) == os.path.realpath(source):
            raise InputError(f"{path} is the source itself; choose another name for what is written")


@dataclass(frozen=True)
class _Start:
    """What says which target to follow."""

    box: tuple[float, float, float, float] | None
    text: str | None
    pack: Path | None

    def check(self, tracker: Tracker) -> None:
        """Refuse as wrong usage what does not say it."""
        if self.box is not None:
            return
        if tracker.language is None or not tracker.language.spec.without_box:
            raise typer.BadParameter("this tracker needs the target's box in the first frame", param_hint="--init")
        if self.text is None and self.pack is None:
            raise typer.BadParameter("say which target to follow", param_hint="--text, --pack, --init")


@dataclass
class _Followed:
    """What became of a video; the first result is the box that was given, `drawn` counts frames written."""

    results: list[FrameResult] = field(default_factory=list)
    drawn: int = 0
    wall_s: float = 0.0
    interrupted: bool = False


def _follow(
    tracker: Tracker,
    frames: Source,
    start: _Start,
    output: Path | None,
    max_frames: int | None,
) -> _Followed:
    """Run the loop; Ctrl-C ends it early, and the files are finished all the same."""
    from edgetrack.video import VideoSink
    from edgetrack.video.overlay import draw

    followed = _Followed()
    total = min((n for n in (frames.count, max_frames) if n is not None), default=None)
    began = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(_noting_interrupt(followed))
        sink: VideoSink | None = None
        if output is not None:
            sink = stack.enter_context(VideoSink(output, frames.size, frames.fps))
        bar = stack.enter_context(console.progress(total, "tracking"))
        for index, frame in enumerate(frames):
            result = _step(tracker, frame, start if index == 0 else None)
            followed.results.append(result)
            if sink is not None:
                sink.write(draw(frame, result, index))
                followed.drawn = sink.frames
            bar.advance()
            if index + 1 == max_frames:
                break
    followed.wall_s = time.perf_counter() - began
    return followed


@contextmanager
def _noting_interrupt(followed: _Followed) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        followed.interrupted = True


def _step(tracker: Tracker, frame: Any, start: _Start | None) -> FrameResult:  # noqa: ANN401
    from edgetrack.video import FrameResult

    began = time.perf_counter()
    ok = True
    if start is not None:
        tracker.init(frame, start.box, text=start.text, pack=start.pack)
    else:
        ok, _ = tracker.update(frame)
    seconds = time.perf_counter() - began
    return FrameResult(tracker.box, tracker.raw_box, ok, tracker.score, tracker.state.name, seconds)


def _summary(followed: _Followed, written: list[Path]) -> dict[str, Any]:
    updates = followed.results[1:]
    busy_s = sum(result.seconds for result in updates)
    return {
        "schema": 1,
        "frames": len(followed.results),
        "updates_per_second": round(len(updates) / busy_s, 3) if busy_s else None,
        "frames_per_second": round(len(followed.results) / followed.wall_s, 3) if followed.wall_s else None,
        "states": dict(Counter(result.state for result in updates)),
        "last_box": list(followed.results[-1].box) if followed.results else None,
        "written": [str(path) for path in written],
        "interrupted": followed.interrupted,
    }


def _sentence(summary: dict[str, Any]) -> str:
    speed = summary["updates_per_second"]
    parts = [f"{summary['frames']} frames"]
    if speed is not None:
        parts.append(f"{speed:.1f} updates/s ({summary['frames_per_second']:.1f} frames/s with reading and writing)")
    parts += [f"{state} {count}" for state, count in summary["states"].items()]
    if summary["written"]:
        parts.append(f"wrote {', '.join(summary['written'])}")
    return ", ".join(parts)
