"""What the sampler is told: a section of a training run's configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgetrack.errors import InputError
from edgetrack.export.train.sections import number

__all__ = ["SamplerSettings"]


@dataclass(frozen=True)
class SamplerSettings:
    """How samples are drawn; the defaults are stages 1 and 2 as published (spec section 5.1).

    Every probability and strength can be 0, which turns it off. The defaults of what the published recipe does not
    have are 0.

    Attributes:
        templates: template views of a sample.
        template_size: side of a template, pixels.
        template_factor: side of a template's window over sqrt(w h) of its box.
        search_size: side of the search view, pixels.
        search_factor: side of the search window over sqrt(w h) of its box.
        gap: how far the other frames of a sequence lie from the newest template, frames.
        centre_jitter: how far the search box is moved, over sqrt(w h).
        scale_jitter: standard deviation of the logarithm of the factors on its sides.
        template_centre_jitter: the same for the templates.
        template_scale_jitter: the same for the templates.
        ratios: how often data sets are drawn, as "name=2, other=0.5"; 1 for those it leaves out.
        exact_centre: place the target where the pixels are. As published it is half a pixel of the crop off.
        joint_flip: probability that all views of a sample are mirrored.
        flip: probability for each view that it is mirrored.
        gray: probability that all views of a sample lose their colour.
        brightness: each view is multiplied by 1 - this to 1 + this.
        contrast: each view's distance to its mean is multiplied by 1 - this to 1 + this.
        saturation: each view's distance to gray is multiplied by 1 - this to 1 + this.
        hue: each view's colours are turned by up to this many degrees.
        blur: probability for each view that it is blurred.
        blur_sigma: largest standard deviation of the blur, pixels; drawn for both directions on their own.
        occlusion: probability that something covers a part of the target in the search view.
        distractor: probability that another target of the batch is put beside the target in the search view.
        motion: each view of a still image is scaled and stretched on its own, by factors whose logarithms have this
            standard deviation, and the templates are shifted by up to half of it, over sqrt(w h).
    """

    templates: int = number(5, 1, 5)
    template_size: int = number(112, 16, 1024)
    template_factor: float = number(2.0, 0.5, 16)
    search_size: int = number(224, 16, 1024)
    search_factor: float = number(4.0, 0.5, 16)
    gap: int = number(300, 1)
    centre_jitter: float = number(3.5, 0, 16)
    scale_jitter: float = number(0.5, 0, 2)
    template_centre_jitter: float = number(0.0, 0, 16)
    template_scale_jitter: float = number(0.0, 0, 2)
    ratios: str = ""
    exact_centre: bool = False
    joint_flip: float = number(0.5, 0, 1)
    flip: float = number(0.5, 0, 1)
    gray: float = number(0.05, 0, 1)
    brightness: float = number(0.2, 0, 1)
    contrast: float = number(0.0, 0, 1)
    saturation: float = number(0.0, 0, 1)
    hue: float = number(0.0, 0, 180)
    blur: float = number(0.0, 0, 1)
    blur_sigma: float = number(2.0, 0.1, 3)
    occlusion: float = number(0.0, 0, 1)
    distractor: float = number(0.0, 0, 1)
    motion: float = number(0.0, 0, 1)

    def __post_init__(self) -> None:
        """Check `ratios`.

        Raises:
            InputError: it is not a list of name=number.
        """
        self.ratio_of_dataset()

    def ratio_of_dataset(self) -> dict[str, float]:
        """Return `ratios` as data set -> number.

        Raises:
            InputError: it is not a list of name=number.
        """
        found = {}
        for part in filter(None, (part.strip() for part in self.ratios.split(","))):
            name, _, text = part.rpartition("=")
            try:
                found[name.strip()] = float(text)
            except ValueError:
                found[name.strip()] = math.nan
            if not name.strip() or not 0 <= found[name.strip()] < math.inf:
                raise InputError(f"ratios has the entry {part!r}; write name=number, as in coco=2, lasot=0.5")
        return found
