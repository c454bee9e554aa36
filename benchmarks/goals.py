"""What the stored results have to show, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Goal", "goals"]

Document = Mapping[str, Any]

BOX_PX = 0.05
FPS_RATIO = {"fartrack-pico": 3.0, "fartrack-tiny": 2.5}
OUTSIDE_MS, OUTSIDE_WIDTH = 0.5, 1920
SIZE_SPREAD = 1.25
IMPORT_MS = 150.0
WHEEL_BYTES = 2e6
LOAD_MS = 500.0
GROWTH_BYTES, HISTORY_BYTES = 2e6, 64e6
UNWANTED = ("torch", "onnx", "cv2")


@dataclass(frozen=True)
class Goal:
    """One line of the table of goals."""

    what: str
    wanted: str
    found: str
    reached: bool


def goals(results: Mapping[str, Document]) -> list[Goal]:
    """Return the goals that `results` say something about; names of parts as in `results_page.render`."""
    found: list[Goal] = []
    benches = [document for name, document in results.items() if name.startswith("bench-")]
    if benches:
        found += [_boxes(benches), *_speed(benches)]
    for name, judge in (("outside", _outside), ("startup", _startup), ("growth", _growth)):
        if name in results:
            found += judge(results[name])
    return found


def _compared(document: Document) -> list[Document]:
    return [entry for entry in document["contenders"] if entry["versus"] is not None]


def _boxes(benches: Sequence[Document]) -> Goal:
    exact = [entry for document in benches for entry in _compared(document) if entry["precision"] == "fp32"]
    worst = max(entry["versus"]["max_box_px"] for entry in exact)
    what = f"boxes of {len(exact)} fp32 artifacts equal the published loop's"
    return Goal(what, f"≤ {BOX_PX} px", f"{worst:.2g} px", worst <= BOX_PX)


def _speed(benches: Sequence[Document]) -> Iterator[Goal]:
    for document in benches:
        variant = document["contenders"][0]["variant"]
        if variant not in FPS_RATIO:
            continue
        best = max(_compared(document), key=lambda entry: float(entry["versus"]["fps_ratio"]["value"]))
        ratio, wanted = best["versus"]["fps_ratio"]["value"], FPS_RATIO[variant]
        what = f"{variant}: FPS of the whole loop over eager PyTorch, better engine ({best['engine']['engine']})"
        yield Goal(what, f"≥ {wanted}x", f"{ratio:.2f}x", ratio >= wanted)


def _outside(document: Document) -> Iterator[Goal]:
    worst = max(row["total_ms"]["p50"] for row in document["rows"] if row["width"] == OUTSIDE_WIDTH)
    yield Goal(
        f"outside the engine call, {OUTSIDE_WIDTH} px wide frame, one core",
        f"≤ {OUTSIDE_MS} ms",
        f"{worst:.3f} ms",
        worst <= OUTSIDE_MS,
    )
    fixed = [row["total_ms"]["p50"] for row in document["rows"] if row["target"] == "fixed"]
    spread = max(fixed) / min(fixed)
    what = "the same for every frame size: slowest over fastest, same target"
    yield Goal(what, f"≤ {SIZE_SPREAD}", f"{spread:.2f}", spread <= SIZE_SPREAD)


def _startup(document: Document) -> Iterator[Goal]:
    imported = document["import"]
    ms, unwanted = imported["ms"]["p50"], [name for name in UNWANTED if name in imported["heavy"]]
    what = f"`import edgetrack` without {', '.join(UNWANTED)}"
    text = f"{ms:.0f} ms" + (f", with {', '.join(unwanted)}" if unwanted else "")
    yield Goal(what, f"< {IMPORT_MS:.0f} ms", text, ms < IMPORT_MS and not unwanted)
    for item in document["artifacts"]:
        if item["engine"] == "onnxruntime":
            load = item["cold_start"]["median"]["load_ms"]
            what = f"{item['name']} loads in a fresh process"
            yield Goal(what, f"< {LOAD_MS:.0f} ms", f"{load:.0f} ms", load < LOAD_MS)
    if document["wheel"] is not None:
        size = document["wheel"]["bytes"]
        yield Goal("the wheel", f"< {WHEEL_BYTES / 1e6:.0f} MB", f"{size / 1e6:.2f} MB", size < WHEEL_BYTES)


def _growth(document: Document) -> Iterator[Goal]:
    limit, growth = document["limit_bytes"], document["growth_after_bound_bytes"]
    yield Goal(
        "bound of the template history",
        f"≤ {HISTORY_BYTES / 1e6:.0f} MB",
        f"{limit / 1e6:.1f} MB",
        limit <= HISTORY_BYTES,
    )
    if growth is not None:
        what = f"resident memory from the bound to update {document['updates']}"
        yield Goal(what, f"grows ≤ {GROWTH_BYTES / 1e6:.0f} MB", f"{growth / 1e6:.2f} MB", growth <= GROWTH_BYTES)
