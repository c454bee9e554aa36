"""The parts of an artifact's manifest that follow from what was built; `edgetrack.artifact` reads them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import edgetrack
from edgetrack.artifact import SCHEMA, sha256_of
from edgetrack.export.models.base import DeployGraph
from edgetrack.export.source import Source
from edgetrack.export.targets import TargetInfo, TargetWriter
from edgetrack.export.targets.base import ExtraFile

__all__ = ["build_section", "extra_sections", "graph_section", "model_sections", "target_sections"]


def model_sections(source: Source) -> dict[str, Any]:
    """Return `schema`, `model` and `tracker`."""
    tracker = source.family.tracker_spec(source.variant.name)
    if source.score is not None:
        tracker["score"] = {**tracker["score"], **source.score}
    if source.text is not None:
        tracker["language"] = source.text.section
    return {
        "schema": SCHEMA,
        "model": {
            "family": source.family.name,
            "variant": source.variant.name,
            "flavour": source.variant.flavour,
            "checkpoint_sha256": source.sha256,
            "licence": source.variant.licence,
            "weights": source.weights,
        },
        "tracker": tracker,
    }


def target_sections(
    target: TargetInfo, precision: str, writer: TargetWriter, device: str, islands: Sequence[str]
) -> dict[str, Any]:
    """Return `precision`, `calibration` and `target`.

    Args:
        target: what it was built for.
        precision: what was asked for and made.
        writer: what built it.
        device: what it was built for.
        islands: layers left in float32, as "role/name".
    """
    return {
        "precision": {"asked": precision, "actual": precision, "fp32_islands": list(islands)},
        "calibration": None,
        "target": {
            "name": target.name,
            "engine": target.engine,
            "version": writer.version(),
            "device": device,
            "driver": None,
            "soc": None,
            **writer.facts(),
        },
    }


def extra_sections(extras: Sequence[ExtraFile], folder: Path) -> dict[str, Any]:
    """Return `extras`, the files in `folder` that no engine opens."""
    return {
        "extras": [
            {"file": item.file, "kind": item.kind, "role": item.role, "sha256": sha256_of(folder / item.file)}
            for item in extras
        ]
    }


def build_section(command: str, seed: int | None) -> dict[str, Any]:
    """Return `build`: what was run, with which versions, and when (UTC)."""
    return {
        "edgetrack": edgetrack.__version__,
        "torch": torch.__version__,
        "command": command,
        "seed": seed,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


@torch.no_grad()
def graph_section(graph: DeployGraph, folder: Path, files: tuple[str, ...]) -> dict[str, Any]:
    """Return the entry of one graph in `graphs`; `files` are in `folder`, the main one first."""
    results = graph.module(*graph.inputs.values())
    outputs = results if isinstance(results, tuple | list) else (results,)
    return {
        "role": graph.role,
        "file": files[0],
        "files": list(files),
        "sha256": {name: sha256_of(folder / name) for name in files},
        "inputs": [_tensor(graph, name, value, graph.dims.get(name, {})) for name, value in graph.inputs.items()],
        "outputs": [_tensor(graph, name, value, {}) for name, value in zip(graph.outputs, outputs, strict=True)],
        "dims": {symbol: list(values) for symbol, values in graph.values.items()},
    }


def _tensor(graph: DeployGraph, name: str, value: Tensor, symbols: Mapping[int, str]) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": str(value.dtype).removeprefix("torch."),
        "shape": [symbols.get(axis, size) for axis, size in enumerate(value.shape)],
        "layout": graph.layouts.get(name, ""),
    }
