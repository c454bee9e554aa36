"""What GLAD uses of Stable Diffusion v1.5 in PyTorch: text encoder, image encoder, first half of the UNet (spec 3.1).

Parameter names are diffusers'. One pass over a target's picture and sentence gives three feature maps; there is no
sampling. Everything random comes in as explicit noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.models.clip_text import ClipText, TextShape
from edgetrack.export.models.diffusion_blocks import (
    VAE_EPS,
    Downsample,
    ImageAttention,
    ResidualBlock,
    SpatialTransformer,
    time_vector,
)
from edgetrack.export.models.diffusion_shape import TIMESTEP, DiffusionShape

__all__ = ["Diffusion", "ImageEncoder", "UNetHalf", "empty_sentence", "guided", "load_diffusion", "noisy_latent"]

GUIDANCE = 8.0
"""By how much what the sentence adds to the features is exaggerated (oddity O7)."""
LATENT_SCALE = 0.18215
_EPS = 1e-5


def empty_sentence(shape: TextShape) -> Tensor:
    """Return the ids (1, context) of no words, int32: a vocabulary's last two ids are start and end."""
    return torch.tensor([[shape.vocabulary - 2] + [shape.vocabulary - 1] * (shape.context - 1)], dtype=torch.int32)


def guided(rows: Tensor) -> Tensor:
    """Return features (1, C, H, W) of rows (2, C, H, W), the empty sentence's and the sentence's."""
    return rows[:1] + GUIDANCE * (rows[1:] - rows[:1])


def _signal_and_noise(timestep: int) -> tuple[float, float]:
    """Return sqrt(abar) and sqrt(1 - abar) of a step of 1000, computed in float32 as published."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    kept = torch.cumprod(1.0 - betas, dim=0)[timestep]
    return float(kept**0.5), float((1.0 - kept) ** 0.5)


SIGNAL, NOISE = _signal_and_noise(TIMESTEP)
"""Shares of the latent and of the noise in what the UNet is shown."""


def noisy_latent(moments: Tensor, posterior: Tensor, diffusion: Tensor) -> Tensor:
    """Return x_t (1, 4, h, w) of moments (1, 8, h, w) and the two noises (1, 4, h, w)."""
    mean, logvar = moments.chunk(2, dim=1)
    latent = LATENT_SCALE * (mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * posterior)
    return SIGNAL * latent + NOISE * diffusion


class _Middle(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, first: ResidualBlock, attention: nn.Module, last: ResidualBlock) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([first, last])
        self.attentions = nn.ModuleList([attention])


class _Stage(nn.Module):
    """Residual blocks of one width, attentions behind each where there are any, and a downsampling where it has one."""

    def __init__(
        self, blocks: list[ResidualBlock], attentions: list[SpatialTransformer], down: Downsample | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(blocks)
        if attentions:
            self.attentions = nn.ModuleList(attentions)
        if down is not None:
            self.downsamplers = nn.ModuleList([down])

    def layer(self, number: int, x: Tensor, time: Tensor | None = None, told: Tensor | None = None) -> Tensor:
        """Return what one residual block, and the attention behind it, make of a feature map (B, C, H, W)."""
        x = self.resnets[number](x, time)
        if told is not None and hasattr(self, "attentions"):
            x = self.attentions[number](x, told)
        return x

    def down(self, x: Tensor) -> Tensor:
        """Return a feature map of half the sides, or the same where this stage has no downsampling."""
        if hasattr(self, "downsamplers"):
            x = self.downsamplers[0](x)
        return x


class _VaeEncoder(nn.Module):
    """The image encoder without the convolution that ends it."""

    def __init__(self, shape: DiffusionShape) -> None:
        super().__init__()
        widths, groups = shape.vae_widths, shape.groups
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        stages, before = [], widths[0]
        for number, width in enumerate(widths):
            blocks = []
            for _ in range(shape.layers):
                blocks.append(ResidualBlock(before, width, groups, VAE_EPS))
                before = width
            down = Downsample(width, lopsided=True) if number < len(widths) - 1 else None
            stages.append(_Stage(blocks, [], down))
        self.down_blocks = nn.ModuleList(stages)
        ends = [ResidualBlock(before, before, groups, VAE_EPS) for _ in range(2)]
        self.mid_block = _Middle(ends[0], ImageAttention(before, groups), ends[1])
        self.conv_norm_out = nn.GroupNorm(groups, before, eps=VAE_EPS)
        self.conv_out = nn.Conv2d(before, 2 * shape.latent_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv_in(image)
        for stage in (cast("_Stage", block) for block in self.down_blocks):
            for number in range(len(stage.resnets)):
                x = stage.layer(number, x)
            x = stage.down(x)
        first, last = self.mid_block.resnets
        x = last(self.mid_block.attentions[0](first(x)))
        out: Tensor = self.conv_out(functional.silu(self.conv_norm_out(x)))
        return out


class ImageEncoder(nn.Module):
    """The VAE's encoder (`vae`)."""

    def __init__(self, shape: DiffusionShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        self.encoder = _VaeEncoder(shape)
        self.quant_conv = nn.Conv2d(2 * shape.latent_channels, 2 * shape.latent_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, 3, S, S) to mean and logarithm of the variance of its latent (B, 8, S/8, S/8).

        GLAD shows it the template as its own network sees it, normalised with ImageNet's mean and deviation (O6).
        """
        out: Tensor = self.quant_conv(self.encoder(image))
        return out


class _TimeEmbedding(nn.Module):
    """The MLP behind the time's sines."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear_2(functional.silu(self.linear_1(x)))
        return out


class UNetHalf(nn.Module):
    """The UNet down to its middle (`unet`)."""

    def __init__(self, shape: DiffusionShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        widths, groups, time = shape.unet_widths, shape.groups, shape.time_width
        self.width = widths[0]
        self.conv_in = nn.Conv2d(shape.latent_channels, widths[0], 3, padding=1)
        self.time_embedding = _TimeEmbedding(widths[0], time)
        stages, before = [], widths[0]
        for number, width in enumerate(widths):
            blocks = []
            for _ in range(shape.layers):
                blocks.append(ResidualBlock(before, width, groups, _EPS, time))
                before = width
            last = number == len(widths) - 1
            count = 0 if last else shape.layers
            told = [SpatialTransformer(width, shape.text.width, shape.heads, groups) for _ in range(count)]
            stages.append(_Stage(blocks, told, None if last else Downsample(width, lopsided=False)))
        self.down_blocks = nn.ModuleList(stages)
        ends = [ResidualBlock(before, before, groups, _EPS, time) for _ in range(2)]
        self.mid_block = _Middle(ends[0], SpatialTransformer(before, shape.text.width, shape.heads, groups), ends[1])

    def time(self, timestep: int = TIMESTEP) -> Tensor:
        """Return the time vector (1, time width)."""
        device = self.conv_in.weight.device
        out: Tensor = self.time_embedding(time_vector(timestep, self.width).to(device))
        return out

    def forward(self, noisy: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map a latent (1, 4, h, w) and texts (B, M, D) to three feature maps.

        They are those behind each layer of the third stage (B, C, h/4, w/4), the second one before its downsampling,
        and that behind the middle (B, C, h/8, w/8). Up to the first attention to the text one row serves all texts.
        """
        time, kept = self.time(), []
        x = self.conv_in(noisy)
        for number, stage in enumerate(cast("_Stage", block) for block in self.down_blocks):
            for layer in range(len(stage.resnets)):
                x = stage.layer(layer, x, time, told)
                if number == len(self.down_blocks) - 2:
                    kept.append(x)
            x = stage.down(x)
        first, last = self.mid_block.resnets
        kept.append(last(self.mid_block.attentions[0](first(x, time), told), time))
        return kept[0], kept[1], kept[2]


class Diffusion(nn.Module):
    """The parts together, under the prefixes that the recorded vectors give them."""

    def __init__(self, shape: DiffusionShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        self.shape = shape
        self.text_encoder = ClipText(shape.text)
        self.vae = ImageEncoder(shape)
        self.unet = UNetHalf(shape)

    def forward(self, ids: Tensor, image: Tensor, posterior: Tensor, diffusion: Tensor) -> list[Tensor]:
        """Return the three guided feature maps (1, C, g, g) of a sentence and a picture.

        ids (1, 77); image (1, 3, S, S), see `ImageEncoder`; the two noises (1, 4, S/8, S/8).
        """
        told = self.text_encoder(torch.cat([empty_sentence(self.shape.text).to(ids), ids]))
        noisy = noisy_latent(self.vae(image), posterior, diffusion)
        return [guided(rows) for rows in self.unet(noisy, told)]


def load_diffusion(state: Mapping[str, Tensor], shape: DiffusionShape) -> Diffusion:
    """Return the model with the entries of a state in it, evaluation mode; the state has just these.

    See `edgetrack.export.diffusion_files.read_diffusion` for where they come from.
    """
    with torch.device("meta"):
        net = Diffusion(shape)
    net.load_state_dict(dict(state), strict=True, assign=True)
    return net.requires_grad_(False).eval()
