"""ATSTrack's network in PyTorch, from the paper's idea (arXiv 2507.00454): no published code or checkpoint exists.

What the paper leaves open is decided so that OSTrack's and ODTrack's weights fit (spec section 2); parameter names are
theirs where they have them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgetrack.errors import CheckpointError
from edgetrack.export.models.atstrack_variants import PHRASES, AtsShape
from edgetrack.export.models.centre_head import CentreHead, CentreMaps
from edgetrack.export.models.centre_net import CentreBackbone
from edgetrack.export.models.clip_text import CLIP_VIT_B32, ClipText
from edgetrack.export.models.fgm import EPS, Fgm, unit
from edgetrack.export.models.vit import VitBlock

__all__ = ["CLIP_PREFIX", "TEXT_SHAPE", "AtsBackbone", "AtsNet", "AtsOutput", "Told", "head_gain"]

CLIP_PREFIX = "text_encoder."
TEXT_SHAPE = CLIP_VIT_B32


@dataclass(frozen=True)
class Told:
    """What the text side makes of four phrases, once per target.

    lang (B, 4, L, C): their tokens; mask (B, 4, L): 1 where a phrase has a token or its end; state (B, 2, C): the
    visual-language token to begin with.
    """

    lang: Tensor
    mask: Tensor
    state: Tensor


@dataclass(frozen=True)
class AtsOutput:
    """What one forward pass gives.

    state (B, 2, C): class token and language token for the next frame; gate (B, L): how far each token of the location
    phrase was seen. Nothing inside the network is a choice that rounding could turn, so it is always `safe`.
    """

    maps: CentreMaps
    state: Tensor
    gate: Tensor
    safe: bool = True


class AtsBackbone(CentreBackbone[VitBlock]):
    """OSTrack's backbone with ODTrack's position of the class token, and one of the language token."""

    def __init__(self, shape: AtsShape) -> None:
        """Build with parameters unset."""
        super().__init__(shape, (VitBlock(shape.channels, shape.heads) for _ in range(shape.depth)))
        self.cls_pos_embed = nn.Parameter(torch.zeros(1, 1, shape.channels))
        self.lang_pos_embed = nn.Parameter(torch.zeros(1, 1, shape.channels))

    def first_tokens(self, state: Tensor) -> Tensor:
        """Return class and language token (B, 2, C) of a state (B, 2, C), as they enter the first block."""
        seen = (state[:, :1] + self.cls_token) + self.cls_pos_embed
        return torch.cat([seen, state[:, 1:] + self.lang_pos_embed], dim=1)

    def template_tokens(self, image: Tensor) -> Tensor:
        """Return the tokens (B, Lz, C) of a template (B, 3, Tz, Tz), normalised RGB."""
        tokens: Tensor = self.patch_embed(image) + self.pos_embed_z
        return tokens

    def search_tokens(self, image: Tensor) -> Tensor:
        """Return the tokens (B, Lx, C) of a search crop (B, 3, Sx, Sx), normalised RGB."""
        tokens: Tensor = self.patch_embed(image) + self.pos_embed_x
        return tokens

    def run(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, C) after all blocks and the final norm."""
        for block in self.layers():
            tokens, _ = block(tokens)
        out: Tensor = self.norm(tokens)
        return out


def head_gain(search: Tensor, seen: Tensor, told: Tensor, gain: Tensor) -> Tensor:
    """Return what search tokens (B, Lx, C) are multiplied with (B, Lx, 1) before the head (spec section 3.6).

    seen, told (B, 1, C): class and language token; gain (3,): of nothing (OSTrack), of the class token (ODTrack), and
    of the language token.
    """
    by_sight = gain[0] + gain[1] * (search @ seen.transpose(1, 2))
    by_word = 1 + gain[2] * (unit(search) @ unit(told).transpose(1, 2))
    return by_sight * by_word


class AtsNet(nn.Module):
    """The network; CLIP's text transformer is no part of a checkpoint and is added where its weights are at hand."""

    def __init__(self, shape: AtsShape) -> None:
        """Build with parameters unset, without CLIP."""
        super().__init__()
        self.shape = shape
        self.backbone = AtsBackbone(shape)
        self.box_head = CentreHead(shape.channels)
        self.vl_gain = nn.Parameter(torch.zeros(3))
        self.fgm = Fgm(shape)
        self.lang_proj = nn.Linear(shape.text_width, shape.channels)
        self.lang_norm = nn.LayerNorm(shape.channels, eps=EPS)
        self.text_encoder: ClipText | None = None

    def add_clip(self, clip: ClipText) -> None:
        """Let `describe` use a loaded text transformer."""
        self.text_encoder = clip

    def tell(self, features: Tensor, mask: Tensor) -> Told:
        """Return what follows from CLIP's features (B, 4, L, text width) of four phrases and their mask (B, 4, L)."""
        lang = self.lang_norm(self.lang_proj(features))
        told = self.fgm.token_of(lang + self.fgm.attr_embed, mask)
        return Told(lang, mask, torch.cat([torch.zeros_like(told), told], dim=1))

    def describe(self, ids: Tensor, mask: Tensor) -> Told:
        """Return what follows from token ids (B, 4, L), int32 or int64, and their mask (B, 4, L).

        Raises:
            CheckpointError: the network has no text transformer.
        """
        if self.text_encoder is None:
            raise CheckpointError("the network has no text encoder; load CLIP ViT-B/32's weights beside the checkpoint")
        features: Tensor = self.text_encoder(ids.flatten(0, 1))
        return self.tell(features.reshape(-1, PHRASES, *features.shape[1:]), mask)

    def forward(self, search: Tensor, template: Tensor, state: Tensor, lang: Tensor, mask: Tensor) -> AtsOutput:
        """Run one frame.

        search (B, 3, Sx, Sx), normalised RGB; template (B, T * Lz, C), the slots' tokens in the order of time; state
        (B, 2, C), of the frame before; lang (B, 4, L, C) and mask (B, 4, L), of the text side.
        """
        backbone = self.backbone
        tokens = torch.cat([backbone.first_tokens(state), template, backbone.search_tokens(search)], dim=1)
        out = backbone.run(tokens)
        seen, found = out[:, :1], out[:, 2 + template.shape[1] :]
        told, gate = self.fgm(lang, mask, out[:, 2 : 2 + template.shape[1]], found)
        maps = self.maps(found, seen, told)
        return AtsOutput(maps, torch.cat([seen, told], dim=1), gate)

    def maps(self, search: Tensor, seen: Tensor, told: Tensor) -> CentreMaps:
        """Return what the head says about search tokens (B, Lx, C), given class and language token (B, 1, C)."""
        side = self.shape.search_grid
        features = search * head_gain(search, seen, told, self.vl_gain)
        found: CentreMaps = self.box_head(features.transpose(1, 2).reshape(-1, self.shape.channels, side, side))
        return found
