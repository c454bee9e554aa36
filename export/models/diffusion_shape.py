"""Sizes of the diffusion model that GLAD describes a target with, without PyTorch modules (GLAD spec section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

from edgetrack.export.models.clip_text import CLIP_VIT_L14, TextShape

__all__ = ["STABLE_DIFFUSION_15", "TIMESTEP", "DiffusionShape"]

TIMESTEP = 159
"""The last of 8 LCM steps, as diffusers 0.23 counts them; from 0.24 on the same call gives 139 (oddity O5)."""


@dataclass(frozen=True)
class DiffusionShape:
    """Sizes of a latent diffusion model's text encoder, image encoder and of the first half of its UNet.

    name: what the user has to bring. text: the text encoder. vae_widths, unet_widths: of their four stages; heads: of
    an attention of the UNet, at every width; groups: of every group normalisation; layers: residual blocks of a stage.
    """

    name: str
    text: TextShape
    vae_widths: tuple[int, ...]
    unet_widths: tuple[int, ...]
    heads: int = 8
    groups: int = 32
    layers: int = 2
    latent_channels: int = 4

    @property
    def time_width(self) -> int:
        """Width of the time vector."""
        return 4 * self.unet_widths[0]


STABLE_DIFFUSION_15 = DiffusionShape(
    "Stable Diffusion v1.5", CLIP_VIT_L14, vae_widths=(128, 256, 512, 512), unet_widths=(320, 640, 1280, 1280)
)
