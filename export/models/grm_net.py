"""GRM's published network in PyTorch, as its evaluation runs it (CVPR 2023, arXiv 2303.16580).

In every block but the first, a small MLP decides for each search token whether it may exchange information with the
template. Nothing is dropped: a mask forbids attention between the template and the tokens that may not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgetrack.export.models.centre_net import CentreNet, Decision
from edgetrack.export.models.centre_variants import DIVIDE_WIDTHS, CentreShape
from edgetrack.export.models.vit import Attention, VitBlock

__all__ = ["SOFTMAX_EPS", "DividedAttention", "Division", "GrmBlock", "GrmNet", "division_cut", "masked_softmax"]

SOFTMAX_EPS = 1e-6
SAFE_MARGIN = 5e-6  # spec section 7


def division_cut(threshold: float) -> float:
    """Return the difference of the two division logits above which a token interacts; 0 for threshold 0."""
    return 0.0 if threshold == 0 else math.log((1 - threshold) / threshold)


@dataclass(frozen=True)
class Division:
    """What one block decided, for B pictures.

    block: its number; margin (B, Lx): by how much "interacts" led "search only"; interacts bool (B, Lx); cut: the
    margin that it took.
    """

    block: int
    margin: Tensor
    interacts: Tensor
    cut: float

    @property
    def lead(self) -> float:
        """The smallest distance of any margin from the cut."""
        return float((self.margin - self.cut).abs().min())

    @property
    def safe(self) -> bool:
        """See `Decision.safe`."""
        return self.lead >= SAFE_MARGIN


class DividedAttention(Attention):
    """Self-attention with the small MLP that divides the search tokens."""

    def __init__(self, channels: int, heads: int) -> None:
        """See `Attention`."""
        super().__init__(channels, heads)
        first, second, last = DIVIDE_WIDTHS
        self.divide_predict = nn.Sequential(
            nn.Linear(2 * channels, first),
            nn.GELU(),
            nn.Linear(first, second),
            nn.GELU(),
            nn.Linear(second, last),
            nn.LogSoftmax(dim=-1),
        )

    def division(self, x: Tensor, template_tokens: int) -> Tensor:
        """Return the log-probabilities (B, Lx, 2) of "search only" and "interacts" from normalised tokens (B, N, C)."""
        found = x[:, template_tokens:]
        summary = x[:, :template_tokens].amax(dim=1, keepdim=True)
        log_probabilities: Tensor = self.divide_predict(torch.cat([found, summary.expand_as(found)], dim=2))
        return log_probabilities

    def masked(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Attend over normalised tokens (B, N, C) where `allowed` (B, N, N) is 1; returns the projected tokens."""
        q, k, v = self.split(x)
        weights = masked_softmax((q @ k.transpose(-2, -1)) * self.scale, allowed.unsqueeze(1))
        out: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return out


def masked_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Return the published weights of logits (..., N, N) under a mask of ones and zeros (spec section 3, step 5).

    It is no plain masked softmax: the maximum is over all keys, and every key gets a small share, forbidden ones too.
    """
    exps = torch.exp(logits - logits.amax(dim=-1, keepdim=True)) * allowed
    count = logits.shape[-1]
    return (exps + SOFTMAX_EPS / count) / (exps.sum(dim=-1, keepdim=True) + SOFTMAX_EPS)


def allowed_pairs(interacts: Tensor, template_tokens: int) -> Tensor:
    """Return which of N tokens may attend to which (B, N, N), ones and zeros, from decisions (B, Lx) of 0 and 1.

    Built as published, from the seven pairs of groups that may: template, search only, and both.
    """
    ones = torch.ones(interacts.shape[0], template_tokens, dtype=interacts.dtype, device=interacts.device)
    template = torch.cat([ones, torch.zeros_like(interacts)], dim=1).unsqueeze(2)
    search = torch.cat([torch.zeros_like(ones), 1 - interacts], dim=1).unsqueeze(2)
    both = torch.cat([torch.zeros_like(ones), interacts], dim=1).unsqueeze(2)
    pairs = template @ template.mT + search @ search.mT + both @ both.mT
    pairs = pairs + template @ both.mT + both @ template.mT + search @ both.mT + both @ search.mT
    pairs.diagonal(dim1=1, dim2=2).fill_(1)
    return pairs


class GrmBlock(VitBlock):
    """A block that may divide; the first one of the network does not and has no MLP for it."""

    def __init__(self, channels: int, heads: int, *, divides: bool) -> None:
        """See `VitBlock`."""
        super().__init__(channels, heads)
        if divides:
            self.attn = DividedAttention(channels, heads)

    @property
    def divided(self) -> DividedAttention:
        """The attention of a block that divides."""
        if not isinstance(self.attn, DividedAttention):
            raise TypeError("the first block divides nothing")
        return self.attn


class GrmNet(CentreNet[GrmBlock]):
    """The published network."""

    def __init__(self, shape: CentreShape, threshold: float = 0.0) -> None:
        """Build with parameters unset; `threshold` is the division threshold, from 0 to below 1."""
        super().__init__(
            shape, (GrmBlock(shape.channels, shape.heads, divides=number > 0) for number in range(shape.depth))
        )
        self.threshold = threshold

    def features(self, template: Tensor, search: Tensor) -> tuple[Tensor, list[Decision]]:
        """See `CentreNet.features`."""
        x = self.backbone.embed(template, search)
        first, *others = self.backbone.layers()
        x, _ = first(x)
        decisions: list[Decision] = []
        for number, block in enumerate(others, start=1):
            normed = block.norm1(x)
            division = self.divide(number, block.divided.division(normed, self.shape.template_tokens))
            pairs = allowed_pairs(division.interacts.to(x.dtype), self.shape.template_tokens)
            x = block.feed(x + block.divided.masked(normed, pairs))
            decisions.append(division)
        return self.backbone.norm(x)[:, self.shape.template_tokens :], decisions

    def divide(self, number: int, log_probabilities: Tensor) -> Division:
        """Decide from the MLP's output (B, Lx, 2): by arg-max, or by the probability of "search only"."""
        margin = log_probabilities[..., 1] - log_probabilities[..., 0]
        if self.threshold == 0:
            interacts = log_probabilities[..., 1] > log_probabilities[..., 0]
        else:
            interacts = log_probabilities.softmax(dim=-1)[..., 0] < self.threshold
        return Division(number, margin, interacts, division_cut(self.threshold))
