"""A start from nothing for small data: weights that already compare patches, where no pretrained ViT is at hand.

Published trackers start from a ViT that saw millions of pictures. Without one, a plain random start spends most of a
short training on finding that equal patches belong together. Four things are given to the network instead:

* the patch embedding begins as the principal components of real patches, whitened (so do small colour filters of any
  trained network, roughly);
* queries and keys of a head begin nearly equal, so that a token attends to tokens like itself, and values with their
  projection nearly the negative identity ("mimetic initialisation", Trockman and Kolter, ICML 2023, section 3);
* position tables begin as 2-D sines and cosines, as large as the patches' values (`positions.py`);
* the output table begins smooth in the coordinate: sines and cosines of the bin's place, so that neighbouring bins have
  nearly equal rows and learn together.

Everything is trained afterwards; the layout is the published one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgetrack.errors import InputError
from edgetrack.export.models.fartrack_net import CHANNELS, CLASSES, HEADS, FarTrackNet
from edgetrack.export.models.vit import PATCH
from edgetrack.export.train.positions import place_tokens

__all__ = ["BINS", "patch_filters", "start_from_scratch"]

BINS = 600
HEAD_DIM = CHANNELS // HEADS
# Trockman and Kolter's shares of identity and noise: Wq Wk^T = 0.7 I + 0.2 Z, Wv Wproj = -0.4 I + 0.4 Z.
_SAME, _SAME_NOISE = 0.7, 0.2
_VALUE, _VALUE_NOISE = -0.4, 0.4
_COMMAND_SCALE = 0.3
_FILTER_SCALE = 0.6
_FILTER_FLOOR = 0.3
_SLOWEST, _FASTEST = 0.25, 12.0  # periods of the output table's waves in the crop's width


def start_from_scratch(net: FarTrackNet, seed: int, patches: Tensor | None = None) -> None:
    """Set every parameter of `net` to a start from which little data goes far.

    Args:
        net: of any flavour; changed in place.
        seed: of the random parts.
        patches: float32 (N, 3, 16, 16) normalised RGB patches of training pictures, N >= 192, for the patch embedding;
            None: small random filters.

    Raises:
        InputError: too few patches.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            _plain(name, parameter, generator)
        backbone = net.backbone
        net.identity.copy_(0.02 * torch.randn(net.identity.shape, generator=generator))
        place_tokens(net)
        backbone.word_embeddings.weight.copy_(_output_table(generator))
        backbone.position_embeddings.weight.copy_(_COMMAND_SCALE * torch.randn(4, CHANNELS, generator=generator))
        if patches is not None:
            backbone.patch_embed.proj.weight.copy_(patch_filters(patches))
        for block in (*backbone.blocks, *backbone.extension):
            _mimetic(block.attn.qkv.weight, block.attn.proj.weight, generator)


def _plain(name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
    """Usual start: norms are the identity, biases zero, matrices truncated normal with deviation 0.02."""
    if name.endswith("bias"):
        parameter.zero_()
    elif parameter.ndim == 1:
        parameter.fill_(1.0)
    else:
        nn.init.trunc_normal_(parameter, std=0.02, generator=generator)


def patch_filters(patches: Tensor) -> Tensor:
    """Return convolution weights (192, 3, 16, 16): whitened principal components of patches (N, 3, 16, 16).

    Weak components are damped rather than blown up: each is divided by its deviation plus 0.3.

    Raises:
        InputError: fewer patches than channels.
    """
    rows = patches.flatten(1).double()
    if len(rows) < CHANNELS:
        raise InputError(f"{len(rows)} patches are too few for {CHANNELS} filters; give pictures")
    rows = rows - rows.mean(0)
    variances, directions = torch.linalg.eigh(rows.t() @ rows / len(rows))
    strongest = slice(-CHANNELS, None)
    scale = _FILTER_SCALE / (variances[strongest].clamp(min=0).sqrt() + _FILTER_FLOOR)
    filters: Tensor = (directions[:, strongest] * scale).t().flip(0)
    return filters.reshape(CHANNELS, 3, PATCH, PATCH).float()


def _output_table(generator: torch.Generator) -> Tensor:
    """Return (605, 192): unit rows, smooth over the 600 bins; commands and padding random."""
    place = torch.arange(CLASSES) / (BINS // 2) - 0.5
    periods = torch.exp(torch.linspace(math.log(_SLOWEST), math.log(_FASTEST), CHANNELS // 2))
    phase = 2 * math.pi * torch.outer(place, periods)
    table = torch.cat([phase.sin(), phase.cos()], dim=1) / math.sqrt(CHANNELS / 2)
    table[BINS:] = torch.randn(CLASSES - BINS, CHANNELS, generator=generator) / math.sqrt(CHANNELS)
    return table


def _mimetic(qkv: Tensor, projection: Tensor, generator: torch.Generator) -> None:
    """Set the attention's weights, (576, 192) rows q, k, v, head-major, and (192, 192), in place."""
    identity = torch.eye(CHANNELS)
    for head in range(HEADS):
        rows = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        left, sizes, right = torch.linalg.svd(_SAME * identity + _SAME_NOISE * _noise(generator))
        root = sizes[:HEAD_DIM].sqrt()
        qkv[:CHANNELS][rows] = (left[:, :HEAD_DIM] * root).t()
        qkv[CHANNELS : 2 * CHANNELS][rows] = right[:HEAD_DIM] * root[:, None]
    left, sizes, right = torch.linalg.svd(_VALUE * identity + _VALUE_NOISE * _noise(generator))
    projection.copy_(left * sizes.sqrt())
    qkv[2 * CHANNELS :] = right * sizes.sqrt()[:, None]


def _noise(generator: torch.Generator) -> Tensor:
    return torch.randn(CHANNELS, CHANNELS, generator=generator) / math.sqrt(CHANNELS)
