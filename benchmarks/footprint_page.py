"""The part of RESULTS.md on size and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgetrack.benchmarks.goals import NOT_MEASURED, allowed_bytes
from edgetrack.benchmarks.markdown import table

__all__ = ["footprints"]

Document = Mapping[str, Any]

_MEGABYTE = 1e6


def footprints(documents: Sequence[Document]) -> Iterator[str]:
    """Yield the section on documents of `edgetrack.benchmarks.footprint`; nothing for none."""
    if not documents:
        return
    yield "## Size and memory\n"
    costs = (">parameters, M", ">GMACs", ">published loop's GMACs")
    sizes = (">weights, MB", ">artifact, MB", ">peak of the export, MB")
    tracking = (">loaded, MB", ">peak while it tracks, MB", ">1.3x the weights + 150 MB")
    rows = [row for document in documents for row in document["rows"]]
    yield table(("artifact", *costs, *sizes, *tracking), [_row(row) for row in rows])
    if told := [row for row in rows if row.get("device")]:
        yield "What a device needs of a tracker with language where the target is described elsewhere, once:\n"
        needed = (">graphs, MB", ">target pack, MB", ">target data, MB", ">peak while it tracks, MB")
        yield table(("artifact", *needed), [_device_row(row) for row in told])


def _row(row: Document) -> list[str]:
    exported, memory = row["export"], row["memory"]
    return [
        row["artifact"],
        f"{row['parameters'] / 1e6:.2f}",
        f"{row['gmacs']:.2f}",
        f"{row['published_gmacs']:.2f}",
        f"{row['weights_bytes'] / _MEGABYTE:.0f}",
        f"{row['artifact_bytes'] / _MEGABYTE:.0f}",
        NOT_MEASURED if exported is None else f"{exported['peak_rss_bytes'] / _MEGABYTE:.0f}",
        f"{memory['load'] / _MEGABYTE:.0f}",
        f"{memory['peak'] / _MEGABYTE:.0f}",
        "" if row.get("device") else f"{allowed_bytes(row) / _MEGABYTE:.0f}",  # text encoders count besides
    ]


def _device_row(row: Document) -> list[str]:
    device = row["device"]
    return [
        row["artifact"],
        f"{device['graphs_bytes'] / _MEGABYTE:.0f}",
        f"{device['pack_bytes'] / _MEGABYTE:.2f}",
        f"{row['target_bytes'] / _MEGABYTE:.2f}",
        f"{device['memory']['peak'] / _MEGABYTE:.0f}",
    ]
