"""The diffusion model's graphs, once per description, on whatever machine is handy (GLAD spec section 6).

The image decoder and the UNet's way up, whose results the published code throws away or never asks for, are not here.
The empty sentence's features are a constant; up to the first attention to the text its row is the sentence's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgetrack.export.models.base import DeployGraph
from edgetrack.export.models.clip_text import text_graph
from edgetrack.export.models.diffusion import Diffusion, empty_sentence, guided, noisy_latent

__all__ = ["NOISES", "LatentGraph", "UNetGraph", "diffusion_graphs"]

NOISES = ("noise_vae_posterior", "noise_diffusion")
"""Inputs of the graph `vae` that hold standard normal numbers, in the order in which they were drawn."""


class LatentGraph(nn.Module):
    """image (1, 3, S, S) and both noises (1, 4, S/8, S/8) -> noisy (1, 4, S/8, S/8)."""

    def __init__(self, net: Diffusion) -> None:
        """`net` is a loaded model."""
        super().__init__()
        self.vae = net.vae

    def forward(self, image: Tensor, posterior: Tensor, diffusion: Tensor) -> Tensor:
        """Run the graph; see the class for shapes."""
        return noisy_latent(self.vae(image), posterior, diffusion)


class UNetGraph(nn.Module):
    """noisy (1, 4, S/8, S/8) and context (1, 77, D) -> the three guided feature maps (1, C, g, g)."""

    empty: Tensor

    def __init__(self, net: Diffusion) -> None:
        """`net` is a loaded model."""
        super().__init__()
        self.unet = net.unet
        with torch.no_grad():
            device = net.unet.conv_in.weight.device
            context = net.text_encoder(empty_sentence(net.shape.text).to(device))
        self.register_buffer("empty", context)

    def forward(self, noisy: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        first, second, third = self.unet(noisy, torch.cat([self.empty, context]))
        return guided(first), guided(second), guided(third)


def diffusion_graphs(net: Diffusion, side: int, latents: tuple[str, ...]) -> list[DeployGraph]:
    """Return the graphs `text` (once per sentence), `vae` (once per picture) and `unet` (once per description).

    Args:
        net: a loaded model.
        side: of the picture in pixels.
        latents: names of the three feature maps.
    """
    text = net.shape.text
    context = torch.zeros(1, text.context, text.width)
    small = torch.zeros(1, net.shape.latent_channels, side // 8, side // 8)
    vae = DeployGraph(
        role="vae",
        module=LatentGraph(net).eval(),
        inputs={"image": torch.zeros(1, 3, side, side), **{name: small.clone() for name in NOISES}},
        outputs=("noisy",),
        layouts=dict.fromkeys(("image", *NOISES, "noisy"), "NCHW"),
        features=("noisy",),
    )
    unet = DeployGraph(
        role="unet",
        module=UNetGraph(net).eval(),
        inputs={"noisy": small, "context": context},
        outputs=latents,
        layouts={"noisy": "NCHW", "context": "N,token,C", **dict.fromkeys(latents, "NCHW")},
        features=latents,
    )
    words = text_graph(net.text_encoder, ("context",), shape=(1, text.context), layouts={"context": "N,token,C"})
    return [words, vae, unet]
