"""AIPP, with which Ascend NPUs unpack images: a graph takes its crops as uint8 pixels and normalises them itself.

AIPP computes in float16, and rounding normalised pixels costs a tracker more than all other rounding of a float16 graph
(see `entry_nodes`): on the stand-in of the device Pico kept a mean IoU of 0.961 with fp32's boxes where it follows the
target, in place of 0.988. So AIPP only unpacks the pixels here, whose 256 values a float16 holds exactly, and the graph
normalises them in float32, step by step as the core does.

Sources, Huawei's public manuals, edition canncommercial 8.5.0 where no other is named:

- what a configuration file says, that pixels lie as (1, S, S, 3), and that channels keep their order:
  https://www.hiascend.com/document/detail/zh/canncommercial/850/devaids/atctool/atlasatc_16_0025.html
- that --input_format has to be NCHW or NHWC with it, whatever the other inputs are:
  https://www.hiascend.com/document/detail/zh/canncommercial/latest/devaids/atctool/atlasatcparam_16_0015.html
- the arithmetic, uint8 to float16: out = (in - mean_chn - min_chn) * var_reci_chn (edition 8.0.0):
  https://www.hiascend.com/document/detail/en/canncommercial/800/devaids/atc/atlasatc_16_0022.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from edgetrack.export.models.base import GraphSignature

__all__ = ["configuration", "take_pixels"]

_CHANNELS = range(3)


def configuration(lowered: onnx.ModelProto, graph: GraphSignature) -> str:
    """Return the file for --insert_op_conf of a graph with crops, one `aipp_op` for each of them.

    Args:
        lowered: the graph as ATC is given it; crops are (1, 3, S, S) there.
        graph: says which inputs are crops.
    """
    blocks = []
    for rank, value in enumerate(lowered.graph.input):
        if value.name not in graph.crops:
            continue
        side = value.type.tensor_type.shape.dim[-1].dim_value
        lines = [
            "aipp_mode: static",
            f"related_input_rank: {rank}",
            "input_format: RGB888_U8",
            "csc_switch: false",
            "rbuv_swap_switch: false",
            "crop: false",
            f"src_image_size_w: {side}",
            f"src_image_size_h: {side}",
            *(f"mean_chn_{channel}: 0" for channel in _CHANNELS),
            *(f"min_chn_{channel}: 0.0" for channel in _CHANNELS),
            *(f"var_reci_chn_{channel}: 1.0" for channel in _CHANNELS),
        ]
        blocks.append("\n".join(["aipp_op {", *(f"    {line}" for line in lines), "}", ""]))
    return "".join(blocks)


def take_pixels(lowered: onnx.ModelProto, graph: GraphSignature) -> None:
    """Let a lowered graph take its crops as pixels, 0 to 255, and normalise them: (v / 255 - mean) / std in float32.

    They are cast to float16 first, which is what AIPP gives, so that types behind do not depend on it.
    """
    nodes: list[onnx.NodeProto] = []
    for name, how in graph.crops.items():
        for node in lowered.graph.node:
            node.input[:] = [f"{name}.normal" if used == name else used for used in node.input]
        for label, values in (("full", (255.0,)), ("mean", how.mean), ("std", how.std)):
            constant = np.array(values, np.float32).reshape(1, -1, 1, 1)
            lowered.graph.initializer.append(numpy_helper.from_array(constant, f"{name}.{label}"))
        steps: tuple[tuple[str, str, tuple[str, ...], dict[str, int]], ...] = (
            ("half", "Cast", (name,), {"to": TensorProto.FLOAT16}),
            ("pixels", "Cast", (f"{name}.half",), {"to": TensorProto.FLOAT}),
            ("unit", "Div", (f"{name}.pixels", f"{name}.full"), {}),
            ("centred", "Sub", (f"{name}.unit", f"{name}.mean"), {}),
            ("normal", "Div", (f"{name}.centred", f"{name}.std"), {}),
        )
        for label, op_type, inputs, attributes in steps:
            output = f"{name}.{label}"
            nodes.append(helper.make_node(op_type, inputs, [output], name=f"normalise.{output}", **attributes))
    nodes += lowered.graph.node
    del lowered.graph.node[:]
    lowered.graph.node.extend(nodes)
