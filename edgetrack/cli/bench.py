"""`edgetrack bench`: what the whole tracking loop costs on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetrack.cli import console
from edgetrack.cli.export import usage_error
from edgetrack.cli.options import DeviceOption, EngineOption, JsonOption, ThreadsOption, parse_box
from edgetrack.cli.text_options import (
    BESIDE_CHECKPOINT,
    DiffusionOption,
    LoraOption,
    PackOption,
    TextEncoderOption,
    TextOption,
    VocabularyOption,
    check_description,
)
from edgetrack.demo import TEXT, resolve_weights

if TYPE_CHECKING:
    from edgetrack.benchmarks.contenders import ContenderSpec

__all__ = ["run"]

_SUMMARY = ("mean", "p50", "p90", "p95", "p99", "max")
_MEGABYTE = 1e6


def run(
    artifacts: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACT...", help="Folders that `edgetrack export` wrote.")
    ],
    *,
    compare: Annotated[
        bool, typer.Option("--compare", help="Measure all in turns, in one run, and give ratios to the first.")
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="With --compare: the published loop in PyTorch too, with this checkpoint, demo or stand-in. It is "
            "then what the others are compared with.",
        ),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--source", help="Video or image folder; default: the clip of edgetrack.")
    ] = None,
    init: Annotated[
        str | None, typer.Option("--init", help="With --source: the target in its first frame, x,y,w,h in pixels.")
    ] = None,
    text: TextOption = None,
    pack: PackOption = None,
    text_encoder: TextEncoderOption = None,
    vocabulary: VocabularyOption = None,
    diffusion: DiffusionOption = None,
    lora: LoraOption = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Measured updates of each; default 320, or as --duration.")
    ] = None,
    frames_on: Annotated[
        str,
        typer.Option(
            "--frames-on",
            help="Where frames are when the clock starts: host, or gpu for artifacts of target trt. Cold start, memory "
            "and --reference have them in host memory.",
        ),
    ] = "host",
    duration: Annotated[float | None, typer.Option("--duration", help="Stop measuring after so many seconds.")] = None,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="At most so many updates until times settle.")] = 64,
    pace: Annotated[
        float | None, typer.Option("--pace", help="Hand over frames at this rate, as a camera does.")
    ] = None,
    device: DeviceOption = "auto",
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh/--no-fresh", help="Measure cold start and memory of artifacts in fresh processes too."),
    ] = True,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG of latencies to write.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write the JSON to as well.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Time the whole loop of one or several artifacts: stages, percentiles, cold start, memory.

    Frames are decoded in advance. FPS is frames over the sum of their times.
    """
    _check_usage(artifacts, compare, reference, source, init)
    check_description(text, pack)
    from edgetrack.benchmarks.bench import run_bench
    from edgetrack.benchmarks.contenders import MEMORIES, artifact_spec
    from edgetrack.benchmarks.files import check_writable, write_document
    from edgetrack.benchmarks.frames import load_footage
    from edgetrack.benchmarks.loop import Plan
    from edgetrack.benchmarks.plot import check_plot, write_plot

    if frames_on not in MEMORIES:
        raise typer.BadParameter(f"is {frames_on!r}; give {' or '.join(MEMORIES)}", param_hint="--frames-on")
    for path in (plot, output):
        check_writable(path)
    if plot is not None:
        check_plot()
    specs = [
        artifact_spec(
            path,
            device=device,
            engine=engine,
            threads=threads,
            text=text,
            pack=pack,
            usual_text=TEXT if source is None else None,
            frames_on=frames_on,
        )
        for path in artifacts
    ]
    beside = {"text_encoder": text_encoder, "vocabulary": vocabulary, "diffusion": diffusion, "lora": lora}
    specs = _with_reference(specs, reference, beside)
    footage = load_footage(None if source is None else str(source), None if init is None else parse_box(init))
    turns = len(specs) if compare else 1
    plan = Plan.of(turns, updates=frames, duration_s=duration, warmup=warmup, pace_fps=pace)
    total = None if plan.updates is None else plan.updates * len(specs)
    with console.progress(total, "bench") as bar:
        document = run_bench(specs, footage, plan, bar, compare=compare, fresh=fresh)
    if output is not None:
        write_document(output, document)
    if plot is not None:
        write_plot(document, plot)
    if as_json:
        console.emit_json(document)
    else:
        _show(document)


def _check_usage(
    artifacts: list[Path], compare: bool, reference: str | None, source: Path | None, init: str | None
) -> None:
    """Refuse options that do not go together."""
    if reference is not None and not compare:
        raise typer.BadParameter("is what others are compared with; add --compare", param_hint="--reference")
    if compare and len(artifacts) + (reference is not None) < 2:
        raise typer.BadParameter("needs several artifacts, or --reference", param_hint="--compare")
    if (source is None) != (init is None):
        raise typer.BadParameter("give both or neither: a clip, and its box", param_hint="--source, --init")


def _with_reference(
    specs: list[ContenderSpec], reference: str | None, beside: Mapping[str, Path | None]
) -> list[ContenderSpec]:
    """Put the reference first, if there is one, and give everything a name of its own."""
    from edgetrack.benchmarks.contenders import reference_spec, with_unique_names

    if reference is None:
        if any(path is not None for path in beside.values()):
            raise typer.BadParameter("are for --reference", param_hint=BESIDE_CHECKPOINT)
        return with_unique_names(specs)
    with usage_error("--reference"):
        weights = resolve_weights(specs[0].variant, reference)
    reading = reference_spec(weights, specs, beside)
    return with_unique_names([reading, *specs])


def _show(document: dict[str, Any]) -> None:
    from edgetrack.benchmarks.device import machine_line
    from edgetrack.benchmarks.others import others_line

    clip, plan = document["clip"], document["plan"]
    console.line(machine_line(document["machine"]))
    console.line(
        f"{clip['name']}: {clip['frames']} frames of {clip['width']}x{clip['height']}, decoded in advance"
        f"{' (the clip is longer)' if clip['cut'] else ''}"
    )
    if warning := others_line(document["others_share"]):
        console.warn(warning)
    for entry in document["contenders"]:
        console.line()
        _show_contender(entry)
    if plan["interleaved"]:
        console.line()
        _show_comparison(document["contenders"], plan)


def _show_contender(entry: dict[str, Any]) -> None:
    engine = entry["engine"]
    threads = "threads left to the engine" if engine["threads"] is None else f"{engine['threads']} threads"
    version = engine["version"].split("-")[0]
    where = "" if entry["frames_on"] == "host" else f", frames in {entry['frames_on'].upper()} memory"
    title = f"{entry['name']}: {engine['engine']} {version} on {engine['device']}, {threads}{where}"
    rows = [
        (stage, *(f"{values[key]:.2f}" for key in _SUMMARY))
        for stage, values in entry["stages_ms"].items()
        if stage not in entry["stage_notes"]
    ]
    rows.append(("total", *(f"{entry['total_ms'][key]:.2f}" for key in _SUMMARY)))
    console.table(("ms per update", *(f">{key}" for key in _SUMMARY)), rows, title=title)
    for text in _facts(entry):
        console.line(text)


def _facts(entry: dict[str, Any]) -> Iterator[str]:
    yield f"{entry['fps']:.1f} updates/s over {entry['updates']} updates; init {entry['init_ms']['p50']:.1f} ms"
    if "text_ms" in entry:
        in_updates = entry["stages_ms"]["text"]["max"]
        yield f"text: {entry['text_ms']:.1f} ms once per target, part of init; at most {in_updates:.3f} ms in an update"
    notes: dict[str, list[str]] = {}
    for stage, note in entry["stage_notes"].items():
        notes.setdefault(note, []).append(stage)
    for note, stages in notes.items():
        yield f"0 ms for {', '.join(stages)}; {note}"
    warmup, drift = entry["warmup"], entry["drift"]
    settled = "settled" if warmup["settled"] else "not settled"
    steady = "stationary" if drift["stationary"] else "NOT stationary"
    yield f"{settled} after {warmup['updates']} warm-up updates"
    yield f"last window against the first: {drift['change']:+.1%}, {steady}"
    if entry["pace"] is not None:
        yield f"at {entry['pace']['fps']:g} frames/s: {entry['pace']['over_budget']} updates took longer than a frame"
    if entry["kind"] == "reference":
        yield "cold start and memory: not measured; to make up its weights is no part of the published code"
    if entry["cold_start"] is not None:
        cold = entry["cold_start"]["median"]
        yield f"process start to first box {cold['to_first_box_ms']:.0f} ms, of it loading {cold['load_ms']:.0f} ms"
    if entry["memory"] is not None:
        parts = ("peak", "load", "engine_import", "interpreter")
        peak, load, engine, interpreter = (f"{entry['memory'][part] / _MEGABYTE:.0f} MB" for part in parts)
        yield f"memory: peak {peak}, loaded {load}, engine imported {engine}, interpreter and numpy {interpreter}"


def _show_comparison(contenders: list[dict[str, Any]], plan: dict[str, Any]) -> None:
    base = contenders[0]
    rows: list[tuple[str, ...]] = [
        (base["name"], f"{base['total_ms']['p50']:.2f}", f"{base['fps']:.1f}", "1", "", "1", "", "")
    ]
    for entry in contenders[1:]:
        versus = entry["versus"]
        cells = [
            cell
            for ratio in (versus["fps_ratio"], versus["median_ratio"])
            for cell in (f"{ratio['value']:.3f}x", f"{ratio['low']:.3f} to {ratio['high']:.3f}")
        ]
        box_px = versus["max_box_px"]
        row = (entry["name"], f"{entry['total_ms']['p50']:.2f}", f"{entry['fps']:.1f}", *cells)
        rows.append((*row, "other network" if box_px is None else f"{box_px:.2g} px"))
    columns = ("", ">median ms", ">updates/s", ">FPS ratio", "95 %", ">median ratio", "95 %", ">boxes differ by")
    title = f"against {base['name']}, in turns of {plan['block']} updates on the same frames; above 1 is faster"
    console.table(columns, rows, title=title)
