"""Many crops at once out of an `ImageBank`: spec section 4.1 as a gather of four taps and a bilinear blend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.export.train.bank import ImageBank
from edgetrack.export.train.geometry import Windows

__all__ = ["cut", "unpack"]

# One multiplication blends red and blue, which lie in the two halves of a word: 255 * 256 + 128 stays in 16 bits, and
# what the upper half carries into the sign is masked away. Green has room above it, as the fourth byte is zero.
_RED_BLUE = 0x00FF00FF
_GREEN = 0x0000FF00
_LOWEST = 0x00010101  # the lowest bit of each channel
_ONE = 256
_CPU_WORDS = 400_000  # output pixels worked on at a time on a CPU, whose cache is what limits there


class _Taps(NamedTuple):
    """For every output column (or row) its two source columns (or rows) and their weights, each (N, size)."""

    near: Tensor  # int64
    far: Tensor
    near_weight: Tensor  # int32, of 256; 0 outside the image, which makes it black there
    far_weight: Tensor


def cut(bank: ImageBank, images: NDArray[np.int64], windows: Windows, mirror: NDArray[np.bool_], size: int) -> Tensor:
    """Cut windows out of images and resize them to squares, black outside the image.

    Equal to the published crop (spec section 4.1, OpenCV's INTER_LINEAR) within 2 grey levels. Like there, the last
    column and row of an image count as outside.

    Args:
        bank: the images.
        images: (N,) numbers of images in the bank.
        windows: (N,) windows in pixels of their images, sides at least 1.
        mirror: (N,) exchange left and right.
        size: side of the result, pixels.

    Returns:
        int32 (N, size, size) on the bank's device, `0x00BBGGRR` each.
    """
    device = bank.device
    whole = np.stack([bank.offsets[images], bank.widths[images], bank.heights[images], mirror.astype(np.int64)])
    offset, width, height, mirrored = torch.from_numpy(whole).to(device, non_blocking=True)[..., None]
    real = np.concatenate([windows.start, windows.side], -1).T
    left, top, across, down = torch.from_numpy(np.ascontiguousarray(real)).to(device, non_blocking=True)[..., None]
    steps = torch.arange(size, device=device)
    columns = _taps(torch.where(mirrored == 1, size - 1 - steps, steps), left, across, width, size)
    rows = _taps(steps, top, down, height, size)
    # Addresses in 32 bits where they fit: half the memory traffic of a gather.
    address = torch.int32 if len(bank.words) < 2**31 else torch.int64
    rows = rows._replace(near=(rows.near * width + offset).to(address), far=(rows.far * width + offset).to(address))
    columns = columns._replace(near=columns.near.to(address), far=columns.far.to(address))
    step = max(1, _CPU_WORDS // size**2 if device.type == "cpu" else len(images))
    parts = [
        _blend(
            bank.words, _Taps(*(tap[at : at + step] for tap in rows)), _Taps(*(tap[at : at + step] for tap in columns))
        )
        for at in range(0, len(images), step)
    ]
    return torch.cat(parts) if len(parts) != 1 else parts[0]


def unpack(words: Tensor) -> Tensor:
    """Return packed pixels (N, H, W) as float32 (N, 3, H, W) in RGB order, 0 to 255."""
    planes = torch.empty((len(words), 3, *words.shape[1:]), device=words.device)
    for channel in range(3):
        planes[:, channel] = (words >> (8 * channel)).bitwise_and_(0xFF)
    return planes


def _taps(steps: Tensor, start: Tensor, side: Tensor, extent: Tensor, size: int) -> _Taps:
    """Find the taps of output columns `steps` ((size,) or (N, size)); the others are (N, 1)."""
    inside = ((steps + 0.5) * (side / size) - 0.5).clamp_(min=0)  # half-pixel centres; the window's edge is repeated
    position = start + torch.minimum(inside, side - 1)
    near = position.floor()
    far_weight = ((position - near) * _ONE).round_().int()
    near = near.long()
    limit = extent - 2  # as published, the last column is padding
    first = torch.zeros_like(extent)
    return _Taps(
        near.clamp(first, extent - 1),
        (near + 1).clamp(first, extent - 1),
        (_ONE - far_weight) * ((near >= 0) & (near <= limit)),
        far_weight * ((near >= -1) & (near + 1 <= limit)),
    )


def _blend(words: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """Gather the four taps of every output pixel and blend them; int32 (n, size, size)."""
    left, right = columns.near_weight[:, None, :], columns.far_weight[:, None, :]
    upper, lower = rows.near_weight[:, :, None], rows.far_weight[:, :, None]
    lines = [
        [_read(words, row[:, :, None] + column[:, None, :]) for column in (columns.near, columns.far)]
        for row in (rows.near, rows.far)
    ]
    blended = []
    for lanes in (_RED_BLUE, _GREEN):
        above, below = (_weigh(near & lanes, left, far & lanes, right, lanes) for near, far in lines)
        blended.append(_weigh(above, upper, below, lower, lanes))
    return blended[0].bitwise_or_(blended[1])


def _read(words: Tensor, at: Tensor) -> Tensor:
    return words.index_select(0, at.view(-1)).view(at.shape)


def _weigh(a: Tensor, a_weight: Tensor, b: Tensor, b_weight: Tensor, lanes: int) -> Tensor:
    """Return `(a a_weight + b b_weight) / 256`, rounded, in each of the `lanes`; a and b are overwritten."""
    half = (lanes & _LOWEST) << 7
    return a.mul_(a_weight).add_(b.mul_(b_weight)).add_(half).bitwise_right_shift_(8).bitwise_and_(lanes)
