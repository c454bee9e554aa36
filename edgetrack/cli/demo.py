"""`edgetrack demo`: the whole way in one command, on the clip that comes with edgetrack."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetrack.cli import console
from edgetrack.cli.export import STAND_IN_WARNING, WeightsOption, check_torch, print_report, usage_error
from edgetrack.cli.options import JsonOption, ThreadsOption
from edgetrack.demo import TEXT, demo_weights, resolve_weights

if TYPE_CHECKING:
    from edgetrack.export.parity.clip import Clip
    from edgetrack.export.pipeline import ExportResult

__all__ = ["run"]

_STAND_IN = "stand-in"
_UPDATES = 64
_WARMUP = 16


def run(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for artifacts and video; what is there is replaced."),
    ] = Path("edgetrack-demo"),
    *,
    model: Annotated[str, typer.Option("--model", help="As `edgetrack models` lists it.")] = "fartrack-pico",
    weights: WeightsOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export a tracker, prove it, follow a target through a clip, and time all that."""
    from edgetrack.export.models import find_variant

    with usage_error("--model"):
        find_variant(model)
    if weights is None and demo_weights(model) is None:
        weights = _STAND_IN
    with usage_error("--weights"):
        chosen = resolve_weights(model, weights)
    check_torch()
    from edgetrack.export.parity.clip import demo_clip

    clip = demo_clip()
    results = _export(model, chosen, output, clip, threads)
    video = output / "track.mp4"
    followed = _track(results[0].path, clip, video, threads)
    timings = _time([result.path for result in results], chosen, threads)
    note = STAND_IN_WARNING if chosen == _STAND_IN else ""
    if as_json:
        artifacts = [{"path": str(item.path), "verification": item.report.as_dict()} for item in results]
        found = {"artifacts": artifacts, "video": str(video), **asdict(followed), "bench": timings}
        console.emit_json({"schema": 2, "weights": chosen, "note": note, **found})
        return
    for result in results:
        print_report(result.report, result.path.name)
        console.line(f"verification: {result.report.verdict}")
        console.line()
    _print_timings(timings)
    console.line()
    states = ", ".join(f"{name} {count}" for name, count in followed.states.items())
    console.line(f"annotated video: {video} ({states})")
    if note:
        console.line(f"note: {note}; its boxes in the video mean nothing")
    else:
        console.line(
            f"against the clip's truth: mean IoU {followed.mean_iou:.2f}, above 0.5 in {followed.hits} of "
            f"{followed.present} frames with the target; LOST in {followed.lost_absent} of {followed.absent} without it"
        )
    console.line("next: edgetrack export MODEL --weights CHECKPOINT, with a published checkpoint")


@dataclass(frozen=True)
class _Followed:
    """How a clip was tracked, the first frame left out: frames of each state, and the boxes against the truth.

    mean_iou: over the `present` frames that show the target; hits: those of them with an IoU above 0.5; lost_absent:
    frames reported LOST of the `absent` ones.
    """

    states: dict[str, int]
    mean_iou: float
    hits: int
    present: int
    lost_absent: int
    absent: int

    @classmethod
    def of(cls, boxes: Sequence[Sequence[float]], states: Sequence[str], truth: Sequence[Sequence[float]]) -> _Followed:
        """Judge boxes (x, y, w, h) and states of the frames after the first."""
        import numpy as np

        from edgetrack.data.metrics import box_iou, present

        true = np.array(truth[1 : len(boxes) + 1], np.float64)
        there = present(true)
        overlaps = box_iou(np.array(boxes, np.float64), true)[there]
        return cls(
            states={name: states.count(name) for name in sorted(set(states))},
            mean_iou=float(overlaps.mean()) if len(overlaps) else 0.0,
            hits=int((overlaps > 0.5).sum()),
            present=len(overlaps),
            lost_absent=sum(state == "LOST" for state, seen in zip(states, there, strict=True) if not seen),
            absent=int((~there).sum()),
        )


def _export(model: str, weights: str, output: Path, clip: Clip, threads: int | None) -> list[ExportResult]:
    """Export for every target whose packages are here; ONNX first."""
    from edgetrack.export.pipeline import FIXED_STEPS, export_tracker

    targets = ["onnx"] + (["openvino"] if importlib.util.find_spec("openvino") else [])
    results = []
    for target in targets:
        folder = output / f"{model}-{target}-fp32"
        steps = None if clip.count is None else clip.count + FIXED_STEPS
        with console.progress(steps, f"export {model} for {target}") as bar:
            results.append(
                export_tracker(
                    model,
                    weights,
                    target=target,
                    output=folder,
                    clip=clip,
                    force=True,
                    threads=threads,
                    progress=bar,
                )
            )
    return results


def _track(artifact: Path, clip: Clip, video: Path, threads: int | None) -> _Followed:
    """Follow the clip's target, write an annotated video, and judge the boxes."""
    from edgetrack.loading import load
    from edgetrack.video import FrameResult, VideoSink, open_source
    from edgetrack.video.overlay import draw

    boxes: list[tuple[float, float, float, float]] = []
    states: list[str] = []
    with ExitStack() as stack:
        source = stack.enter_context(open_source(clip.path))
        tracker = stack.enter_context(load(artifact, threads=threads))
        sink = stack.enter_context(VideoSink(video, source.size, source.fps))
        bar = stack.enter_context(console.progress(source.count, "track the clip"))
        for index, frame in enumerate(source):
            ok = True
            if index == 0:
                tracker.init(frame, clip.box, text=None if tracker.language is None else TEXT)
            else:
                ok, _ = tracker.update(frame)
                boxes.append(tracker.raw_box)
                states.append(tracker.state.name)
            result = FrameResult(tracker.box, tracker.raw_box, ok, tracker.score, tracker.state.name, 0.0)
            sink.write(draw(frame, result, index))
            bar.advance()
    return _Followed.of(boxes, states, clip.truth)


def _time(artifacts: Sequence[Path], weights: str, threads: int | None) -> dict[str, Any]:
    """Time the published loop and every artifact in turns on the same frames; returns the bench document."""
    from edgetrack.benchmarks.bench import run_bench
    from edgetrack.benchmarks.contenders import artifact_spec, reference_spec
    from edgetrack.benchmarks.frames import load_footage
    from edgetrack.benchmarks.loop import Plan

    specs = [artifact_spec(path, threads=threads, usual_text=TEXT) for path in artifacts]
    specs = [reference_spec(weights, specs), *specs]
    plan = Plan.of(len(specs), updates=_UPDATES, warmup=_WARMUP)
    with console.progress(_UPDATES * len(specs), "time the loops") as bar:
        return run_bench(specs, load_footage(), plan, bar, compare=True, fresh=False)


def _print_timings(document: dict[str, Any]) -> None:
    rows = [
        (
            entry["name"],
            f"{entry['total_ms']['p50']:.1f}",
            f"{entry['fps']:.1f}",
            "1" if entry["versus"] is None else f"{entry['versus']['fps_ratio']['value']:.2f}x",
        )
        for entry in document["contenders"]
    ]
    clip = document["clip"]
    title = f"whole loop on {clip['name']} ({clip['width']}x{clip['height']}), {_UPDATES} updates each, in turns"
    console.table(("", ">median ms", ">updates/s", ">ratio"), rows, title=title)
