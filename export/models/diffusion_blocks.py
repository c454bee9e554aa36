"""Building blocks of Stable Diffusion's image encoder and UNet, with diffusers' parameter names (GLAD spec, 3.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Downsample", "ImageAttention", "ResidualBlock", "SpatialTransformer", "time_vector"]

VAE_EPS = 1e-6
_EPS = 1e-5


def _mixed(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v of (B, N, C), (B, M, C) and (B, M, C), d = C / heads, without a mask.

    PyTorch's own attention never holds all logits at once: 4096 tokens and 8 heads would take half a gigabyte a row.
    """

    def split(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] // heads).transpose(1, 2)

    out = functional.scaled_dot_product_attention(split(q), split(k), split(v))
    return out.transpose(1, 2).flatten(2)


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a shortcut; in the UNet the time is added between them."""

    def __init__(self, width: int, out: int, groups: int, eps: float, time_width: int = 0) -> None:
        """`time_width` is that of the time vector; 0: there is none."""
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width, eps=eps)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, out) if time_width else None
        self.norm2 = nn.GroupNorm(groups, out, eps=eps)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width, out, 1) if width != out else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, out, H, W); time is (1, time_width)."""
        y = self.conv1(functional.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            y = y + self.time_emb_proj(functional.silu(time))[..., None, None]
        y = self.conv2(functional.silu(self.norm2(y)))
        out: Tensor = (x if self.conv_shortcut is None else self.conv_shortcut(x)) + y
        return out


class Downsample(nn.Module):
    """A convolution with stride 2, padded all round; or, in the image encoder, on the right and at the bottom alone."""

    def __init__(self, width: int, *, lopsided: bool) -> None:
        """`lopsided`: as the image encoder does it."""
        super().__init__()
        self.lopsided = lopsided
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=0 if lopsided else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H/2, W/2)."""
        out: Tensor = self.conv(functional.pad(x, (0, 1, 0, 1)) if self.lopsided else x)
        return out


class ImageAttention(nn.Module):
    """The image encoder's attention in the middle: one head over all cells, with a residual."""

    def __init__(self, width: int, groups: int) -> None:
        """Build with parameters unset."""
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, eps=VAE_EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        mixed: Tensor = self.to_out[0](_mixed(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), 1))
        return x + mixed.transpose(1, 2).reshape(x.shape)


class _Attention(nn.Module):
    """Attention of image tokens to themselves or to a text's."""

    def __init__(self, width: int, told: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(told, width, bias=False)
        self.to_v = nn.Linear(told, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Map tokens (B, N, C), told (B, M, D), to (B, N, C)."""
        out: Tensor = self.to_out[0](_mixed(self.to_q(x), self.to_k(told), self.to_v(told), self.heads))
        return out


class _Gate(nn.Module):
    """A linear layer whose one half passes what the GELU of its other half lets through."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., hidden)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        out: Tensor = value * functional.gelu(gate)
        return out


class _Feed(nn.Module):
    """The two layers of a transformer block's MLP; number 1, dropout, has no parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([_Gate(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        out: Tensor = self.net[2](self.net[0](x))
        return out


class _TransformerBlock(nn.Module):
    """Self-attention, attention to the text, MLP; each normalised in front, each with a residual."""

    def __init__(self, width: int, told: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps=_EPS) for _ in range(3))
        self.attn1 = _Attention(width, width, heads)
        self.attn2 = _Attention(width, told, heads)
        self.ff = _Feed(width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Map tokens (B or 1, N, C) and texts (B, M, D) to (B, N, C)."""
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        x = x.expand(told.shape[0], -1, -1)  # one image for several texts parts here
        x = x + self.attn2(self.norm2(x), told)
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class SpatialTransformer(nn.Module):
    """A transformer block over the cells of a feature map, row-major, with a residual around it."""

    def __init__(self, width: int, told: int, heads: int, groups: int) -> None:
        """`told` is the width of a text's tokens."""
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([_TransformerBlock(width, told, heads)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Map (B or 1, C, H, W) and texts (B, M, D) to (B, C, H, W)."""
        height, width = x.shape[2:]
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        tokens = self.transformer_blocks[0](tokens, told)
        y = tokens.transpose(1, 2).reshape(told.shape[0], -1, height, width)
        out: Tensor = x + self.proj_out(y)
        return out


def time_vector(timestep: int, width: int) -> Tensor:
    """Return [cos(t f), sin(t f)] (1, width), f_i = 10000^(-i / (width / 2)), float32; a constant in any graph."""
    half = width // 2
    exponents = np.float32(-np.log(10000.0)) * np.arange(half, dtype=np.float32) / np.float32(half)
    angles = np.float32(timestep) * np.exp(exponents)
    return torch.tensor(np.concatenate([np.cos(angles), np.sin(angles)])[None].tolist())
