"""The targets, by name. Adding one is one file beside this and one registration here.

Importing this package costs nothing heavy: `TARGETS` is a plain table, writers are imported by `writer_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgetrack.errors import InputError
from edgetrack.export.targets.ascend_atc import PRECISION_MODES
from edgetrack.export.targets.base import TargetInfo, TargetOption, TargetWriter
from edgetrack.export.targets.qnn_socs import ARCHITECTURES, SOCS
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


_NO_SOURCE = TargetOption(
    "no-source",
    "leave out the typed ONNX graphs, from which `edgetrack rebuild` builds on another device",
    kind=bool,
    default=False,
)

register(
    TargetInfo(
        name="onnx",
        aliases=("ort", "onnxruntime"),
        engine="onnxruntime",
        suffix=".onnx",
        precisions=("fp32", "fp16", "int8", "mixed"),
        devices=("cpu", "cuda", "cann"),
        extras=("export",),
        computes={"fp16": {"cpu": "fp32"}, "mixed": {"cpu": "int8"}},
        note="ONNX opset 20, on any CPU, NVIDIA GPU or Ascend NPU; fp16 halves the weights, a CPU computes in fp32",
        options=(
            TargetOption(
                "int8-path",
                "how int8 finds the range of activations: calibrated, in each run, or what is faster on this CPU",
                default="auto",
                choices=("auto", "dynamic", "static"),
                precisions=("int8",),
            ),
        ),
    ),
    "edgetrack.export.targets.onnx:OnnxTarget",
)
register(
    TargetInfo(
        name="openvino",
        aliases=("ov",),
        engine="openvino",
        suffix=".xml",
        precisions=("fp32", "fp16", "int8"),
        devices=("cpu", "GPU", "NPU", "AUTO"),
        extras=("export", "openvino"),
        typed={"fp16": "fp32"},
        computes={"fp16": {"cpu": "fp32"}},
        note="OpenVINO IR, on Intel CPU, GPU and NPU; fp16 halves the weights, a CPU still computes in fp32",
    ),
    "edgetrack.export.targets.openvino:OpenVinoTarget",
)
register(
    TargetInfo(
        name="ascend",
        aliases=("om", "cann"),
        engine="ascend",
        suffix=".om",
        precisions=("fp32", "fp16"),
        devices=("npu",),
        extras=("export",),
        note="Huawei Ascend NPUs; CANN's atc makes the files where it is installed; not run on hardware yet",
        options=(
            TargetOption(
                "soc-version",
                'the chip, "Ascend" and the name that npu-smi info has, as in Ascend310B4',
                required=True,
                pattern=r"[A-Za-z0-9_.-]{1,64}",
            ),
            TargetOption(
                "precision-mode",
                "what ATC may compute in other types than the graph has; for fp16 only",
                default="must_keep_origin_dtype",
                choices=PRECISION_MODES,
            ),
            TargetOption(
                "aipp",
                "hand the crops over as uint8 pixels, which the device unpacks (AIPP) and normalises",
                kind=bool,
                default=False,
            ),
            _NO_SOURCE,
        ),
    ),
    "edgetrack.export.targets.ascend:AscendTarget",
)
register(
    TargetInfo(
        name="trt",
        aliases=("tensorrt", "engine"),
        engine="tensorrt",
        suffix=".engine",
        precisions=("fp32", "fp16", "int8", "mixed"),
        devices=("cuda",),
        extras=("export", "tensorrt-rtx"),
        note="TensorRT 10 and 11 on the GPU that builds, or TensorRT-RTX, which builds without one",
        options=(
            TargetOption(
                "builder",
                "which TensorRT builds; auto: full TensorRT where its GPU is, else TensorRT-RTX",
                choices=("auto", "tensorrt", "tensorrt-rtx"),
                default="auto",
                here_only=True,
            ),
            TargetOption(
                "compute-capability",
                "what TensorRT-RTX builds for, as 8.6,8.9; default: 8.0 and later",
                here_only=True,
            ),
            TargetOption("workspace-mib", "most GPU memory for scratch; default: TensorRT's own", kind=int),
            TargetOption(
                "timing-cache", "file of full TensorRT's measurements, read and added to", Path, here_only=True
            ),
            TargetOption(
                "version-compatible",
                "full TensorRT: a file that later versions of the same major number read too",
                kind=bool,
                default=False,
            ),
            TargetOption(
                "hardware-compatible",
                "full TensorRT: a file for all GPUs of compute capability 8.0 and later, slower",
                kind=bool,
                default=False,
            ),
            _NO_SOURCE,
        ),
    ),
    "edgetrack.export.targets.trt:TensorRtTarget",
)
register(
    TargetInfo(
        name="qnn",
        aliases=("snapdragon", "htp"),
        engine="qnn",
        suffix=".onnx",
        precisions=("fp16", "int8"),
        devices=("npu", "htp-emulator"),
        extras=("export", "qnn"),
        typed={"fp16": "fp32", "int8": "w8a16"},
        options=(
            TargetOption("htp-arch", "architecture of the HTP", choices=tuple(map(str, ARCHITECTURES)), required=True),
            TargetOption("soc-model", "the chip, which fp16 needs", choices=tuple(SOCS)),
            _NO_SOURCE,
        ),
        note="QNN contexts for the NPU (HTP) of Snapdragons; made and emulated on x86-64 Linux; int8 is w8a16",
    ),
    "edgetrack.export.targets.qnn:QnnTarget",
)
