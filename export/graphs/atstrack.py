"""ATSTrack's deployment graphs: exactly the network's result, in constant shapes, with less work.

Templates come embedded and projected; what the token needs of the frame before is an input, and what it hands on an
output. tests/export/test_atstrack_graphs.py proves each of these steps.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from edgetrack.export.graphs.centre import HeadGraph
from edgetrack.export.graphs.patches import PatchRows
from edgetrack.export.graphs.vit import BlockGraph
from edgetrack.export.models.atstrack_net import AtsNet
from edgetrack.export.models.atstrack_variants import PHRASES
from edgetrack.export.models.fgm import Median, pooled, top_median, unit

__all__ = ["SearchGraph", "TextGraph"]

SHRINK = 2.0**-5
"""The head's input is a product of three normalised vectors; it is made smaller by this, and the head's first weights
larger, so that half precision can hold it. A power of two: exact."""


class TextGraph(nn.Module):
    """What follows from four phrases alone, once per target.

    ids (1, 4, L) int32 and lang_mask (1, 4, L) -> vl_state (1, 2, C), the token to begin with, and lang (1, 4, L, C).
    """

    def __init__(self, net: AtsNet) -> None:
        """`net` is a loaded network with a text encoder."""
        super().__init__()
        self.encoder, self.proj, self.norm = net.text_encoder, net.lang_proj, net.lang_norm
        self.attr_embed, self.null_token, self.token_norm = net.fgm.attr_embed, net.fgm.null_token, net.fgm.norm

    def forward(self, ids: Tensor, lang_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        if self.encoder is None:  # for the type checker
            raise TypeError("the network has no text encoder")
        features = self.encoder(ids.reshape(PHRASES, -1))
        lang = self.norm(self.proj(features)).unsqueeze(0)
        told = self.token_norm(pooled(lang + self.attr_embed, lang_mask, self.null_token))
        return torch.cat([torch.zeros_like(told), told], dim=1), lang


class SearchGraph(nn.Module):
    """One tracked frame.

    search (1, 3, Sx, Sx) normalised RGB; tokens (1, T * Lz, C) and qkv (1, T * Lz, 3C) from the template graph, one
    slot after the other; vl_state (1, 2, C), of the frame before; lang (1, 4, L, C) and lang_mask (1, 4, L). Returns
    score (1, 1, f, f), size and offset (1, 2, f, f), and vl_state_next (1, 2, C).
    """

    first_offset: Tensor

    def __init__(self, net: AtsNet, *, median: Median = top_median) -> None:
        """`net` is a loaded network; `median` is how the location gate finds one."""
        super().__init__()
        backbone = net.backbone
        self.shape, self.median = net.shape, median
        self.embed = PatchRows(backbone.patch_embed.proj, backbone.pos_embed_x[0])
        self.blocks = nn.ModuleList(BlockGraph(block) for block in backbone.layers())
        self.norm = backbone.norm
        self.fgm = net.fgm
        self.head = HeadGraph(net.box_head, shrink=SHRINK)
        own = torch.cat([backbone.cls_token + backbone.cls_pos_embed, backbone.lang_pos_embed], dim=1)
        self.register_buffer("first_offset", own.detach()[0])
        # Without memory there are shapes alone, and no value.
        self.gain: list[float] = [1.0] * 3 if net.vl_gain.is_meta else net.vl_gain.detach().tolist()

    def tokens_of(self, search: Tensor, tokens: Tensor, qkv: Tensor, state: Tensor) -> Tensor:
        """Return all tokens (N, C) after the last norm: class, language, templates, search."""
        first, *others = cast("list[BlockGraph]", list(self.blocks))
        told, seen = state[0] + self.first_offset, self.embed(search)
        pairs = first.project(torch.cat([told, seen]))
        q, k, v = first.split(torch.cat([pairs[:2], qkv[0], pairs[2:]]))
        x = first.feed(first.mix(torch.cat([told, tokens[0], seen]), q, k, v))
        for block in others:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def weighted(self, found: Tensor, seen: Tensor, told: Tensor) -> Tensor:
        """Return search tokens (Lx, C) as the head reads them, times `SHRINK`; seen, told (1, C)."""
        nothing, sight, word = self.gain
        gain = nothing * SHRINK + sight * (found @ (seen * SHRINK).t())
        if word != 0:
            gain = gain * (1 + word * (unit(found) @ unit(told).t()))
        return found * gain

    def forward(  # noqa: PLR0917 (the graph's inputs)
        self, search: Tensor, tokens: Tensor, qkv: Tensor, vl_state: Tensor, lang: Tensor, lang_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        out = self.tokens_of(search, tokens, qkv, vl_state)
        end, side = 2 + tokens.shape[1], self.shape.search_grid
        seen, found = out[:1], out[end:]
        told, _ = self.fgm(lang, lang_mask, out[2:end].unsqueeze(0), found.unsqueeze(0), self.median)
        features = self.weighted(found, seen, told[0])
        maps = self.head(features.t().reshape(1, self.shape.channels, side, side))
        return *maps, torch.cat([seen, told[0]]).unsqueeze(0)
