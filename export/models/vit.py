"""The plain vision transformer that the published one-stream trackers share, with their parameter names.

What differs between them (normalisation, masks, token order, position tables) is in the family's own file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PATCH", "Attention", "Mlp", "PatchEmbed", "VitBlock", "attend"]

PATCH = 16
"""Side of a patch in pixels, in all of them."""


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens through a convolution, row-major."""

    def __init__(self, patch: int, channels: int) -> None:
        """`patch` is the side of a patch in pixels, `channels` the width of a token."""
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch, patch)

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised RGB (B, 3, H, W) to tokens (B, H/patch * W/patch, channels)."""
        tokens: Tensor = self.proj(image).flatten(2).transpose(1, 2)
        return tokens


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection: rows q, k, v, each head-major."""

    def __init__(self, channels: int, heads: int) -> None:
        """`channels` must be a multiple of `heads`."""
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v of tokens (B, N, C), each (B, heads, N, C/heads)."""
        batch, count, channels = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def forward(self, x: Tensor, masked_keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend over tokens (B, N, C); keys where bool (N,) `masked_keys` is True get no weight.

        Returns the projected tokens (B, N, C) and the weights (B, heads, N, N).
        """
        q, k, v = self.split(x)
        out, weights = attend(q, k, v, self.scale, masked_keys)
        return self.proj(out), weights


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, masked_keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return softmax(q k^T scale) v with heads joined (B, N, C), and the weights (B, heads, N, M)."""
    logits = (q @ k.transpose(-2, -1)) * scale
    if masked_keys is not None:
        logits = logits.masked_fill(masked_keys, float("-inf"))
    weights = torch.softmax(logits, dim=-1)
    out = (weights @ v).transpose(1, 2).flatten(2)
    return out, weights


class Mlp(nn.Module):
    """Two linear layers around the exact (erf) GELU."""

    def __init__(self, channels: int, hidden: int) -> None:
        """`hidden` is the width between the two layers."""
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., channels) to the same shape."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class VitBlock(nn.Module):
    """A pre-norm transformer block: x + attention(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, channels: int, heads: int, eps: float = 1e-6) -> None:
        """`eps` is that of both LayerNorms; the MLP is four times as wide as a token."""
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = Mlp(channels, 4 * channels)

    def feed(self, x: Tensor) -> Tensor:
        """Return x + mlp(norm2(x)) of tokens (B, N, C): the second half."""
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def forward(self, x: Tensor, masked_keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the new tokens (B, N, C) and the attention weights (B, heads, N, N)."""
        out, weights = self.attn(self.norm1(x), masked_keys)
        return self.feed(x + out), weights
