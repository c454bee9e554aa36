"""A plain ViT's blocks in deployment graphs: tokens are a matrix (N, C), weights are the published network's own.

Nothing is copied but what is folded, so that the graphs of a large network take little memory beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.models.vit import VitBlock

__all__ = ["BlockGraph", "LastBlockGraph", "attend_rows", "joined_heads", "split_heads"]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Turn tokens (N, C) into one matrix per head (heads, N, C / heads)."""
    return x.reshape(x.shape[0], heads, x.shape[1] // heads).transpose(0, 1)


def joined_heads(x: Tensor) -> Tensor:
    """Undo `split_heads`."""
    heads, count, width = x.shape
    return x.transpose(0, 1).reshape(count, heads * width)


def attend_rows(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T + bias) v with heads joined (R, C).

    q (heads, R, d) is scaled already, k and v (heads, N, d); bias (R, N) is the same for all heads.
    """
    logits = q @ k.transpose(1, 2)
    if bias is not None:
        logits = logits + bias
    return joined_heads(torch.softmax(logits, dim=-1) @ v)


class BlockGraph(nn.Module):
    """One block for all tokens, in steps that a network can put its own between."""

    def __init__(self, block: VitBlock) -> None:
        """`block` is a published block."""
        super().__init__()
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.qkv, self.proj = block.attn.qkv, block.attn.proj
        self.heads, self.scale = block.attn.heads, block.attn.scale

    def project(self, x: Tensor) -> Tensor:
        """Return queries, keys and values side by side (N, 3C) of tokens (N, C)."""
        out: Tensor = self.qkv(self.norm1(x))
        return out

    def split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scaled queries, keys and values (heads, N, d) of what `project` gave."""
        q, k, v = (split_heads(part, self.heads) for part in qkv.chunk(3, dim=1))
        return q * self.scale, k, v

    def mix(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return x + attention (N, C)."""
        out: Tensor = x + self.proj(attend_rows(q, k, v, bias))
        return out

    def feed(self, x: Tensor) -> Tensor:
        """Return x + mlp(norm2(x)) (N, C)."""
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Run the block as published on tokens (N, C)."""
        return self.feed(self.mix(x, *self.split(self.project(x))))


class LastBlockGraph(nn.Module):
    """A block of which only the rows from `first` on are read: the others give keys and values and nothing else."""

    query_weight: Tensor
    query_bias: Tensor
    pair_weight: Tensor
    pair_bias: Tensor

    def __init__(self, block: VitBlock, first: int) -> None:
        """`block` is a published block."""
        super().__init__()
        self.norm1, self.norm2, self.mlp, self.proj = block.norm1, block.norm2, block.mlp, block.attn.proj
        self.first, self.heads, self.scale = first, block.attn.heads, block.attn.scale
        weight, bias = block.attn.qkv.weight.detach(), block.attn.qkv.bias.detach()
        width = weight.shape[1]
        self.register_buffer("query_weight", weight[:width])
        self.register_buffer("query_bias", bias[:width])
        self.register_buffer("pair_weight", weight[width:])
        self.register_buffer("pair_bias", bias[width:])

    def forward(self, x: Tensor, y: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the new rows (N - first, C) of tokens x (N, C) and y, their norm1; bias (N - first, N)."""
        rows = x[self.first :]
        q = split_heads(functional.linear(y[self.first :], self.query_weight, self.query_bias), self.heads)
        pairs = functional.linear(y, self.pair_weight, self.pair_bias)
        k, v = (split_heads(part, self.heads) for part in pairs.chunk(2, dim=1))
        rows = rows + self.proj(attend_rows(q * self.scale, k, v, bias))
        out: Tensor = rows + self.mlp(self.norm2(rows))
        return out
