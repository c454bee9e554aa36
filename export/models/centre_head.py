"""The centre head that OSTrack, GRM and the language trackers share: three convolutional branches, and its decoding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["BRANCHES", "HEAD_WIDTHS", "CentreHead", "CentreMaps", "best_box"]

BRANCHES = {"ctr": 1, "offset": 2, "size": 2}
"""Name of a branch and its number of maps, in the order of the published file."""
HEAD_WIDTHS = (256, 128, 64, 32)
LOWEST = 1e-4
"""Scores and sizes are kept this far from 0 and 1."""


class CentreMaps(NamedTuple):
    """What the head says about each cell of an f x f grid, float32.

    score (B, 1, f, f) in (0, 1): how likely the target's centre is there; size (B, 2, f, f): width and height as parts
    of the search crop; offset (B, 2, f, f): of the centre from the cell's corner, x and y, in cells, not restricted.
    """

    score: Tensor
    size: Tensor
    offset: Tensor


class CentreHead(nn.Module):
    """Three branches of four 3x3 convolutions with BatchNorm and ReLU, and a 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        """`channels` is the width of the search tokens."""
        super().__init__()
        for branch, outputs in BRANCHES.items():
            before = channels
            for number, width in enumerate(HEAD_WIDTHS, start=1):
                step = nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
                self.add_module(f"conv{number}_{branch}", step)
                before = width
            self.add_module(f"conv5_{branch}", nn.Conv2d(before, outputs, 1))

    def steps(self, branch: str) -> list[nn.Module]:
        """Return the five steps of a branch, in order."""
        return [self.get_submodule(f"conv{number}_{branch}") for number in range(1, len(HEAD_WIDTHS) + 2)]

    def forward(self, features: Tensor) -> CentreMaps:
        """Map search features (B, C, f, f) to the three maps."""
        raw = {}
        for branch in BRANCHES:
            x = features
            for step in self.steps(branch):
                x = step(x)
            raw[branch] = x
        return CentreMaps(bounded(raw["ctr"]), bounded(raw["size"]), raw["offset"])


def bounded(x: Tensor) -> Tensor:
    """Return the sigmoid, clamped as published."""
    return x.sigmoid().clamp(min=LOWEST, max=1 - LOWEST)


def best_box(response: Tensor, size: Tensor, offset: Tensor, divisor: int | None = None) -> Tensor:
    """Return cx, cy, w, h (B, 4) of the best cell in parts of the search crop, float32 (OSTrack spec section 4).

    response (B, 1, f, f) is the score map, windowed or not; of equal cells the first one in row-major order counts.
    divisor: what splits a cell's index into row and column, and what both are divided by; None: f, the maps' side.
    """
    side = divisor or response.shape[-1]
    best = response.flatten(1).argmax(1, keepdim=True)
    index = best.unsqueeze(1).expand(-1, 2, 1)
    w_h = size.flatten(2).gather(2, index).squeeze(2)
    x_y = offset.flatten(2).gather(2, index).squeeze(2)
    cell = torch.cat([best % side, torch.div(best, side, rounding_mode="floor")], dim=1)
    return torch.cat([(cell + x_y) / side, w_h], dim=1)
