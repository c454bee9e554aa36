"""The engines, by name. Adding one is one file beside this and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetrack.errors import EngineUnavailable
from edgetrack.registry import Registry

if TYPE_CHECKING:
    from edgetrack.runtime.engine import Engine

__all__ = ["ENGINES"]

ENGINES: Registry[type[Engine]] = Registry("engine", EngineUnavailable)
ENGINES.register("ascend", "edgetrack.runtime.engines.ascend:AscendEngine", aliases=("acl",))
ENGINES.register("onnxruntime", "edgetrack.runtime.engines.onnxruntime:OnnxRuntimeEngine", aliases=("ort",))
ENGINES.register("openvino", "edgetrack.runtime.engines.openvino:OpenVinoEngine", aliases=("ov",))
ENGINES.register("qnn", "edgetrack.runtime.engines.qnn:QnnEngine", aliases=("htp",))
ENGINES.register("tensorrt", "edgetrack.runtime.engines.tensorrt:TensorRtEngine", aliases=("trt",))
