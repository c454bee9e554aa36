"""ATSTrack's language modules: each phrase meets the picture that fits it (spec sections 3.4 and 3.5).

Category and appearance are modified by the newest template, action by all templates in order, and the location phrase
is kept only as far as the search crop shows what it speaks of. What is left is averaged into one language token.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.models.atstrack_variants import PHRASES, AtsShape
from edgetrack.export.models.vit import Mlp, attend

__all__ = [
    "LOCATION",
    "Fgm",
    "LocationGate",
    "Median",
    "VisualModulation",
    "bisected_median",
    "pooled",
    "sorted_median",
    "top_median",
    "unit",
]

EPS = 1e-6
LOCATION = 3
"""Which phrase says where."""
_TEMPERATURE = 0.05
_VARIANCE_FLOOR = 1e-5
_ROUNDS = 14

Median = Callable[[Tensor], Tensor]


def unit(x: Tensor) -> Tensor:
    """Return x (..., C) scaled to length 1; a vector of zeros stays."""
    return x / torch.sqrt((x * x).sum(dim=-1, keepdim=True) + EPS)


def sorted_median(values: Tensor) -> Tensor:
    """Return the lower median (...) of values (..., K): the one at ascending index (K - 1) // 2."""
    return values.median(dim=-1).values


def top_median(values: Tensor) -> Tensor:
    """Return the same as the last of the largest ones, which engines know as TopK."""
    count = values.shape[-1]
    return torch.topk(values, count - (count - 1) // 2, dim=-1).values[..., -1]


def bisected_median(values: Tensor) -> Tensor:
    """Return it to within 2^-14 of the range, with sums and comparisons alone, for engines that dislike TopK."""
    rank = (values.shape[-1] - 1) // 2 + 1
    low, high = values.amin(dim=-1), values.amax(dim=-1)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        enough = (values <= middle.unsqueeze(-1)).to(values.dtype).sum(dim=-1) >= rank
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high


class VisualModulation(nn.Module):
    """Cross-attention of phrase tokens over visual tokens, and an MLP (the paper's VFM)."""

    def __init__(self, channels: int, heads: int) -> None:
        """Build with parameters unset; the MLP is twice as wide as a token."""
        super().__init__()
        self.heads, self.scale = heads, (channels // heads) ** -0.5
        self.norm_q = nn.LayerNorm(channels, eps=EPS)
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm_m = nn.LayerNorm(channels, eps=EPS)
        self.mlp = Mlp(channels, 2 * channels)

    def _split(self, x: Tensor) -> Tensor:
        batch, count, channels = x.shape
        return x.reshape(batch, count, self.heads, channels // self.heads).transpose(1, 2)

    def forward(self, phrases: Tensor, visual: Tensor) -> Tensor:
        """Return the new phrase tokens (B, M, C) of old ones and of visual tokens (B, N, C), which are normalised."""
        keys, values = self.kv(visual).chunk(2, dim=-1)
        queries = self._split(self.q(self.norm_q(phrases)))
        mixed, _ = attend(queries, self._split(keys), self._split(values), self.scale)
        x = phrases + self.proj(mixed)
        out: Tensor = x + self.mlp(self.norm_m(x))
        return out


class LocationGate(nn.Module):
    """How far each token of the location phrase is seen in the search crop (the paper's LFA)."""

    def __init__(self, channels: int, width: int) -> None:
        """`width` is that of the space in which they are compared."""
        super().__init__()
        self.norm_l = nn.LayerNorm(channels, eps=EPS)
        self.proj_l = nn.Linear(channels, width, bias=False)
        self.proj_s = nn.Linear(channels, width, bias=False)
        self.lam = nn.Parameter(torch.ones(()))
        self.kappa = nn.Parameter(torch.ones(()))

    def forward(self, phrase: Tensor, mask: Tensor, search: Tensor, median: Median = sorted_median) -> Tensor:
        """Return the gate (B, L), 0 to 1, of phrase tokens (B, L, C) with mask (B, L) over search tokens (B, N, C)."""
        told, seen = unit(self.proj_l(self.norm_l(phrase))), unit(self.proj_s(search))
        similarity = told @ seen.transpose(1, 2)
        peak = (torch.softmax(similarity / _TEMPERATURE, dim=-1) * similarity).sum(dim=-1)
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)

        def average(values: Tensor) -> Tensor:
            return (mask * values).sum(dim=1, keepdim=True) / count

        mean = average(similarity.mean(dim=-1))
        spread = average((similarity - mean.unsqueeze(-1)).square().mean(dim=-1))
        deviation = torch.sqrt(spread + _VARIANCE_FLOOR)
        threshold = average(median(similarity)) + self.lam * deviation
        gate: Tensor = torch.sigmoid(functional.softplus(self.kappa) * (peak - threshold) / deviation)
        return gate


def pooled(phrases: Tensor, weights: Tensor, null_token: Tensor) -> Tensor:
    """Average phrase tokens (B, 4, L, C) by weights (B, 4, L), each phrase first, then the phrases that there are.

    As far as there is none, `null_token` (1, 1, C) stands in. Returns one token (B, 1, C), not normalised.
    """
    each = (weights.unsqueeze(-1) * phrases).sum(dim=2) / (weights.sum(dim=2).unsqueeze(-1) + EPS)
    presence = weights.amax(dim=2)
    total = presence.sum(dim=1, keepdim=True)
    mean = (presence.unsqueeze(-1) * each).sum(dim=1) / total.clamp(min=EPS)
    there = total.clamp(0, 1)
    return (there * mean).unsqueeze(1) + (1 - there).unsqueeze(1) * null_token


class Fgm(nn.Module):
    """The fine-grained modulation module; parameter names as in spec section 2.1."""

    def __init__(self, shape: AtsShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        width = shape.channels
        self.shape = shape
        self.attr_embed = nn.Parameter(torch.zeros(1, PHRASES, 1, width))
        self.time_embed = nn.Parameter(torch.zeros(1, shape.templates, 1, width))
        self.null_token = nn.Parameter(torch.zeros(1, 1, width))
        self.vfm_latest = VisualModulation(width, shape.heads)
        self.vfm_sequence = VisualModulation(width, shape.heads)
        self.lfa = LocationGate(width, shape.match_width)
        self.norm = nn.LayerNorm(width, eps=EPS)

    def token_of(self, phrases: Tensor, weights: Tensor) -> Tensor:
        """Return the language token (B, 1, C) of phrase tokens (B, 4, L, C) and their weights (B, 4, L)."""
        token: Tensor = self.norm(pooled(phrases, weights, self.null_token))
        return token

    def forward(
        self, lang: Tensor, mask: Tensor, template: Tensor, search: Tensor, median: Median = sorted_median
    ) -> tuple[Tensor, Tensor]:
        """Return the language token (B, 1, C) and the location gate (B, L).

        lang (B, 4, L, C) and mask (B, 4, L) from the text side; template (B, T * Lz, C) and search (B, Lx, C) as they
        leave the backbone.
        """
        batch, _, words, width = lang.shape
        count, slots = self.shape.template_tokens, self.shape.templates
        phrases = lang + self.attr_embed
        still = self.vfm_latest(phrases[:, :2].reshape(batch, 2 * words, width), template[:, (slots - 1) * count :])
        timed = template.reshape(batch, slots, count, width) + self.time_embed
        moving = self.vfm_sequence(phrases[:, 2], timed.reshape(batch, slots * count, width))
        gate: Tensor = self.lfa(phrases[:, LOCATION], mask[:, LOCATION], search, median)
        place = gate.unsqueeze(-1) * phrases[:, LOCATION]
        changed = torch.cat([still.reshape(batch, 2, words, width), moving.unsqueeze(1), place.unsqueeze(1)], dim=1)
        weights = torch.cat([mask[:, :LOCATION], (mask[:, LOCATION] * gate).unsqueeze(1)], dim=1)
        return self.token_of(changed, weights), gate
