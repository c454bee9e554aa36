"""Typed graphs: a deployment graph as an ONNX file whose types carry the precision, made once for every target."""

from __future__ import annotations

from edgetrack.export.precision.typed import TypedGraph, write_typed

__all__ = ["TypedGraph", "write_typed"]
