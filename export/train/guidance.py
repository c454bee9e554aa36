"""Help for a start from nothing: what search tokens and attention should say about the target's place.

The published losses reach the network through four command tokens alone. After a pretrained ViT that is enough; from
nothing the command tokens first have to find out where to look, which takes most of a short training. Both terms here
are ours, act in training only, and add no weights to the saved network.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["GRID", "attention_loss", "coverage", "edge_targets"]

GRID = 14
_REACH = 0.25  # of the target's size: how far from its edge a token still belongs to that edge


def coverage(corners: Tensor) -> Tensor:
    """Return which share of each search token's cell the box covers, float32 (B, 196) row-major.

    corners: float (B, 4), x1 y1 x2 y2 in crop units.
    """
    edges = torch.arange(GRID, device=corners.device, dtype=torch.float32)
    low, high = corners[:, :2, None].float() * GRID, corners[:, 2:, None].float() * GRID
    inside = (torch.minimum(high, edges + 1) - torch.maximum(low, edges)).clamp(0, 1)
    return (inside[:, 1, :, None] * inside[:, 0, None, :]).flatten(1)


def edge_targets(corners: Tensor) -> Tensor:
    """Return where each command token should look, float32 (B, 4, 196): on the target, near the edge it reports.

    A cell counts with the share that the box covers, falling off exponentially with the distance of its middle from
    the edge, a quarter of the target's size per e. Rows sum to 1; all zero where the target is outside the crop.

    corners: float (B, 4), x1 y1 x2 y2 in crop units.
    """
    boxes = corners.float()
    middles = (torch.arange(GRID, device=boxes.device) + 0.5) / GRID
    columns, rows = middles.repeat(GRID), middles.repeat_interleave(GRID)
    places = torch.stack([columns, rows, columns, rows])
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1 / GRID).repeat(1, 2)
    distance = (places - boxes[:, :, None]).abs() / (_REACH * size[:, :, None])
    weights = coverage(boxes)[:, None] * torch.exp(-distance)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)


def attention_loss(attention: Tensor, corners: Tensor) -> Tensor:
    """Return the cross entropy of the command tokens' attention with `edge_targets`, mean over all (scalar).

    attention: float (B, heads, 4, 196), logarithms of the weights; corners: float (B, 4).
    """
    return -(edge_targets(corners)[:, None] * attention).sum(-1).mean()
