"""The template's crop outside the compiled tracker, for graphs that describe a target by its picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.fields import Fields
from edgetrack.runtime.arguments import Box
from edgetrack.runtime.core import crop_normalized

__all__ = ["TemplateCrop", "template_crop"]


@dataclass(frozen=True)
class TemplateCrop:
    """The numbers of a crop: side in pixels, side over the box's, mean and deviation per RGB channel."""

    size: int
    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, frame: NDArray[np.uint8], box: Box, color: str) -> NDArray[np.float32]:
        """Return normalised RGB (1, 3, size, size) of what is around `box` in `frame`.

        Raises:
            InputError: frame, box or color cannot be used.
        """
        planes, _ = crop_normalized(frame, box, self.factor, self.size, self.mean, self.std, color)
        return planes[None]


def template_crop(spec: Mapping[str, Any]) -> TemplateCrop | None:
    """Return the crop that a manifest's tracker section describes; None for a tracker that is shown no template.

    Raises:
        ArtifactError: a value is impossible.
    """
    fields = Fields(dict(spec), "the manifest", "tracker")
    if fields.value.get("template") is None:
        return None
    template = fields.section("template")
    mean, std = (fields.numbers(key, 3, -1e3, 1e3) for key in ("mean", "std"))
    return TemplateCrop(template.integer("size", 1, 1 << 14), template.number("factor", 0.0, 1e3), mean, std)
