"""Patch embedding in deployment graphs: one matrix product, position table and bias in one constant."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgetrack.export.models.vit import PATCH

__all__ = ["PatchRows", "patches"]


def patches(image: Tensor, side: int) -> Tensor:
    """Cut an image (1, 3, side*16, side*16) into rows (side^2, 768), ordered as a convolution kernel's weights."""
    grid = image.reshape(3, side, PATCH, side, PATCH).permute(1, 3, 0, 2, 4)
    return grid.reshape(side * side, 3 * PATCH * PATCH)


class PatchRows(nn.Module):
    """The patch convolution as one matrix product, with a constant added to every token."""

    weight: Tensor
    offset: Tensor

    def __init__(self, conv: nn.Conv2d, offset: Tensor) -> None:
        """`offset` (tokens, channels) is added after the convolution, its bias included here."""
        super().__init__()
        self.side = round(offset.shape[0] ** 0.5)
        self.register_buffer("weight", conv.weight.detach().flatten(1).t().contiguous())
        bias = conv.bias.detach() if conv.bias is not None else torch.zeros(conv.out_channels)
        self.register_buffer("offset", offset.detach() + bias)

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised image (1, 3, H, W) to tokens (side^2, channels)."""
        return patches(image, self.side) @ self.weight + self.offset
