"""OSTrack's search graph: exactly the published result, in constant shapes, with less work.

The template's tokens come embedded and projected; an elimination keeps a constant count (TopK, Gather); the last block
runs for the search tokens alone, which are all that the head reads; one product with a one-hot matrix puts them back
into their places and leaves zeros elsewhere. tests/export/test_ostrack_graphs.py proves each of these steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from edgetrack.export.graphs.centre import HeadGraph
from edgetrack.export.graphs.patches import PatchRows
from edgetrack.export.graphs.vit import BlockGraph, LastBlockGraph
from edgetrack.export.models.centre_variants import kept_counts
from edgetrack.export.models.ostrack_net import OsTrackNet

__all__ = ["SearchGraph", "restored"]


def restored(tokens: Tensor, places: Tensor, count: int) -> Tensor:
    """Put tokens (k, C) into their places (k,) of a map of `count` cells, zeros elsewhere; transposed: (C, count)."""
    cells = torch.arange(count, dtype=places.dtype)
    return tokens.t() @ (places.unsqueeze(1) == cells.unsqueeze(0)).to(tokens.dtype)


class SearchGraph(nn.Module):
    """One tracked frame.

    search (1, 3, Sx, Sx) normalised RGB; tokens (1, Lz, C) and qkv (1, Lz, 3C) from the template graph. Returns score
    (1, 1, f, f), size (1, 2, f, f) and offset (1, 2, f, f).
    """

    places: Tensor

    def __init__(self, net: OsTrackNet) -> None:
        """`net` is a loaded network."""
        super().__init__()
        shape, backbone = net.shape, net.backbone
        *full, last = backbone.layers()
        self.shape, self.kept = shape, kept_counts(shape)
        self.embed = PatchRows(backbone.patch_embed.proj, backbone.pos_embed_x[0])
        self.blocks = nn.ModuleList(BlockGraph(block) for block in full)
        self.last = LastBlockGraph(last, shape.template_tokens)
        self.norm = backbone.norm
        self.head = HeadGraph(net.box_head)
        self.register_buffer("places", torch.arange(shape.search_tokens), persistent=False)

    def eliminate(self, x: Tensor, places: Tensor, score: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """Keep the `keep` search tokens of x (N, C) with the highest score (n,), best first, and their places."""
        first = self.shape.template_tokens
        best = torch.topk(score, keep).indices
        kept = x[first:].index_select(0, best)
        return torch.cat([x[:first], kept]), places.index_select(0, best)

    def ranking(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the mean attention (n,) that the reference token gives each search token, from q and k (heads, N, d).

        The one row is computed for itself, so that an engine may fuse the block's attention.
        """
        row = self.shape.reference_token
        weights = torch.softmax(q[:, row : row + 1] @ k.transpose(1, 2), dim=-1)
        return weights[:, 0, self.shape.template_tokens :].mean(dim=0)

    def survivors(self, search: Tensor, tokens: Tensor, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Return the search tokens (k, C) that are left after the final norm, and their places (k,)."""
        x: Tensor = self.embed(search)
        places = self.places
        for number, block in enumerate(cast("Iterable[BlockGraph]", self.blocks)):
            if number == 0:
                q, k, v = block.split(torch.cat([qkv[0], block.project(x)]))
                x = torch.cat([tokens[0], x])
            else:
                q, k, v = block.split(block.project(x))
            x = block.mix(x, q, k, v)
            if number in self.kept:
                x, places = self.eliminate(x, places, self.ranking(q, k), self.kept[number])
            x = block.feed(x)
        rows: Tensor = self.norm(self.last(x, self.last.norm1(x)))
        return rows, places

    def forward(self, search: Tensor, tokens: Tensor, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        rows, places = self.survivors(search, tokens, qkv)
        side = self.shape.search_grid
        features = restored(rows, places, side * side) if self.kept else rows.t()
        maps: tuple[Tensor, Tensor, Tensor] = self.head(features.reshape(1, self.shape.channels, side, side))
        return maps
