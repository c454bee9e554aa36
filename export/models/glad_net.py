"""GLAD's published network in PyTorch (arXiv 2602.00570): encoder, pooling of diffusion features, decoder, head.

Every entry of the checkpoint is here under its name; those that nothing reads are kept by `_Unread`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from edgetrack.export.models.centre_head import CentreHead, CentreMaps, best_box
from edgetrack.export.models.centre_net import CentreOutput
from edgetrack.export.models.diffusion import Diffusion
from edgetrack.export.models.glad_positions import position_table
from edgetrack.export.models.glad_variants import GladShape
from edgetrack.export.models.vit import PATCH, Mlp, PatchEmbed, VitBlock, attend

__all__ = ["CrossAttention", "Decoder", "GladNet", "Pooling", "thinned"]

_EPS = 1e-5


def thinned(image: Tensor, side: int) -> Tensor:
    """Return the nearest pixels of a template (B, 3, T, T) as (B, 3, side, side): index floor(i T / side)."""
    index = torch.arange(side, device=image.device) * image.shape[-1] // side
    return image.index_select(2, index).index_select(3, index)


class _SelfAttention(nn.Module):
    """Multi-head self-attention, queries, keys and values without bias, to another width."""

    def __init__(self, channels: int, out: int, head_width: int) -> None:
        super().__init__()
        self.heads = channels // head_width
        self.scale = head_width**-0.5
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to (B, N, out)."""
        batch, count, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed, _ = attend(q, k, v, self.scale)
        out: Tensor = self.proj(mixed)
        return out


class _Unread(nn.Module):
    """A cross-attention of the pooling modules that was never connected, in training neither."""

    def __init__(self, channels: int, told: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(told, channels, bias=False)
        self.to_v = nn.Linear(told, channels, bias=False)
        self.proj = nn.Linear(channels, channels)


class Pooling(nn.Module):
    """One feature map of Stable Diffusion to tokens of the tracker's width, once per target (`pm.k`)."""

    UNREAD = ("norm_text", "cross_attention_text", "norm_image", "cross_attention_image", "norm_mlp", "mlp")

    def __init__(self, shape: GladShape, tokens: int) -> None:
        """`tokens` is the number of cells of the feature map."""
        super().__init__()
        width, wide = shape.channels, shape.latent_width
        self.pos_embed = nn.Parameter(torch.zeros(tokens, wide))
        self.norm_sd = nn.LayerNorm(wide, eps=_EPS)
        self.self_attention = _SelfAttention(wide, width, shape.head_width)
        self.norm_latent = nn.LayerNorm(width, eps=_EPS)
        self.norm_text = nn.LayerNorm(width, eps=_EPS)
        self.cross_attention_text = _Unread(width, shape.text_width)
        self.norm_image = nn.LayerNorm(width, eps=_EPS)
        self.cross_attention_image = _Unread(width, width)
        self.norm_mlp = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, features: Tensor) -> Tensor:
        """Map a feature map (B, 1280, g, g) to pooled tokens (B, g^2, C), row-major; there is no residual."""
        x = features.flatten(2).transpose(1, 2) + self.pos_embed
        out: Tensor = self.norm_latent(self.self_attention(self.norm_sd(x)))
        return out


class _Frequencies(nn.Module):
    """The buffer that a position table is made of, under its published name."""

    inv_freq: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.zeros(channels // 2))


class CrossAttention(nn.Module):
    """Attention of all tokens to the pooled ones (`attn3`), with three oddities that the weights were trained with.

    It has one head of the full width, scaled as if heads were `head_width` wide (O3). Positions are added in front of
    the projections of queries and keys, counted over template and search together. The result (N, C) is transposed and
    read again row by row as (N, C), so that every token gets channels of all tokens (O1).
    """

    def __init__(self, shape: GladShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        width = shape.channels
        self.scale = shape.head_width**-0.5
        self.bf16 = shape.bf16_positions
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)
        self.pos_embed_q = _Frequencies(width)
        self.pos_embed_k = _Frequencies(width)

    def positions(self, count: int) -> Tensor:
        """Return what is added to `count` tokens before they are made queries (count, C)."""
        return position_table(self.pos_embed_q.inv_freq, count, bf16=self.bf16)

    def key_positions(self, count: int) -> Tensor:
        """Return what is added to `count` pooled tokens before they are made keys (count, C)."""
        return position_table(self.pos_embed_k.inv_freq, count, bf16=self.bf16)

    def keys(self, pooled: Tensor) -> Tensor:
        """Return the keys (B, M, C) of pooled tokens (B, M, C)."""
        out: Tensor = self.to_k(pooled + self.key_positions(pooled.shape[1]))
        return out

    def values(self, pooled: Tensor) -> Tensor:
        """Return the values (B, M, C) of pooled tokens (B, M, C)."""
        out: Tensor = self.to_v(pooled)
        return out

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        """Map tokens (B, N, C) and pooled tokens (B, M, C) to (B, N, C)."""
        q = self.to_q(x + self.positions(x.shape[1]))
        weights = torch.softmax((q @ self.keys(pooled).transpose(1, 2)) * self.scale, dim=-1)
        y = weights @ self.values(pooled)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(x.shape))
        return out


class Decoder(nn.Module):
    """A block that attends to itself and to one set of pooled tokens (`fd.k`); there is no norm2 and no attn2."""

    def __init__(self, shape: GladShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        width = shape.channels
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn1 = _SelfAttention(width, width, shape.head_width)
        self.norm3 = nn.LayerNorm(width, eps=_EPS)
        self.attn3 = CrossAttention(shape)
        self.norm4 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        """Map tokens (B, N, C) and pooled tokens (B, M, C) to (B, N, C)."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn3(self.norm3(x), pooled)
        out: Tensor = x + self.mlp(self.norm4(x))
        return out


class Encoder(nn.Module):
    """A plain ViT over template and search crop; one patch embedding serves both."""

    def __init__(self, shape: GladShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        self.side = shape.template_side
        self.pos_embed_t = nn.Parameter(torch.zeros(1, shape.template_tokens, shape.channels))
        self.pos_embed_s = nn.Parameter(torch.zeros(1, shape.search_tokens, shape.channels))
        self.patch_embed_t = PatchEmbed(PATCH, shape.channels)
        self.blocks = nn.ModuleList(VitBlock(shape.channels, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.channels, eps=1e-6)

    def layers(self) -> list[VitBlock]:
        """Return the blocks in order, by their own type."""
        return [cast("VitBlock", block) for block in self.blocks]

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        """Map normalised RGB (B, 3, T, T) and (B, 3, S, S) to tokens (B, N, C), the template's first."""
        z = self.patch_embed_t(thinned(template, self.side)) + self.pos_embed_t
        x = torch.cat([z, self.patch_embed_t(search) + self.pos_embed_s], dim=1)
        for block in self.layers():
            x, _ = block(x)
        out: Tensor = self.norm(x)
        return out


class GladNet(nn.Module):
    """The published network without Stable Diffusion, whose weights are not in its checkpoint."""

    def __init__(self, shape: GladShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.pm = nn.ModuleList(Pooling(shape, tokens) for tokens in shape.latent_tokens)
        self.fd = nn.ModuleList(Decoder(shape) for _ in shape.latent_tokens)
        self.norm_output = nn.LayerNorm(shape.channels, eps=_EPS)
        self.head = CentreHead(shape.channels)
        self._diffusion: list[Diffusion] = []  # no part of the state: the checkpoint is saved without it

    def add_diffusion(self, diffusion: Diffusion) -> None:
        """Describe targets with a loaded diffusion model."""
        self._diffusion = [diffusion]

    @property
    def diffusion(self) -> Diffusion | None:
        """The diffusion model, where its weights are at hand."""
        return self._diffusion[0] if self._diffusion else None

    def decoders(self) -> list[Decoder]:
        """Return the decoder blocks in order, by their own type."""
        return [cast("Decoder", block) for block in self.fd]

    def pooled(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """Return the tokens (B, g^2, C) of each of Stable Diffusion's guided feature maps (B, 1280, g, g)."""
        return [pool(latent) for pool, latent in zip(self.pm, latents, strict=True)]

    def forward(self, template: Tensor, search: Tensor, pooled: Sequence[Tensor]) -> CentreOutput:
        """Run the published forward pass of one frame.

        template (B, 3, T, T) as Stable Diffusion sees it and search (B, 3, S, S), normalised RGB; pooled: see `pooled`.
        """
        x: Tensor = self.encoder(template, search)
        for block, told in zip(self.decoders(), pooled, strict=True):
            x = block(x, told)
        tokens = self.norm_output(x)[:, self.shape.template_tokens :]
        maps = self.maps(tokens)
        return CentreOutput(maps, best_box(*maps, divisor=self.shape.divisor), [])

    def maps(self, tokens: Tensor) -> CentreMaps:
        """Return what the head says about search tokens (B, Lx, C), in image order."""
        side = self.shape.search_grid
        found: CentreMaps = self.head(tokens.transpose(1, 2).reshape(-1, self.shape.channels, side, side))
        return found
