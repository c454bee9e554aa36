"""Makes RESULTS.md from stored documents: every number on the page comes out of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgetrack.benchmarks.device import machine_line
from edgetrack.benchmarks.footprint_page import footprints
from edgetrack.benchmarks.goals import LANGUAGE_VARIANTS, NOT_MEASURED, VARIANTS, goals, is_disturbed
from edgetrack.benchmarks.markdown import table
from edgetrack.benchmarks.others import QUIET_SHARE
from edgetrack.benchmarks.precisions_page import precision_goals, precision_section

__all__ = ["render"]

Document = Mapping[str, Any]

_STAGES = ("crop", "run", "decode", "memory", "text", "rest")
_OPERATORS = 10
_MEGABYTE = 1e6
_DISTURBED = " (disturbed)"
_PUBLISHED_MS = {"fartrack-pico": 64, "fartrack-tiny": 135}
"""What the published code itself was seen to take a frame, on a machine like this one with 2 threads. Given from
elsewhere: nothing here measures it."""

_HEAD = """# Results

Made by `python -m edgetrack.benchmarks.results` from the files in `results/`; no number here was written by hand,
but for the two that are marked as given from elsewhere.
The weights are stand-ins, made up from the parameters' names: they cost what published ones cost, but follow nothing.
"""

_METHOD = """## How it was measured

- *Whole loop*: `edgetrack bench --compare --reference stand-in`. All contenders of a variant run in one process and
  take turns of {block} updates over the same decoded frames, each on boxes of its own; the order rotates. The first
  {settle} of a turn is not counted, because it pays for the change of contender, and before a turn all rest for
  {pause:.0f} ms, so that the idle threads of the engine before have stopped spinning. A clip that ends is started
  again; `init` is not an update. FPS is frames over the sum of their times. Before that, updates run until the median
  of eight stands still within 5 %, at most {warmup}.
- *Ratios* are against the published loop in eager PyTorch, ported as it is, with as many threads. The interval is a
  paired bootstrap over turns. *Boxes* is the largest difference of x, y, w or h to that loop's box in any frame.
- *Cold start* and *memory* come from processes of their own. The disk's cache is warm. The reference's are not
  measured: making up its weights and folding tables for our graphs is no part of the published code.
- *Outside the engine call*: an engine that does nothing, one core, frames of noise, the sizes in turns; whole calls of
  `update`. The fixed target is the same in every frame; the scaled one is 0.15 of the frame's width and height, so its
  crop has more pixels to read in larger frames.
- *Operators*: the engine's own account, which costs some time itself. The matrix rate is a chain of plain fp32 products
  on the same engine in the same run, before and after the network: as many rows as a block of the network sees tokens,
  through the widths of a block's products (for the first network of the table {chain}).
  What runs once per target is left out.
- *Size and memory*: every artifact tracks {tracked} frames in a process of its own; resident memory counts the pages of
  mapped files too. All exports but FARTrack's are proven on the first 9 to 13 frames here, not on the whole clip, so
  what they took is for that. Target data: what a device is fed of a description, without any text encoder.
- *Disturbed*: other processes used more than {quiet:.0%} of the cores meanwhile; such numbers should be measured again.
"""


def render(results: Mapping[str, Document]) -> str:
    """Return the page.

    Args:
        results: documents by the name of their part: "outside", "outside-centre-head", "growth", "startup",
            "bench-<variant>", "footprint-<variant>", "profile-<variant>-<engine>"; the sections of those that are
            missing are left out, their goals are not.
    """
    benches = [results[name] for name in _names(results, "bench-")]
    profiles = [results[name] for name in _names(results, "profile-")]
    sizes = [results[name] for name in _names(results, "footprint-")]
    sections = [_HEAD, *_machine(results), *_goals(results)]
    if benches:
        sections += [*_loops(benches), *_stages(benches), *_beginnings(benches)]
    sections += footprints(sizes)
    sections += precision_section(results.get("precisions"))
    sections += [*_outside(results), *_startup(results), *_growth(results)]
    if profiles:
        sections += [*_matrix(profiles), *_operators(profiles)]
    return "\n".join([*sections, *_method(benches, profiles, sizes)]).rstrip()


def _names(results: Mapping[str, Document], prefix: str) -> list[str]:
    order = {variant: number for number, variant in enumerate((*VARIANTS, *LANGUAGE_VARIANTS))}
    names = [name for name in results if name.startswith(prefix)]
    return sorted(names, key=lambda name: (order.get(results[name].get("variant") or name[len(prefix) :], 99), name))


def _machine(results: Mapping[str, Document]) -> Iterator[str]:
    lines = sorted({machine_line(item["machine"], load=False) for item in results.values()})
    times = sorted(item["time"] for item in results.values())
    others = [item["others_share"] for item in results.values() if item.get("others_share") is not None]
    yield "\n".join(f"Machine: {line}.  " for line in lines)
    busy = f"; other processes used at most {max(others):.1%} of the cores meanwhile" if others else ""
    yield f"Measured {times[0]} to {times[-1]}{busy}.\n"


def _goals(results: Mapping[str, Document]) -> Iterator[str]:
    rows = [
        (goal.what, goal.wanted, goal.found + _DISTURBED * goal.disturbed, "yes" if goal.reached else "**no**")
        for goal in [*goals(results), *precision_goals(results.get("precisions"))]
    ]
    yield "## Goals\n"
    yield table(("goal", "wanted", "found", "reached"), rows)


def _flag(document: Document) -> str:
    """Return what is written behind the first cell of a row from `document`."""
    return _DISTURBED if is_disturbed(document) else ""


def _loops(benches: Sequence[Document]) -> Iterator[str]:
    yield "## Whole loop\n"
    for document in benches:
        clip, plan = document["clip"], document["plan"]
        yield (
            f"### {document['contenders'][0]['variant']}\n\n{clip['name']}, {clip['width']}x{clip['height']}, "
            f"{plan['threads']} threads, {document['contenders'][0]['updates']} updates each, ms per update\n"
        )
        columns = (
            "",
            ">p50",
            ">p90",
            ">p95",
            ">p99",
            ">max",
            ">FPS",
            ">FPS ratio",
            "95 %",
            ">median ratio",
            ">boxes, px",
        )
        yield table(columns, [_loop_row(entry, _flag(document)) for entry in document["contenders"]])
        yield from _published(document["contenders"][0])


def _published(base: Document) -> Iterator[str]:
    """Put the port of the published loop beside what the published code is said to take."""
    if base["kind"] == "reference" and base["variant"] in _PUBLISHED_MS:
        yield (
            f"The port of the published loop, measured here: {base['total_ms']['p50']:.1f} ms. The published code "
            f"itself was seen to take {_PUBLISHED_MS[base['variant']]} ms on a similar machine with 2 threads (a "
            "figure given from elsewhere, not measured in this run).\n"
        )


def _loop_row(entry: Document, flag: str) -> list[str]:
    total, versus = entry["total_ms"], entry["versus"]
    row = [
        _title(entry) + flag,
        *(f"{total[key]:.1f}" for key in ("p50", "p90", "p95", "p99", "max")),
        f"{entry['fps']:.1f}",
    ]
    if versus is None:
        return [*row, "1", "", "1", ""]
    ratio, box_px = versus["fps_ratio"], versus["max_box_px"]
    row += [f"{ratio['value']:.2f}x", f"{ratio['low']:.2f} to {ratio['high']:.2f}"]
    return [*row, f"{versus['median_ratio']['value']:.2f}x", "" if box_px is None else f"{box_px:.2g}"]


def _title(entry: Document) -> str:
    engine = entry["engine"]
    return f"{engine['engine']} {engine['version'].split('-')[0]}, {entry['precision']}"


def _stages(benches: Sequence[Document]) -> Iterator[str]:
    yield "## Stages, median ms per update\n"
    rows = [
        (
            entry["name"] + _flag(document),
            *(_stage(entry, stage) for stage in _STAGES),
            f"{entry['total_ms']['p50']:.3f}",
            f"{entry['drift']['change']:+.1%}",
            _text_once(entry),
        )
        for document in benches
        for entry in document["contenders"]
        if entry["kind"] == "artifact"
    ]
    columns = ("artifact", *(f">{stage}" for stage in _STAGES), ">total", ">drift", ">text, once, in init")
    yield table(columns, rows)
    yield "Nothing is copied to or from a device: the engines work in the tracker's own buffers."
    yield "Drift: the last window's median against the first one's."
    yield "Text: ms that an update spends on what a tracker with language is told, the largest of all updates; and what"
    yield "init spends, once per target. GLAD's text is encoded by a diffusion model on another machine: `elsewhere`.\n"


def _stage(entry: Document, stage: str) -> str:
    """Return the median of a stage; of text, which should never cost anything, the largest; "" where there is none."""
    if stage not in entry["stages_ms"] or (stage == "text" and "text_ms" not in entry):
        return ""
    return f"{entry['stages_ms'][stage]['max' if stage == 'text' else 'p50']:.3f}"


def _text_once(entry: Document) -> str:
    if "text_ms" not in entry:
        return ""
    return f"{entry['text_ms']:.1f}" if entry["text_ms"] else "elsewhere"


def _beginnings(benches: Sequence[Document]) -> Iterator[str]:
    begun = [document for document in benches if any(entry["cold_start"] for entry in document["contenders"])]
    entries = [entry for document in begun for entry in document["contenders"]]
    if not entries:
        return
    yield "## Cold start and memory\n"
    steps = ("load_ms", "load_again_ms", "init_ms", "first_update_ms", "to_first_box_ms")
    sizes = ("interpreter", "engine_import", "load", "peak")
    rows = []
    for entry in entries:
        cold, memory = entry["cold_start"], entry["memory"]
        time_cells = [f"{cold['median'][step]:.0f}" for step in steps] if cold else [NOT_MEASURED] * len(steps)
        memory_cells = [f"{memory[size] / _MEGABYTE:.0f}" for size in sizes] if memory else [NOT_MEASURED] * len(sizes)
        rows.append((entry["name"], *time_cells, *memory_cells))
    columns = ("", ">load, ms", ">load again", ">init", ">first update", ">process start to first box")
    yield table((*columns, ">interpreter, MB", ">engine imported", ">loaded", ">peak"), rows)


def _outside(results: Mapping[str, Document]) -> Iterator[str]:
    found = {"FARTrack": results.get("outside"), "OSTrack, GRM": results.get("outside-centre-head")}
    if any(found.values()):
        yield "## Outside the engine call, ms per update on one core\n"
    for title, document in found.items():
        if document is not None:
            yield f"{title}:\n"
            yield _outside_table(document)


def _outside_table(document: Document) -> str:
    sizes: dict[tuple[int, int], dict[str, Document]] = {}
    for row in document["rows"]:
        sizes.setdefault((row["width"], row["height"]), {})[row["target"]] = row
    rows = []
    for (width, height), targets in sizes.items():
        cells = [f"{width}x{height}{_flag(document)}"]
        for target, stages in (("fixed", ("crop", "decode", "memory")), ("scaled", ())):
            row = targets[target]
            cells.append("{:.0f}x{:.0f}".format(*row["target_px"]))
            cells += [f"{row['stages_ms'][stage]['p50']:.3f}" for stage in stages]
            cells += [f"{row['total_ms'][key]:.3f}" for key in ("p50", "p99")]
        rows.append(cells)
    columns = ("frame", "fixed target, px", ">crop", ">decode", ">memory", ">total p50", ">total p99")
    return table((*columns, "scaled target, px", ">total p50", ">total p99"), rows)


def _startup(results: Mapping[str, Document]) -> Iterator[str]:
    if "startup" not in results:
        return
    document = results["startup"]
    found = document["import"]
    yield "## Start\n"
    heavy, flag = ", ".join(found["heavy"]) or "none", _flag(document)
    ms, modules = found["ms"]["p50"], found["modules"]
    yield f"- `import edgetrack`{flag}: {ms:.0f} ms, {modules} modules, heavy ones: {heavy}"
    for item in document["artifacts"]:
        median = item["cold_start"]["median"]
        yield (
            f"- {item['name']}{flag} in a fresh process: loads in {median['load_ms']:.0f} ms with the import of the "
            f"engine, in {median['load_again_ms']:.0f} ms without"
        )
    if document["wheel"] is not None:
        yield f"- {document['wheel']['name']}: {document['wheel']['bytes'] / _MEGABYTE:.2f} MB"
    yield ""


def _growth(results: Mapping[str, Document]) -> Iterator[str]:
    if "growth" not in results:
        return
    document = results["growth"]
    bound, end = document["at_bound"], document["end"]
    yield "## Memory of a long video\n"
    yield (
        f"- bound of the template history: {document['limit_bytes'] / _MEGABYTE:.1f} MB; slots are the published ones "
        f"up to frame {document['exact_frames']}"
    )
    if bound is not None:
        growth = document["growth_after_bound_bytes"] / _MEGABYTE
        yield f"- resident when the bound is reached, update {bound['update']}: {bound['rss'] / _MEGABYTE:.1f} MB"
        yield f"- largest growth from there to update {end['update']}: {growth:.2f} MB"
    yield f"- resident at the end: {end['rss'] / _MEGABYTE:.1f} MB, {end['history'] / _MEGABYTE:.1f} MB of it history\n"


def _matrix(profiles: Sequence[Document]) -> Iterator[str]:
    yield "## Where the network's time goes\n"
    rows = [_matrix_row(document) for document in profiles]
    columns = ("artifact", "engine", ">engine calls, ms", ">network, GFLOP/s", ">plain products, GFLOP/s")
    shares = (">network's share of that rate", ">in products, ms", ">products' share of that rate")
    yield table((*columns, *shares, ">in no product, ms", ">share of operators' time"), rows)
    yield (
        "Plain products: the fp32 matrix rate of this machine, measured in the same run on the same engine, in the "
        "network's shapes. Operators that hold products count as such with all they do.\n"
    )


def _matrix_row(document: Document) -> list[str]:
    """Return a row; a network whose arithmetic nobody counted has no rates."""
    matrix = document["matrix"]

    def cell(key: str, form: str) -> str:
        return NOT_MEASURED if matrix[key] is None else format(matrix[key], form)

    return [
        document["artifact"] + _flag(document),
        document["engine"]["engine"],
        f"{document['run_ms']['p50']:.2f}",
        cell("network_gflops", ".0f"),
        cell("chain_gflops", ".0f"),
        cell("network_share", ".0%"),
        cell("products_ms", ".2f"),
        cell("products_share", ".0%"),
        cell("other_ms", ".2f"),
        cell("other_share", ".1%"),
    ]


def _operators(profiles: Sequence[Document]) -> Iterator[str]:
    yield "## Time by operator, ms per frame\n"
    for document in profiles:
        engine, operators = document["engine"], document["operators"]
        title = f"{document['artifact']}, {engine['engine']} {engine['version'].split('-')[0]}"
        yield f"### {title}{_flag(document)}\n"
        rows = [
            (row["op"], row["count"], f"{row['ms']:.3f}", f"{row['share']:.1%}", "yes" if row["matrix"] else "")
            for row in operators[:_OPERATORS]
        ]
        if rest := operators[_OPERATORS:]:
            ms, share = (sum(row[key] for row in rest) for key in ("ms", "share"))
            rows.append((f"{len(rest)} others", sum(row["count"] for row in rest), f"{ms:.3f}", f"{share:.1%}", ""))
        rows.append(
            ("all", sum(row["count"] for row in operators), f"{document['matrix']['operators_ms']:.3f}", "100%", "")
        )
        yield table(("operator", ">count", ">ms", ">share", "matrix product"), rows)


def _method(benches: Sequence[Document], profiles: Sequence[Document], sizes: Sequence[Document]) -> Iterator[str]:
    plan: Document = benches[0]["plan"] if benches else {"block": "-", "settle": "-", "pause_s": 0.0, "warmup": "-"}
    yield _METHOD.format(
        block=plan["block"],
        settle=plan["settle"],
        pause=1e3 * plan["pause_s"],
        warmup=plan["warmup"],
        chain=profiles[0]["matrix"]["chain"] if profiles else NOT_MEASURED,
        tracked=sizes[0]["updates"] if sizes else "-",
        quiet=QUIET_SHARE,
    )
