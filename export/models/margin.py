"""MVLM's vision-language margin: how far a box's agreement with the sentence stands out (spec sections 3.7 and 3.8)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgetrack.export.models.mvlm_variants import GateRule

__all__ = [
    "MarginMemory",
    "edges",
    "elsewhere",
    "margins",
    "overlaps",
    "rivals",
    "similarities",
    "token_cells",
]

_FLOOR = 1e-12  # of norms, and what is added to unions


def edges(boxes: Tensor, grid: int) -> Tensor:
    """Return the edges x1, y1, x2, y2 (N, 4) of boxes cx, cy, w, h (N, 4) on the grid, before rounding.

    The scale is one less than the number of cells along a side, as published (oddity O2).
    """
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1) * (grid - 1)


def token_cells(boxes: Tensor, grid: int) -> Tensor:
    """Return the rectangle of tokens x1, y1, x2, y2 (N, 4) that each box covers: whole numbers, as floats.

    Rounded half to even; at least one token, and inside the grid.
    """
    rounded = edges(boxes, grid).round()
    first = rounded[:, :2].clamp(min=0)
    last = torch.maximum(rounded[:, 2:], first + 1)
    return torch.cat([first.clamp(max=grid - 1), last.clamp(max=grid)], dim=1)


def similarities(boxes: Tensor, features: Tensor, text: Tensor) -> Tensor:
    """Return the cosine (N,) between the tokens that each box covers and the sentence.

    boxes (N, 4): cx, cy, w, h; features (f * f, C): search tokens after the last norm; text (words, C). The published
    integral image, except that its rounding is not reproduced where nothing is left to sum (oddity O1): the first row
    and column of a rectangle are dropped (O2), so a rectangle one token high or wide has similarity 0. Published code
    gives the latter a random one.
    """
    side = round(features.shape[0] ** 0.5)
    grid = features.reshape(side, side, -1).double()
    table = functional.pad(grid.cumsum(0).cumsum(1), (0, 0, 1, 0, 1, 0))
    x1, y1, x2, y2 = token_cells(boxes, side).long().unbind(1)
    total = table[y2, x2] - table[y1 + 1, x2] - table[y2, x1 + 1] + table[y1 + 1, x1 + 1]
    total[(x2 - x1 < 2) | (y2 - y1 < 2)] = 0
    pooled = total.to(features.dtype) / ((x2 - x1) * (y2 - y1)).clamp(min=1).unsqueeze(1)
    return functional.normalize(pooled, dim=1, eps=_FLOOR) @ functional.normalize(text.mean(0), dim=0, eps=_FLOOR)


def overlaps(boxes: Tensor) -> Tensor:
    """Return the intersection over union (N, N) of boxes cx, cy, w, h (N, 4)."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    first, last = centre - half, centre + half
    sides = (torch.minimum(last, last[:, None]) - torch.maximum(first, first[:, None])).clamp(min=0)
    both = sides[..., 0] * sides[..., 1]
    area = (last - first).prod(1)
    return both / (area + area[:, None] - both + _FLOOR)


def elsewhere(boxes: Tensor, psi: float) -> Tensor:
    """Return which boxes (N, 4) count as other places than each box: bool (N, N), True up to an overlap of `psi`."""
    return (overlaps(boxes) <= psi).fill_diagonal_(False)


def rivals(values: Tensor, outside: Tensor) -> Tensor:
    """Return the largest of values (N,) at another place than each box; the least of all where there is none."""
    best = values.expand_as(outside).masked_fill(~outside, float("-inf")).amax(1)
    return torch.where(outside.any(1), best, values.min())


def margins(sims: Tensor, cls: Tensor, boxes: Tensor, gate: GateRule) -> Tensor:
    """Return kappa (N,): by how much each box leads the best one at another place, in agreement and in score.

    sims, cls (N,): similarity and windowed score of boxes cx, cy, w, h (N, 4).
    """
    outside = elsewhere(boxes, gate.psi)
    agreement = torch.tanh(sims - rivals(sims, outside))
    score = torch.tanh(cls - rivals(cls, outside))
    return gate.alpha * agreement + (1 - gate.alpha) * score


class MarginMemory:
    """What the margins of each cell were before: an average that forgets, kept through changes of view (oddity O6)."""

    def __init__(self, gate: GateRule) -> None:
        """Start empty."""
        self.gate = gate
        self.values: Tensor | None = None

    def confidence(self, kappa: Tensor) -> Tensor:
        """Take the margins (N,) of a frame into the memory and return the confidence (N,) that follows."""
        gate = self.gate
        self.values = kappa if self.values is None else (1 - gate.lam) * kappa + gate.lam * self.values
        return (1 - gate.omega) * kappa + gate.omega * self.values
