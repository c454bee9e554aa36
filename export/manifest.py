"""The parts of an artifact's manifest that follow from what was built; `edgetrack.artifact` reads them again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgetrack
from edgetrack.artifact import SCHEMA, sha256_of
from edgetrack.export.targets import TargetInfo, TargetWriter
from edgetrack.export.targets.base import ExtraFile

if TYPE_CHECKING:
    from torch import Tensor

    from edgetrack.export.models.base import DeployGraph
    from edgetrack.export.source import Source

__all__ = [
    "build_section",
    "extra_sections",
    "file_section",
    "graph_section",
    "model_sections",
    "target_section",
    "target_sections",
    "utc_now",
]


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
    """Return `precision` and `target`.

    Args:
        target: what it was built for.
        precision: what was asked for and made.
        writer: what built it.
        device: what it was built for.
        islands: layers left in float32, as "role/name".
    """
    return {
        "precision": {
            "asked": precision,
            "actual": precision,
            "computed": target.computed_in(precision, device),
            "fp32_islands": list(islands),
        },
        "target": target_section(target, writer, device),
    }


def target_section(target: TargetInfo, writer: TargetWriter, device: str) -> dict[str, Any]:
    """Return `target`; `options` are those that a rebuild on another machine goes by, as far as they were said."""
    said = {option.name: writer.options.get(option.name, option.default) for option in target.options}
    kept = [option for option in target.options if not option.here_only and said[option.name] != option.default]
    return {
        "name": target.name,
        "engine": target.engine,
        "version": writer.version(),
        "device": device,
        "driver": None,
        "soc": None,
        "options": {option.name: _plain(said[option.name]) for option in kept},
        **writer.facts(),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 (the value of an option)
    return str(value) if isinstance(value, Path) else value


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
    import torch

    return {
        "edgetrack": edgetrack.__version__,
        "torch": torch.__version__,
        "command": command,
        "seed": seed,
        "time": utc_now(),
    }


def utc_now() -> str:
    """Return the time as ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def graph_section(
    graph: DeployGraph, folder: Path, files: tuple[str, ...], pixels: Collection[str] = ()
) -> dict[str, Any]:
    """Return the entry of one graph in `graphs`.

    Args:
        graph: the graph.
        folder: where `files` are, the main one first.
        files: of the graph.
        pixels: inputs (1, 3, S, S) that the files take as uint8 pixels instead, see `TargetWriter.pixel_inputs`.
    """
    import torch

    with torch.no_grad():
        results = graph.module(*graph.inputs.values())
    outputs = results if isinstance(results, tuple | list) else (results,)
    return {
        "role": graph.role,
        **file_section(folder, files),
        "inputs": [
            _pixels(name, value) if name in pixels else _tensor(graph, name, value, graph.dims.get(name, {}))
            for name, value in graph.inputs.items()
        ],
        "outputs": [_tensor(graph, name, value, {}) for name, value in zip(graph.outputs, outputs, strict=True)],
        "dims": {symbol: list(values) for symbol, values in graph.values.items()},
    }


def file_section(folder: Path, files: Sequence[str]) -> dict[str, Any]:
    """Return the keys of a graph's entry that name its files; `files` are in `folder`, the main one first."""
    return {
        "file": files[0],
        "files": list(files),
        "sha256": {name: sha256_of(folder / name) for name in files},
    }


def _pixels(name: str, value: Tensor) -> dict[str, Any]:
    batch, channels, height, width = value.shape
    return {"name": name, "dtype": "uint8", "shape": [batch, height, width, channels], "layout": "NHWC"}


def _tensor(graph: DeployGraph, name: str, value: Tensor, symbols: Mapping[int, str]) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": str(value.dtype).removeprefix("torch."),
        "shape": [symbols.get(axis, size) for axis, size in enumerate(value.shape)],
        "layout": graph.layouts.get(name, ""),
    }
