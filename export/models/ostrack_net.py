"""OSTrack's published network in PyTorch, as its evaluation runs it (ECCV 2022, arXiv 2203.11991).

With elimination, three blocks drop the search tokens that one template token, near the centre, attends to least. It has
no parameters, so a checkpoint fits the network with and without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgetrack.export.models.centre_net import CentreNet, Decision
from edgetrack.export.models.centre_variants import CentreShape, kept_counts
from edgetrack.export.models.vit import VitBlock

__all__ = ["Elimination", "OsTrackNet"]

SAFE_GAP = 1e-7  # spec section 7


@dataclass(frozen=True)
class Elimination:
    """What one block dropped, for B pictures.

    block: its number; score (B, n): mean attention that each token got from the reference token, in the order in which
    the tokens came; kept (B, k), removed (B, n - k): original search indices, by falling score.
    """

    block: int
    score: Tensor
    kept: Tensor
    removed: Tensor

    @property
    def gap(self) -> float:
        """By how much the last kept token led the first dropped one, the smallest of the batch."""
        ordered = self.score.sort(dim=1, descending=True).values
        count = self.kept.shape[1]
        return float((ordered[:, count - 1] - ordered[:, count]).min())

    @property
    def safe(self) -> bool:
        """See `Decision.safe`."""
        return self.gap >= SAFE_GAP


class OsTrackNet(CentreNet[VitBlock]):
    """The published network, with elimination in the blocks that `shape.eliminates` names."""

    def __init__(self, shape: CentreShape) -> None:
        """Build with parameters unset."""
        super().__init__(shape, (VitBlock(shape.channels, shape.heads) for _ in range(shape.depth)))
        self._kept = kept_counts(shape)

    def features(self, template: Tensor, search: Tensor) -> tuple[Tensor, list[Decision]]:
        """See `CentreNet.features`; places of eliminated tokens hold zeros."""
        x = self.backbone.embed(template, search)
        count = self.shape.search_tokens
        places = torch.arange(count, device=x.device).expand(x.shape[0], count)
        decisions: list[Decision] = []
        for number, block in enumerate(self.backbone.layers()):
            out, weights = block.attn(block.norm1(x))
            x = x + out
            if number in self._kept:
                x, step = self._eliminate(number, x, weights, places)
                places = step.kept
                decisions.append(step)
            x = block.feed(x)
        found = self.backbone.norm(x)[:, self.shape.template_tokens :]
        whole = torch.zeros(x.shape[0], count, x.shape[2], device=x.device, dtype=x.dtype)
        return whole.scatter_(1, places.unsqueeze(2).expand_as(found), found), decisions

    def _eliminate(self, number: int, x: Tensor, weights: Tensor, places: Tensor) -> tuple[Tensor, Elimination]:
        """Drop the search tokens of x (B, N, C) that the reference token's attention (B, heads, N, N) ranks last."""
        first, keep = self.shape.template_tokens, self._kept[number]
        score = weights[:, :, self.shape.reference_token, first:].mean(dim=1)
        order = score.sort(dim=1, descending=True).indices
        ranked = places.gather(1, order)
        index = order[:, :keep].unsqueeze(2).expand(-1, -1, x.shape[2])
        x = torch.cat([x[:, :first], x[:, first:].gather(1, index)], dim=1)
        return x, Elimination(number, score, ranked[:, :keep], ranked[:, keep:])
