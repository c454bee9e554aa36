"""GRM's search graph: the published result with less work and an ordinary softmax.

The template's tokens come embedded and projected; the template's half of the division MLP's first layer is computed
once per block instead of once per search token; the two outputs of its last layer are one difference; the mask is two
broadcasts; the last block runs for the search tokens alone. tests/export/test_grm_graphs.py proves each of these steps.

The published softmax (form A) keeps a trace of forbidden keys, at most 1e-6 of the weights as long as a row's best key
is an allowed one. Form B, an additive mask in an ordinary softmax, has none and lets engines fuse the attention.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.graphs.centre import HeadGraph
from edgetrack.export.graphs.patches import PatchRows
from edgetrack.export.graphs.vit import BlockGraph, LastBlockGraph, joined_heads
from edgetrack.export.models.grm_net import DividedAttention, GrmBlock, GrmNet, division_cut, masked_softmax

__all__ = ["DivideGraph", "DividedBlock", "SearchGraph", "forbidding_bias"]

FORBIDDEN = -1e4
"""Added to a forbidden logit: finite in float16 too, and its exponential is 0 in both."""


class DivideGraph(nn.Module):
    """The division MLP: by how much "interacts" leads "search only", for each search token."""

    token_weight: Tensor
    summary_weight: Tensor
    first_bias: Tensor
    lead_weight: Tensor
    lead_bias: Tensor

    def __init__(self, attention: DividedAttention, template_tokens: int) -> None:
        """Split the first layer of the published MLP and fold its last one."""
        super().__init__()
        self.template_tokens = template_tokens
        first, _, second, _, last, _ = cast("tuple[nn.Linear, ...]", tuple(attention.divide_predict))
        width = first.weight.shape[1] // 2
        self.register_buffer("token_weight", first.weight.detach()[:, :width].contiguous())
        self.register_buffer("summary_weight", first.weight.detach()[:, width:].contiguous())
        self.register_buffer("first_bias", first.bias.detach())
        self.second = second
        self.register_buffer("lead_weight", last.weight.detach()[1:] - last.weight.detach()[:1])
        self.register_buffer("lead_bias", last.bias.detach()[1:] - last.bias.detach()[:1])

    def forward(self, y: Tensor) -> Tensor:
        """Return the margins (Lx,) of normalised tokens (N, C)."""
        summary = y[: self.template_tokens].amax(dim=0, keepdim=True)
        offset = functional.linear(summary, self.summary_weight, self.first_bias)
        hidden = functional.gelu(functional.linear(y[self.template_tokens :], self.token_weight) + offset)
        hidden = functional.gelu(self.second(hidden))
        return functional.linear(hidden, self.lead_weight, self.lead_bias)[:, 0]


def forbidding_bias(interacts: Tensor, template_tokens: int) -> tuple[Tensor, Tensor]:
    """Return what is added to logits over all N keys: for template rows (1, N), for search rows (Lx, N).

    Forbidden is attention between the template and search tokens whose bool `interacts` (Lx,) is False.
    """
    allowed = torch.zeros(template_tokens)
    column = torch.where(interacts, 0.0, FORBIDDEN)
    template_rows = torch.cat([allowed, column]).unsqueeze(0)
    count = interacts.shape[0]
    search_rows = torch.cat([column.unsqueeze(1).expand(count, template_tokens), torch.zeros(count, count)], dim=1)
    return template_rows, search_rows


class DividedBlock(BlockGraph):
    """One block that divides, for all tokens."""

    def __init__(self, block: GrmBlock, template_tokens: int, cut: float, *, published_softmax: bool) -> None:
        """`cut` is the margin above which a token interacts."""
        super().__init__(block)
        self.template_tokens, self.cut, self.published_softmax = template_tokens, cut, published_softmax
        self.divide = DivideGraph(block.divided, template_tokens)

    def bias(self, y: Tensor) -> Tensor:
        """Return what is added to the logits (N, N) of normalised tokens y (N, C)."""
        template, search = forbidding_bias(self.divide(y) > self.cut, self.template_tokens)
        return torch.cat([template.expand(self.template_tokens, template.shape[1]), search])

    def forward(self, x: Tensor) -> Tensor:
        """Return the new tokens (N, C)."""
        y = self.norm1(x)
        q, k, v = self.split(self.qkv(y))
        bias = self.bias(y)
        if not self.published_softmax:
            return self.feed(self.mix(x, q, k, v, bias))
        weights = masked_softmax(q @ k.transpose(1, 2), (bias == 0).to(q.dtype))
        return self.feed(x + self.proj(joined_heads(weights @ v)))


class SearchGraph(nn.Module):
    """One tracked frame.

    search (1, 3, Sx, Sx) normalised RGB; tokens (1, 64, C) and qkv (1, 64, 3C) from the template graph. Returns score
    (1, 1, f, f), size (1, 2, f, f) and offset (1, 2, f, f).
    """

    def __init__(self, net: GrmNet, *, published_softmax: bool = False) -> None:
        """`net` is a loaded network; with `published_softmax` form A is used in all blocks, the last one whole."""
        super().__init__()
        shape, backbone, cut = net.shape, net.backbone, division_cut(net.threshold)
        first, *middle, last = backbone.layers()
        count = shape.template_tokens
        self.shape, self.cut, self.published_softmax = shape, cut, published_softmax
        self.embed = PatchRows(backbone.patch_embed.proj, backbone.pos_embed_x[0])
        self.first = BlockGraph(first)
        whole = [*middle, last] if published_softmax else middle
        self.blocks = nn.ModuleList(
            DividedBlock(block, count, cut, published_softmax=published_softmax) for block in whole
        )
        self.last_divide = DivideGraph(last.divided, count)
        self.last = LastBlockGraph(last, count)
        self.norm = backbone.norm
        self.head = HeadGraph(net.box_head)

    def rows(self, search: Tensor, tokens: Tensor, qkv: Tensor) -> Tensor:
        """Return the search tokens (Lx, C) after the last block."""
        x: Tensor = self.embed(search)
        projected = torch.cat([qkv[0], self.first.project(x)])
        x = self.first.feed(self.first.mix(torch.cat([tokens[0], x]), *self.first.split(projected)))
        for block in self.blocks:
            x = block(x)
        if self.published_softmax:
            return x[self.shape.template_tokens :]
        y = self.last.norm1(x)
        _, bias = forbidding_bias(self.last_divide(y) > self.cut, self.shape.template_tokens)
        found: Tensor = self.last(x, y, bias)
        return found

    def forward(self, search: Tensor, tokens: Tensor, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        features = self.norm(self.rows(search, tokens, qkv)).t()
        side = self.shape.search_grid
        maps: tuple[Tensor, Tensor, Tensor] = self.head(features.reshape(1, self.shape.channels, side, side))
        return maps
