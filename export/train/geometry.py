"""Where crops lie and where the target is in them: spec sections 4.1 and 5.1, many at a time, on the host.

Boxes are (x, y, w, h) in image pixels, float64. A view is one crop of a sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BINS",
    "CropSizes",
    "Windows",
    "blank",
    "corners",
    "crop_windows",
    "jitter",
    "mirror",
    "quantise",
    "stretch",
]

BINS = 300
_TOKEN = 16  # pixels of a crop between two tokens of the network

Floats = NDArray[np.float64]


class Windows(NamedTuple):
    """Rectangles of images that become crops."""

    start: Floats  # (..., 2) left and top edge, pixels
    side: Floats  # (..., 2) width and height, pixels

    @property
    def centre(self) -> Floats:
        """(..., 2) the middle, pixels."""
        return self.start + self.side / 2


class CropSizes(NamedTuple):
    """What a tracker is shown: sides of its crops in pixels, and of their windows over sqrt(w h) of the box."""

    template_size: int
    template_factor: float
    search_size: int
    search_factor: float


def jitter(boxes: Floats, centre: float, scale: float, generator: np.random.Generator) -> Floats:
    """Move and resize boxes (..., 4) at random (spec section 5.1).

    Each side is multiplied by `exp(scale N(0, 1))`; the middle moves by `(U - 0.5) centre sqrt(w' h')` per axis, w' and
    h' being the new sides.
    """
    sides = boxes[..., 2:] * np.exp(scale * generator.standard_normal(boxes[..., 2:].shape))
    reach = centre * np.sqrt(sides.prod(-1, keepdims=True))
    middle = boxes[..., :2] + boxes[..., 2:] / 2 + reach * (generator.random(sides.shape) - 0.5)
    return np.concatenate([middle - sides / 2, sides], -1)


def crop_windows(boxes: Floats, factor: float | Floats) -> Windows:
    """Return the square windows around boxes (..., 4), `factor` (...) (spec section 4.1); a side of 0 is no crop."""
    side = np.ceil(np.sqrt(boxes[..., 2] * boxes[..., 3]) * factor)[..., None]
    start = np.rint(boxes[..., :2] + 0.5 * boxes[..., 2:] - 0.5 * side)  # half to even, as published
    return Windows(start, np.repeat(side, 2, -1))


def stretch(windows: Windows, factors: Floats) -> Windows:
    """Multiply the sides of windows by factors (..., 2), about their middle: the crop shows them squeezed."""
    side = windows.side * factors
    return Windows(windows.centre - side / 2, side)


def blank(windows: Windows, extent: Floats, size: int) -> NDArray[np.bool_]:
    """Tell which windows cannot be used (spec section 5.1): a side below 1, or no token that sees the image.

    As published, a token is judged by its first pixel alone, and that is padding if any of its four taps is.

    Args:
        windows: (...) windows.
        extent: (..., 2) width and height of their images, pixels.
        size: side of the crop, pixels.
    """
    sampled = np.arange(0, size - size % _TOKEN, _TOKEN)[:, None]  # (tokens, 1) against (..., 1, 2)
    side = windows.side[..., None, :]
    inside = np.clip((sampled + 0.5) * side / size - 0.5, 0, np.maximum(side - 1, 0))
    position = windows.start[..., None, :] + inside
    # The last column and row count as padding (spec section 4.1).
    seen = (position >= 0) & (np.ceil(position) <= extent[..., None, :] - 2)
    return np.asarray(~seen.any(-2).all(-1) | (windows.side < 1).any(-1))


def corners(
    boxes: Floats, middles: Floats, windows: Windows, size: int, mirror_image: NDArray[np.bool_], *, exact: bool = False
) -> Floats:
    """Return the boxes in their crops as x1 y1 x2 y2, 0 to 1 across the crop, not clamped (spec section 5.1).

    Args:
        boxes: (..., 4) the targets.
        middles: (..., 2) middles of the boxes that the windows were made around, before rounding.
        windows: (...) windows.
        size: side of the crop, pixels.
        mirror_image: (...) the image was mirrored before it was cut.
        exact: place the box where the pixels are. As published it is half a crop pixel further left and up, and off by
            the rounding of the window.
    """
    scale = size / windows.side
    offset = boxes[..., :2] + boxes[..., 2:] / 2 - (windows.centre if exact else middles)
    offset = offset * np.where(mirror_image[..., None], [-1.0, 1.0], 1.0)
    middle = (size / 2 if exact else (size - 1) / 2) + offset * scale
    half = boxes[..., 2:] * scale / 2
    return np.concatenate([middle - half, middle + half], -1) / size


def mirror(found: Floats, mirrored: NDArray[np.bool_]) -> Floats:
    """Mirror corners (..., 4) about the middle of the crop where `mirrored` (...) says so."""
    return np.where(
        mirrored[..., None], [1.0, 0.0, 1.0, 0.0] + found[..., [2, 1, 0, 3]] * [-1.0, 1.0, -1.0, 1.0], found
    )


def quantise(found: Floats) -> NDArray[np.int64]:
    """Return the bins (spec section 5.1), 0 to 598, of corners (..., 4) that are clamped to [-0.5, 1.5] here."""
    return ((np.clip(found, -0.5, 1.5) + 0.5) * (BINS - 1)).astype(np.int64)
