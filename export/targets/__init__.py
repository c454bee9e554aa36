"""The targets, by name. Adding one is one file beside this and one registration here.

Importing this package costs nothing heavy: `TARGETS` is a plain table, writers are imported by `writer_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgetrack.errors import InputError
from edgetrack.export.targets.base import TargetInfo, TargetOption, TargetWriter
from edgetrack.registry import Registry

__all__ = ["TARGETS", "TargetInfo", "TargetOption", "TargetWriter", "register", "target_of", "writer_of"]

TARGETS: dict[str, TargetInfo] = {}
"""Declarations by name, in the order of registration."""

_WRITERS: Registry[type[TargetWriter]] = Registry("target", InputError)


def register(info: TargetInfo, path: str) -> None:
    """Add a target: its declaration, and where its writer class lives ("package.module:Class").

    Raises:
        ValueError: the name or an alias is taken.
    """
    _WRITERS.register(info.name, path, aliases=info.aliases)
    TARGETS[info.name] = info


def target_of(name: str) -> TargetInfo:
    """Return the declaration of a target by name or alias; InputError names those there are."""
    return TARGETS[_WRITERS.resolve(name)]


def writer_of(name: str, options: Mapping[str, Any] | None = None) -> TargetWriter:
    """Import and return the writer of a target by name or alias; `options`: see `TargetInfo.check_options`."""
    return _WRITERS.get(name)(options)


register(
    TargetInfo(
        name="onnx",
        aliases=("ort", "onnxruntime"),
        engine="onnxruntime",
        suffix=".onnx",
        precisions=("fp32",),
        devices=("cpu", "cuda"),
        extras=("export",),
        note="ONNX opset 20 for ONNX Runtime, on any CPU or NVIDIA GPU",
    ),
    "edgetrack.export.targets.onnx:OnnxTarget",
)
register(
    TargetInfo(
        name="openvino",
        aliases=("ov",),
        engine="openvino",
        suffix=".xml",
        precisions=("fp32", "fp16"),
        devices=("cpu", "GPU", "NPU", "AUTO"),
        extras=("export", "openvino"),
        typed={"fp16": "fp32"},
        note="OpenVINO IR, on Intel CPU, GPU and NPU; fp16 halves the weights, a CPU still computes in fp32",
    ),
    "edgetrack.export.targets.openvino:OpenVinoTarget",
)
