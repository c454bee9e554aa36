"""What the stored results have to show, and whether they do.

The list is fixed: what was not measured is on it too, and is not reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgetrack.benchmarks.others import QUIET_SHARE

__all__ = [
    "CENTRE_VARIANTS",
    "ENGINES",
    "LANGUAGE_VARIANTS",
    "NOT_MEASURED",
    "VARIANTS",
    "Goal",
    "allowed_bytes",
    "goals",
    "is_disturbed",
]

Document = Mapping[str, Any]

NOT_MEASURED = "not measured"

CENTRE_VARIANTS = ("ostrack-256", "ostrack-256-ce", "ostrack-384-ce", "grm-256", "grm-l320")
VARIANTS = ("fartrack-pico", "fartrack-nano", "fartrack-tiny", *CENTRE_VARIANTS)
LANGUAGE_VARIANTS = ("mvlm-tf", "mvlm-bbox", "atstrack-256-t2", "atstrack-384", "glad-b256", "glad-l384")
TARGET_BYTES = 4e6
ENGINES = ("onnxruntime", "openvino")
BOX_PX = 0.05
FPS_RATIO = {"fartrack-pico": 3.0, "fartrack-tiny": 2.5, "ostrack-256": 1.1, "ostrack-256-ce": 1.1, "grm-256": 1.3}
WEIGHTS_SHARE, MEMORY_BYTES = 1.3, 150e6
EXPORTED_VARIANT, EXPORT_BYTES = "grm-l320", 6e9
OUTSIDE_MS, OUTSIDE_SIZE = 0.5, (1920, 1080)
SMALLEST, LARGEST, SIZE_SPREAD = (640, 480), (3840, 2160), 1.25
IMPORT_MS = 150.0
WHEEL_BYTES = 2e6
LOAD_MS, LOADED_VARIANT, LOADED_ENGINE = 500.0, "fartrack-pico", "onnxruntime"
GROWTH_BYTES, HISTORY_BYTES = 2e6, 64e6
UPDATES = 100_000
UNWANTED = ("torch", "onnx", "cv2")


@dataclass(frozen=True)
class Goal:
    """One line of the table of goals; `disturbed` says that other processes kept the machine busy meanwhile."""

    what: str
    wanted: str
    found: str = NOT_MEASURED
    reached: bool = False
    disturbed: bool = False


def goals(results: Mapping[str, Document]) -> list[Goal]:
    """Return all goals, whether or not `results` say something about them; names of parts as in `render`."""
    start, grown = results.get("startup"), results.get("growth")
    return [
        _boxes(results),
        *(_speed(variant, results.get(f"bench-{variant}")) for variant in FPS_RATIO),
        _outside(results.get("outside")),
        _spread(results.get("outside")),
        _import(start),
        _load(start),
        _wheel(start),
        _bound(grown),
        _growth(grown),
        _tracking(results),
        _export(results.get(f"footprint-{EXPORTED_VARIANT}")),
        _target(results),
        _text(results),
    ]


def is_disturbed(document: Document) -> bool:
    """Say whether others used more of the cores than a quiet machine's share while `document` was measured."""
    share = document.get("others_share")
    return share is not None and share > QUIET_SHARE


def _compared(document: Document | None) -> list[Document]:
    return [entry for entry in (document or {}).get("contenders", ()) if entry["versus"] is not None]


def _boxes(results: Mapping[str, Document]) -> Goal:
    """Every variant on every engine has to be there; one that is missing is not equal."""
    wanted = [(variant, engine) for variant in VARIANTS for engine in ENGINES]
    found: dict[tuple[str, str], float] = {}
    for variant in VARIANTS:
        for entry in _compared(results.get(f"bench-{variant}")):
            key, box_px = (entry["variant"], entry["engine"]["engine"]), entry["versus"]["max_box_px"]
            if entry["precision"] == "fp32" and key in wanted and box_px is not None:
                found[key] = max(box_px, found.get(key, 0.0))
    what = f"fp32 boxes equal the published loop's, {len(VARIANTS)} variants on {len(ENGINES)} engines"
    limit = f"≤ {BOX_PX} px"
    if not found:
        return Goal(what, limit)
    worst, missing = max(found.values()), len(wanted) - len(found)
    note = f", {missing} of {len(wanted)} {NOT_MEASURED}" if missing else ""
    return Goal(what, limit, f"{worst:.2g} px{note}", worst <= BOX_PX and not missing)


def _speed(variant: str, document: Document | None) -> Goal:
    ratio_wanted = FPS_RATIO[variant]
    what, wanted = f"{variant}: FPS of the whole loop over eager PyTorch, better engine", f"≥ {ratio_wanted}x"
    against = document["contenders"][0]["kind"] if document else None
    entries = [entry for entry in _compared(document) if entry["precision"] == "fp32"]
    if document is None or against != "reference" or not entries:
        return Goal(what, wanted)
    best = max(entries, key=lambda entry: float(entry["versus"]["fps_ratio"]["value"]))
    ratio = best["versus"]["fps_ratio"]["value"]
    found = f"{ratio:.2f}x, {best['engine']['engine']}"
    return Goal(what, wanted, found, ratio >= ratio_wanted, is_disturbed(document))


def _fixed_ms(document: Document | None) -> dict[tuple[int, int], float]:
    """Return the medians with a target that is the same in every frame, by frame size."""
    rows: Sequence[Document] = (document or {}).get("rows", ())
    return {(row["width"], row["height"]): row["total_ms"]["p50"] for row in rows if row["target"] == "fixed"}


def _outside(document: Document | None) -> Goal:
    width, height = OUTSIDE_SIZE
    what, wanted = f"outside the engine call, {width}x{height}, one core, median", f"≤ {OUTSIDE_MS} ms"
    ms = _fixed_ms(document).get(OUTSIDE_SIZE)
    if document is None or ms is None:
        return Goal(what, wanted)
    return Goal(what, wanted, f"{ms:.3f} ms", ms <= OUTSIDE_MS, is_disturbed(document))


def _spread(document: Document | None) -> Goal:
    ends = " to ".join(f"{width}x{height}" for width, height in (SMALLEST, LARGEST))
    what, wanted = f"the same for every frame size, {ends}: slowest over fastest", f"≤ {SIZE_SPREAD}"
    fixed = _fixed_ms(document)
    if document is None or not {SMALLEST, OUTSIDE_SIZE, LARGEST} <= set(fixed):
        return Goal(what, wanted)
    spread = max(fixed.values()) / min(fixed.values())
    return Goal(what, wanted, f"{spread:.2f}", spread <= SIZE_SPREAD, is_disturbed(document))


def _import(document: Document | None) -> Goal:
    what, wanted = f"`import edgetrack` without {', '.join(UNWANTED)}", f"< {IMPORT_MS:.0f} ms"
    if document is None:
        return Goal(what, wanted)
    imported = document["import"]
    ms, unwanted = imported["ms"]["p50"], [name for name in UNWANTED if name in imported["heavy"]]
    found = f"{ms:.0f} ms" + (f", with {', '.join(unwanted)}" if unwanted else "")
    return Goal(what, wanted, found, ms < IMPORT_MS and not unwanted, is_disturbed(document))


def _load(document: Document | None) -> Goal:
    what, wanted = f"{LOADED_VARIANT} on {LOADED_ENGINE} loads in a fresh process", f"< {LOAD_MS:.0f} ms"
    times = [
        item["cold_start"]["median"]["load_ms"]
        for item in (document or {}).get("artifacts", ())
        if (item["variant"], item["engine"]) == (LOADED_VARIANT, LOADED_ENGINE)
    ]
    if document is None or not times:
        return Goal(what, wanted)
    return Goal(what, wanted, f"{max(times):.0f} ms", max(times) < LOAD_MS, is_disturbed(document))


def _wheel(document: Document | None) -> Goal:
    what, wanted = "the wheel", f"< {WHEEL_BYTES / 1e6:.0f} MB"
    if document is None or document["wheel"] is None:
        return Goal(what, wanted)
    size = document["wheel"]["bytes"]
    return Goal(what, wanted, f"{size / 1e6:.2f} MB", size < WHEEL_BYTES)


def _bound(document: Document | None) -> Goal:
    what, wanted = "bound of the template history", f"≤ {HISTORY_BYTES / 1e6:.0f} MB"
    if document is None:
        return Goal(what, wanted)
    limit = document["limit_bytes"]
    return Goal(what, wanted, f"{limit / 1e6:.1f} MB", limit <= HISTORY_BYTES)


def _growth(document: Document | None) -> Goal:
    what = f"resident memory from the bound to update {UPDATES}"
    wanted = f"grows ≤ {GROWTH_BYTES / 1e6:.0f} MB"
    if document is None or document["growth_after_bound_bytes"] is None or document["updates"] < UPDATES:
        return Goal(what, wanted)
    growth = document["growth_after_bound_bytes"]
    return Goal(what, wanted, f"{growth / 1e6:.2f} MB", growth <= GROWTH_BYTES)


def allowed_bytes(row: Document) -> float:
    """Return what the process that tracks with a row's artifact may hold at most."""
    return float(WEIGHTS_SHARE * row["weights_bytes"] + MEMORY_BYTES)


def _tracking(results: Mapping[str, Document]) -> Goal:
    """Every large variant on every engine has to be there."""
    wanted = {(variant, engine) for variant in CENTRE_VARIANTS for engine in ENGINES}
    documents = [results.get(f"footprint-{variant}") or {} for variant in CENTRE_VARIANTS]
    rows = {
        (row["variant"], row["engine"]): row
        for document in documents
        for row in document.get("rows", ())
        if row["precision"] == "fp32"
    }
    share, constant = f"{WEIGHTS_SHARE}x the weights", f"{MEMORY_BYTES / 1e6:.0f} MB"
    what = f"peak resident memory of a process that tracks, {len(CENTRE_VARIANTS)} variants on {len(ENGINES)} engines"
    missing = len(wanted - set(rows))
    if not rows:
        return Goal(what, f"≤ {share} + {constant}")
    (variant, engine), worst = max(rows.items(), key=lambda item: item[1]["memory"]["peak"] / allowed_bytes(item[1]))
    peak, allowed = worst["memory"]["peak"], allowed_bytes(worst)
    note = f", {missing} of {len(wanted)} {NOT_MEASURED}" if missing else ""
    found = f"at most {peak / 1e6:.0f} of {allowed / 1e6:.0f} MB ({variant}, {engine}){note}"
    return Goal(what, f"≤ {share} + {constant}", found, peak <= allowed and not missing)


def _export(document: Document | None) -> Goal:
    what, wanted = f"export of {EXPORTED_VARIANT}, peak resident memory", f"< {EXPORT_BYTES / 1e9:.0f} GB"
    rows: Sequence[Document] = (document or {}).get("rows", ())
    peaks = {row["engine"]: row["export"]["peak_rss_bytes"] for row in rows if row["export"] is not None}
    if set(peaks) != set(ENGINES):
        return Goal(what, wanted)
    peak = max(peaks.values())
    return Goal(what, wanted, f"{peak / 1e9:.1f} GB", peak < EXPORT_BYTES)


def _target(results: Mapping[str, Document]) -> Goal:
    """Every variant that reads text has to be there."""
    what, wanted = f"target data of {len(LANGUAGE_VARIANTS)} trackers with language", f"≤ {TARGET_BYTES / 1e6:.0f} MB"
    sizes = {
        variant: max((row["target_bytes"] or 0 for row in document["rows"]), default=0)
        for variant in LANGUAGE_VARIANTS
        if (document := results.get(f"footprint-{variant}")) is not None
    }
    if not sizes:
        return Goal(what, wanted)
    variant, size = max(sizes.items(), key=lambda item: item[1])
    missing = len(LANGUAGE_VARIANTS) - len(sizes)
    note = f", {missing} of {len(LANGUAGE_VARIANTS)} {NOT_MEASURED}" if missing else ""
    return Goal(what, wanted, f"{size / 1e6:.2f} MB ({variant}){note}", 0 < size <= TARGET_BYTES and not missing)


def _text(results: Mapping[str, Document]) -> Goal:
    """Every variant that reads text has to be there, on every engine."""
    what = f"text encoding in an update of {len(LANGUAGE_VARIANTS)} trackers with language on {len(ENGINES)} engines"
    limit = "0 ms"
    wanted = {(variant, engine) for variant in LANGUAGE_VARIANTS for engine in ENGINES}
    found = {
        (entry["variant"], entry["engine"]["engine"]): float(entry["stages_ms"]["text"]["max"])
        for variant in LANGUAGE_VARIANTS
        for entry in _compared(results.get(f"bench-{variant}"))
        if "text_ms" in entry and "text" in entry["stages_ms"]
    }
    missing = len(wanted - set(found))
    if missing == len(wanted):
        return Goal(what, limit)
    worst = max(ms for key, ms in found.items() if key in wanted)
    note = f", {missing} of {len(wanted)} {NOT_MEASURED}" if missing else ""
    return Goal(what, limit, f"at most {worst:.3f} ms{note}", worst == 0 and not missing)
