"""AIPP as Huawei's manual documents it, written from there and not from the code: reads a configuration, does its work.

https://www.hiascend.com/document/detail/en/canncommercial/800/devaids/atc/atlasatc_16_0022.html
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_operators(text: str) -> list[dict[str, str]]:
    """Return the fields of every `aipp_op { ... }`; nothing else may be in the file."""
    blocks = re.findall(r"aipp_op\s*\{([^{}]*)\}", text)
    assert not re.sub(r"aipp_op\s*\{[^{}]*\}", "", text).strip()
    return [
        dict(re.fullmatch(r"(\w+): (\S+)", line.strip()).groups() for line in b.strip().splitlines()) for b in blocks
    ]


def by_rank(text: str) -> dict[int, dict[str, str]]:
    """Return the operators of a configuration by the index of the input that each is for."""
    return {int(operator["related_input_rank"]): operator for operator in read_operators(text)}


def normalised(operator: dict[str, str], pixels: NDArray[np.uint8], dtype: Any) -> NDArray[Any]:
    """Return (1, 3, S, S) of the pixels (1, S, S, 3): every number and every step in `dtype`, float16 on a device.

    out = (in - mean_chn - min_chn) * var_reci_chn
    """
    assert operator["aipp_mode"] == "static"
    assert operator["input_format"] == "RGB888_U8"
    assert {operator[name] for name in ("csc_switch", "rbuv_swap_switch", "crop")} == {"false"}
    assert pixels.shape == (1, int(operator["src_image_size_h"]), int(operator["src_image_size_w"]), 3)
    planes = []
    for channel in range(3):
        whole, rest = int(operator[f"mean_chn_{channel}"]), float(operator[f"min_chn_{channel}"])
        assert 0 <= whole <= 255
        assert 0 <= rest <= 255
        shifted = pixels[..., channel].astype(dtype) - dtype(whole) - dtype(rest)
        planes.append(shifted * dtype(operator[f"var_reci_chn_{channel}"]))
    return np.stack(planes, axis=1)
