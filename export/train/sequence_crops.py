"""Crops of stage 3, cut on the bank's device; their rule differs from the tracker's (spec section 5.3).

A crop is a square of `ceil(sqrt(w h) factor)` pixels whose left column is `floor(cx - (side + 1) / 2 + 0.5)`, filled
with the frame's mean colour where it leaves the frame, then resized bilinearly. Coordinates in a crop run from 0 to 1
over the square around the box's exact centre, as in the tracker's decoding (spec section 4.4), which takes no notice of
the rounding of the left column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgetrack.export.loops.crop import IMAGENET_MEAN, IMAGENET_STD
from edgetrack.export.loops.fartrack import CLIP_MARGIN_PX

if TYPE_CHECKING:
    from edgetrack.export.train.bank import ImageBank

__all__ = ["SequenceCrops", "centre_form", "corners_in_crop", "crop_side", "place"]


def centre_form(boxes: Tensor) -> Tensor:
    """Turn xywh boxes (..., 4) into centre x, centre y, width, height."""
    return torch.cat([boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:]], dim=-1)


def crop_side(boxes: Tensor, factor: float) -> Tensor:
    """Return the side in whole pixels (...) of the crops around centre-form boxes (..., 4), in their dtype."""
    return torch.ceil(torch.sqrt(boxes[..., 2] * boxes[..., 3]) * factor)


def corners_in_crop(boxes: Tensor, around: Tensor, side: Tensor) -> Tensor:
    """Return where boxes (B, 4) lie in the crops of `side` pixels (B,) around the boxes `around` (B, 4).

    All boxes in centre form and pixels; returns x1, y1, x2, y2 (B, 4) in crop units, 0 to 1 over the crop. The inverse
    of `place` before its clamp.
    """
    centre = boxes[:, :2] - around[:, :2] + side[:, None] / 2
    half = boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1) / side[:, None]


def place(corners: Tensor, around: Tensor, side: Tensor, frame: Tensor) -> Tensor:
    """Map x1, y1, x2, y2 (B, 4) in crop units to the tracker's next state: centre-form boxes (B, 4) in pixels.

    `around` (B, 4) are the boxes that were cropped around, `side` (B,) the crops' sides, `frame` (B, 2) the frames'
    widths and heights. The centre is kept within the frame, the size from 10 pixels to the frame's.
    """
    scaled = corners * side[:, None]
    size = scaled[:, 2:] - scaled[:, :2]
    centre = scaled[:, :2] + size / 2 + around[:, :2] - side[:, None] / 2
    return torch.cat([centre.clamp(min=0).minimum(frame), size.minimum(frame).clamp(min=CLIP_MARGIN_PX)], dim=1)


class SequenceCrops:
    """Cuts crops out of a bank's images; remembers the mean colour of every image it has cut from."""

    def __init__(self, bank: ImageBank) -> None:
        """`bank` holds all images."""
        self._bank = bank
        self._means: dict[int, Tensor] = {}
        self._normal = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device=bank.device) * 255
        tables = (bank.offsets, bank.widths, bank.heights)
        self._offsets, self._widths, self._heights = (torch.as_tensor(table, device=bank.device) for table in tables)

    def __call__(self, images: Tensor, boxes: Tensor, factor: float, size: int) -> tuple[Tensor, Tensor]:
        """Crop around `boxes`.

        Args:
            images: int64 (B,) indices into the bank.
            boxes: float64 (B, 4) centre form, pixels, width and height above 0.
            factor: the crop's side in units of the box's.
            size: side of the result in pixels.

        Returns:
            float32 (B, 3, size, size) normalised RGB, and the sides (B,) in pixels of the image, float64.
        """
        side = crop_side(boxes, factor)
        corner = torch.floor(boxes[:, :2] - (side[:, None] + 1) / 2 + 0.5).long()
        taps, weight = _sources(side, size)
        xs, ys = taps + corner[:, 0, None, None], taps + corner[:, 1, None, None]
        mean = torch.stack([self._mean(image) for image in images.tolist()])
        rows = [[self._take(images, ys[..., j], xs[..., i], mean) for i in range(2)] for j in range(2)]
        across, down = weight[:, None, :, None], weight[:, :, None, None]
        above, below = (left + (right - left) * across for left, right in rows)
        # The published crop holds whole grey levels.
        patch = torch.round(above + (below - above) * down)
        normalised = (patch - self._normal[0]) / self._normal[1]
        return normalised.permute(0, 3, 1, 2).contiguous(), side

    def frame_size(self, images: Tensor) -> Tensor:
        """Return width and height (B, 2) in pixels of images (B,), float64."""
        return torch.stack([self._widths[images], self._heights[images]], dim=1).double()

    def _take(self, images: Tensor, ys: Tensor, xs: Tensor, mean: Tensor) -> Tensor:
        """Return the pixels (B, size, size, 3) at rows ys and columns xs (B, size), float32; `mean` (B, 3) outside."""
        width, height = self._widths[images, None], self._heights[images, None]
        inside_y, inside_x = (ys >= 0) & (ys < height), (xs >= 0) & (xs < width)
        lines = self._offsets[images, None] + torch.where(inside_y, ys, 0) * width
        found = self._bank.pixels[lines[:, :, None] + torch.where(inside_x, xs, 0)[:, None, :]][..., :3]
        inside = inside_y[:, :, None] & inside_x[:, None, :]
        return torch.where(inside[..., None], found.float(), mean[:, None, None, :])

    def _mean(self, image: int) -> Tensor:
        """Return the mean colour (3,) of an image, float32."""
        if image not in self._means:
            self._means[image] = self._bank.image(image).double().mean((0, 1)).float()
        return self._means[image]


def _sources(side: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return for each of `size` output pixels the two source pixels (B, size, 2) and the second one's weight (B, size).

    Half-pixel centres, edges repeated, as OpenCV resizes.
    """
    steps = torch.arange(size, device=side.device, dtype=side.dtype) + 0.5
    last = side[:, None] - 1
    position = (steps * side[:, None] / size - 0.5).clamp(min=0).minimum(last)
    low = position.floor()
    pair = torch.stack([low, (low + 1).minimum(last)], dim=-1).long()
    return pair, (position - low).float()
