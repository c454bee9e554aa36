"""GLAD's deployment graphs: exactly the published result, in constant shapes, with less work (spec section 6).

The description comes as keys and values, the template embedded and projected. Positions of queries are one constant
each, behind their projection; the last decoder block's projection, MLP and norm run for the search tokens alone, its
attentions cannot: every token's result is read by all (oddity O1). The transposed rereading is free where the product
is written that way. tests/export/test_glad_graphs.py proves each of these steps.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.graphs.centre import HeadGraph
from edgetrack.export.graphs.patches import PatchRows
from edgetrack.export.graphs.vit import BlockGraph, attend_rows, split_heads
from edgetrack.export.models.glad_net import CrossAttention, Decoder, GladNet, Pooling, thinned

__all__ = ["PoolGraph", "SearchGraph", "TemplateGraph", "told_names"]


def told_names(count: int) -> tuple[str, ...]:
    """Return the names of what a description gives the search graph: key_0, value_0, key_1, ..."""
    return tuple(f"{kind}_{k}" for k in range(count) for kind in ("key", "value"))


class TemplateGraph(nn.Module):
    """What follows from the template alone, once per target.

    image (1, 3, T, T) -> tokens (1, Lz, C) as they enter block 0, and qkv (1, Lz, 3C), what that block makes of them.
    """

    def __init__(self, net: GladNet) -> None:
        """`net` is a loaded network."""
        super().__init__()
        encoder = net.encoder
        first = encoder.layers()[0]
        self.side = encoder.side
        self.embed = PatchRows(encoder.patch_embed_t.proj, encoder.pos_embed_t[0])
        self.norm, self.qkv = first.norm1, first.attn.qkv

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        tokens: Tensor = self.embed(thinned(image, self.side))
        qkv: Tensor = self.qkv(self.norm(tokens))
        return tokens.unsqueeze(0), qkv.unsqueeze(0)


class _KeysAndValues(nn.Module):
    """What one decoder block makes of pooled tokens (1, M, C): its keys and values, each (1, M, C)."""

    positions: Tensor

    def __init__(self, cross: CrossAttention, count: int) -> None:
        super().__init__()
        self.to_k, self.to_v = cross.to_k, cross.to_v
        # A constant, not computed in the graph: engines do not round to bfloat16 halfway, as the published table is.
        self.register_buffer("positions", cross.key_positions(count).detach())

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        return self.to_k(pooled + self.positions), self.to_v(pooled)


class PoolGraph(nn.Module):
    """What a described target is to the search graph, once per description.

    latent_k (1, 1280, g, g), Stable Diffusion's guided feature maps -> key_k and value_k (1, g^2, C), k = 0, 1, 2.
    """

    def __init__(self, net: GladNet) -> None:
        """`net` is a loaded network."""
        super().__init__()
        self.pools = net.pm
        self.pairs = nn.ModuleList(
            _KeysAndValues(block.attn3, count)
            for block, count in zip(net.decoders(), net.shape.latent_tokens, strict=True)
        )

    def forward(self, *latents: Tensor) -> tuple[Tensor, ...]:
        """Run the graph; see the class for shapes."""
        given: list[Tensor] = []
        for latent, pool, pair in zip(latents, self.pools, self.pairs, strict=True):
            given += pair(self._pooled(cast("Pooling", pool), latent))
        return tuple(given)

    @staticmethod
    def _pooled(pool: Pooling, latent: Tensor) -> Tensor:
        own = pool.self_attention
        x = pool.norm_sd(latent.flatten(2)[0].t() + pool.pos_embed)
        q, k, v = (split_heads(part, own.heads) for part in own.qkv(x).chunk(3, dim=1))
        out: Tensor = pool.norm_latent(own.proj(attend_rows(q * own.scale, k, v)))
        return out.unsqueeze(0)


class DecoderGraph(nn.Module):
    """One decoder block over tokens (N, C), whose description comes as keys and values (M, C)."""

    query_weight: Tensor
    query_offset: Tensor

    def __init__(self, block: Decoder, count: int, first: int) -> None:
        """`block` is a published block, `count` its tokens; those before `first` are not wanted of it."""
        super().__init__()
        self.norm1, self.norm3, self.norm4, self.mlp = block.norm1, block.norm3, block.norm4, block.mlp
        self.qkv, self.proj = block.attn1.qkv, block.attn1.proj
        self.heads, self.scale = block.attn1.heads, block.attn1.scale
        cross = block.attn3
        self.cross_proj = cross.proj
        # The scale is a power of two in published networks, so that nothing is rounded here.
        weight = cross.to_q.weight.detach() * cross.scale
        self.register_buffer("query_weight", weight)
        self.register_buffer("query_offset", functional.linear(cross.positions(count), weight).detach())
        self.count, self.first = count, first

    def _self(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(self.norm1(x)).chunk(3, dim=1))
        out: Tensor = x + self.proj(attend_rows(q * self.scale, k, v))
        return out

    def _cross(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the attended values, reread as published (N, C), those from `first` on."""
        q = functional.linear(self.norm3(x), self.query_weight) + self.query_offset
        weights = torch.softmax(q @ key.t(), dim=-1)
        turned = value.t() @ weights.t()
        return turned.reshape(self.count, value.shape[1])[self.first :]

    def forward(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the new tokens (N - first, C)."""
        x = self._self(x)
        rows = x[self.first :] + self.cross_proj(self._cross(x, key, value))
        out: Tensor = rows + self.mlp(self.norm4(rows))
        return out


class SearchGraph(nn.Module):
    """One tracked frame.

    search (1, 3, S, S) normalised RGB; tokens (1, Lz, C) and qkv (1, Lz, 3C) from the template graph; key_k and value_k
    (1, M_k, C), k = 0, 1, 2, from the pool graph. Returns score (1, 1, f, f), size (1, 2, f, f), offset (1, 2, f, f).
    """

    def __init__(self, net: GladNet) -> None:
        """`net` is a loaded network."""
        super().__init__()
        shape, encoder = net.shape, net.encoder
        self.shape = shape
        self.embed = PatchRows(encoder.patch_embed_t.proj, encoder.pos_embed_s[0])
        first, *rest = encoder.layers()
        self.opening = BlockGraph(first)
        self.blocks = nn.Sequential(*(BlockGraph(block) for block in rest))
        self.norm = encoder.norm
        *full, last = net.decoders()
        decoders = [DecoderGraph(block, shape.tokens, 0) for block in full]
        self.decoders = nn.ModuleList([*decoders, DecoderGraph(last, shape.tokens, shape.template_tokens)])
        self.norm_output = net.norm_output
        self.head = HeadGraph(net.head)

    def encoded(self, search: Tensor, tokens: Tensor, qkv: Tensor) -> Tensor:
        """Return the tokens (N, C) after the encoder's norm."""
        x: Tensor = self.embed(search)
        q, k, v = self.opening.split(torch.cat([qkv[0], self.opening.project(x)]))
        x = self.opening.feed(self.opening.mix(torch.cat([tokens[0], x]), q, k, v))
        out: Tensor = self.norm(self.blocks(x))
        return out

    def forward(self, search: Tensor, tokens: Tensor, qkv: Tensor, *told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        x = self.encoded(search, tokens, qkv)
        for block, key, value in zip(self.decoders, told[::2], told[1::2], strict=True):
            x = block(x, key[0], value[0])
        side = self.shape.search_grid
        features = self.norm_output(x).t().reshape(1, self.shape.channels, side, side)
        maps: tuple[Tensor, Tensor, Tensor] = self.head(features)
        return maps
