"""The FastITPN backbone as MVLM publishes it, with its parameter names (spec sections 2.2, 3.3 and 3.4).

A convolutional stem of two stages, in which no pixel sees another one, turns an image into tokens at stride 16; plain
transformer blocks with layer scale and a gated MLP follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.models.mvlm_variants import MvlmShape
from edgetrack.export.models.vit import attend

__all__ = ["FastItpn", "MainBlock", "PatchMerge", "StemBlock"]

EPS = 1e-6
"""Of all LayerNorms."""


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels at every pixel of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map, of the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class StemMlp(nn.Module):
    """Two 1x1 convolutions around the exact (erf) GELU and a LayerNorm of the hidden values."""

    def __init__(self, channels: int) -> None:
        """The hidden width is three times `channels`."""
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 3 * channels, 1)
        self.ffn_ln = ChannelNorm(3 * channels, eps=EPS)
        self.fc2 = nn.Conv2d(3 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = self.fc2(self.ffn_ln(functional.gelu(self.fc1(x))))
        return out


class StemBlock(nn.Module):
    """x + mlp(norm2(x)) at every pixel."""

    def __init__(self, channels: int) -> None:
        """`channels` is the width of a pixel."""
        super().__init__()
        self.norm2 = ChannelNorm(channels, eps=EPS)
        self.mlp = StemMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchMerge(nn.Module):
    """LayerNorm, then a 2x2 convolution of stride 2."""

    def __init__(self, before: int, after: int) -> None:
        """`before` and `after` are the widths of a pixel."""
        super().__init__()
        self.norm = ChannelNorm(before, eps=EPS)
        self.reduction = nn.Conv2d(before, after, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, before, H, W) to (B, after, H/2, W/2)."""
        out: Tensor = self.reduction(self.norm(x))
        return out


class MainAttention(nn.Module):
    """Multi-head self-attention; queries and values have a bias, keys have none."""

    def __init__(self, channels: int, heads: int) -> None:
        """`channels` must be a multiple of `heads`."""
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        for name in ("q_proj", "k_proj", "v_proj"):
            self.add_module(name, nn.Linear(channels, channels, bias=False))
        self.q_bias = nn.Parameter(torch.zeros(channels))
        self.v_bias = nn.Parameter(torch.zeros(channels))
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to the same shape."""
        biases = {"q_proj": self.q_bias, "k_proj": None, "v_proj": self.v_bias}
        q, k, v = (
            functional.linear(x, self.get_submodule(name).weight, bias)  # type: ignore[arg-type]
            .reshape(x.shape[0], x.shape[1], self.heads, -1)
            .transpose(1, 2)
            for name, bias in biases.items()
        )
        out: Tensor = self.proj(attend(q * self.scale, k, v, 1.0)[0])
        return out


class GatedMlp(nn.Module):
    """w3(norm(silu(w1 x) * w2 x))."""

    def __init__(self, channels: int) -> None:
        """The hidden width is three times `channels`."""
        super().__init__()
        self.w1 = nn.Linear(channels, 3 * channels)
        self.w2 = nn.Linear(channels, 3 * channels)
        self.ffn_ln = nn.LayerNorm(3 * channels, eps=EPS)
        self.w3 = nn.Linear(3 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        out: Tensor = self.w3(self.ffn_ln(functional.silu(self.w1(x)) * self.w2(x)))
        return out


class MainBlock(nn.Module):
    """A pre-norm transformer block with layer scale."""

    def __init__(self, channels: int, heads: int) -> None:
        """See `MainAttention` and `GatedMlp`."""
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.ones(channels))
        self.gamma_2 = nn.Parameter(torch.ones(channels))
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attn = MainAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.mlp = GatedMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to the same shape."""
        x = x + self.gamma_1 * self.attn(self.norm1(x))
        out: Tensor = x + self.gamma_2 * self.mlp(self.norm2(x))
        return out


class PatchStem(nn.Module):
    """The 4x4 convolution; its six input planes are the image twice."""

    def __init__(self, channels: int) -> None:
        """`channels` is the width of a pixel after it."""
        super().__init__()
        self.proj = nn.Conv2d(6, channels, 4, 4)

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised RGB (B, 3, H, W) to (B, channels, H/4, W/4)."""
        out: Tensor = self.proj(torch.cat([image, image], dim=1))
        return out


class FastItpn(nn.Module):
    """The published `encoder.body`; every entry of the checkpoint, used or not, under its name."""

    def __init__(self, shape: MvlmShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        small, large = shape.stem
        self.search_tokens, self.template_tokens = shape.search_tokens, shape.template_tokens
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.search_tokens + shape.template_tokens, shape.channels))
        self.patch_embed = PatchStem(small)
        steps: list[nn.Module] = [StemBlock(small) for _ in range(shape.stem_blocks)]
        steps += [PatchMerge(small, large), *(StemBlock(large) for _ in range(shape.stem_blocks))]
        steps += [PatchMerge(large, shape.channels)]
        self.stem_steps = len(steps)
        steps += [MainBlock(shape.channels, shape.heads) for _ in range(shape.depth)]
        self.blocks = nn.ModuleList(steps)
        self.fc_norm = nn.LayerNorm(shape.channels, eps=EPS)

    def stem(self) -> list[nn.Module]:
        """Return the steps between the 4x4 convolution and the tokens."""
        return list(self.blocks)[: self.stem_steps]

    def layers(self) -> list[MainBlock]:
        """Return the transformer blocks in order."""
        return cast("list[MainBlock]", list(self.blocks)[self.stem_steps :])

    @property
    def search_positions(self) -> Tensor:
        """The position table (Lx, C) of a search crop."""
        return self.pos_embed[0, : self.search_tokens]

    @property
    def template_positions(self) -> Tensor:
        """The position table (Lz, C) of every template."""
        return self.pos_embed[0, self.search_tokens :]

    def embed(self, image: Tensor, positions: Tensor) -> Tensor:
        """Turn a normalised RGB image (B, 3, S, S) into tokens (B, (S/16)^2, C), row-major."""
        x = self.patch_embed(image)
        for step in self.stem():
            x = step(x)
        tokens: Tensor = x.flatten(2).transpose(1, 2) + positions
        return tokens

    def forward(self, search: Tensor, text: Tensor, templates: Sequence[Tensor] = ()) -> Tensor:
        """Return the search tokens (B, Lx, C) after the last norm.

        search (B, 3, Sx, Sx) and each template (B, 3, Sz, Sz): normalised RGB; text (B, words, C).
        """
        tokens = [self.cls_token.expand(search.shape[0], -1, -1), self.embed(search, self.search_positions)]
        tokens += [self.embed(template, self.template_positions) for template in templates]
        x = torch.cat([*tokens, text], dim=1)
        for block in self.layers():
            x = block(x)
        out: Tensor = self.fc_norm(x[:, 1 : 1 + self.search_tokens])
        return out
