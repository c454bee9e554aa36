"""MVLM's published network in PyTorch (CVPR 2026): backbone, text projection and centre head under their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgetrack.errors import CheckpointError
from edgetrack.export.models.centre_head import CentreHead, CentreMaps
from edgetrack.export.models.clip_text import CLIP_VIT_L14, ClipText
from edgetrack.export.models.fastitpn import FastItpn
from edgetrack.export.models.mvlm_variants import MvlmShape

__all__ = ["CLIP_PREFIX", "MvlmNet", "MvlmOutput", "candidate_boxes"]

CLIP_PREFIX = "text_encoder.clip."
TEXT_SHAPE = CLIP_VIT_L14


@dataclass(frozen=True)
class MvlmOutput:
    """What one forward pass gives: the search tokens (B, Lx, C) after the last norm, and the head's maps of them."""

    features: Tensor
    maps: CentreMaps


class TextEncoder(nn.Module):
    """CLIP's text transformer, where its weights are at hand, and the trained projection of its tokens."""

    def __init__(self, shape: MvlmShape) -> None:
        """Build without CLIP; see `MvlmNet.add_clip`."""
        super().__init__()
        self.clip: ClipText | None = None
        self.text_proj = nn.Linear(shape.text_width, shape.channels)

    def forward(self, ids: Tensor) -> Tensor:
        """Map token ids (B, words) to text features (B, words, C), those of padding included (oddity O13).

        Raises:
            CheckpointError: the network has no text transformer.
        """
        if self.clip is None:
            raise CheckpointError("the network has no text encoder; load CLIP ViT-L/14's weights beside the checkpoint")
        out: Tensor = self.text_proj(self.clip(ids))
        return out


class Encoder(nn.Module):
    """What holds the backbone in the published file."""

    def __init__(self, shape: MvlmShape) -> None:
        """Build with parameters unset."""
        super().__init__()
        self.body = FastItpn(shape)


class MvlmNet(nn.Module):
    """The published network."""

    def __init__(self, shape: MvlmShape) -> None:
        """Build with parameters unset, without CLIP."""
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.text_encoder = TextEncoder(shape)
        self.head = CentreHead(shape.channels)

    def add_clip(self, clip: ClipText) -> None:
        """Let the text encoder use a loaded text transformer."""
        self.text_encoder.clip = clip

    def forward(self, search: Tensor, text: Tensor, templates: Sequence[Tensor] = ()) -> MvlmOutput:
        """Run the published forward pass.

        search (B, 3, Sx, Sx) and `shape.templates` templates (B, 3, Sz, Sz), normalised RGB; text (B, words, C), from
        the text encoder.
        """
        features: Tensor = self.encoder.body(search, text, templates)
        side = self.shape.search_grid
        maps: CentreMaps = self.head(features.transpose(1, 2).reshape(-1, self.shape.channels, side, side))
        return MvlmOutput(features, maps)


def candidate_boxes(size: Tensor, offset: Tensor) -> Tensor:
    """Return cx, cy, w, h of every cell's box (f * f, 4) in parts of the search crop, row-major (spec section 3.6).

    size and offset (1, 2, f, f) are the head's maps.
    """
    side = size.shape[-1]
    line = torch.arange(side, dtype=size.dtype, device=size.device)
    cells = torch.stack([line.expand(side, side), line.unsqueeze(1).expand(side, side)])
    centres = (cells + offset[0]) / side
    return torch.cat([centres, size[0]]).flatten(1).t()
