"""What the published networks of OSTrack and GRM share: backbone entries, token order, head, output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from edgetrack.export.models.centre_head import CentreHead, CentreMaps, best_box
from edgetrack.export.models.centre_variants import CentreShape
from edgetrack.export.models.vit import PATCH, PatchEmbed, VitBlock

__all__ = ["CentreBackbone", "CentreNet", "CentreOutput", "Decision"]

_MAE_ROWS = 197
_BlockT = TypeVar("_BlockT", bound=VitBlock)


class Decision(Protocol):
    """A discrete choice inside the network, which rounding may turn where it is close."""

    @property
    def safe(self) -> bool:
        """Whether it was so clear that float32 rounding cannot turn it (the recorded vectors call this robust)."""


@dataclass(frozen=True)
class CentreOutput:
    """What one forward pass gives.

    box (B, 4): cx, cy, w, h of the best cell without a window, in parts of the search crop; the tracker ignores it.
    decisions: of every block that makes one, in order.
    """

    maps: CentreMaps
    box: Tensor
    decisions: Sequence[Decision]

    @property
    def safe(self) -> bool:
        """Whether every decision inside the network was clear."""
        return all(decision.safe for decision in self.decisions)


class CentreBackbone(nn.Module, Generic[_BlockT]):
    """The published `backbone`: every entry of the checkpoint, used or not, under its name."""

    def __init__(self, shape: CentreShape, blocks: Iterable[_BlockT]) -> None:
        """`blocks` in order, `shape.depth` of them."""
        super().__init__()

        def table(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(1, rows, shape.channels))

        self.cls_token = table(1)
        self.pos_embed = table(_MAE_ROWS)
        self.pos_embed_z = table(shape.template_tokens)
        self.pos_embed_x = table(shape.search_tokens)
        self.patch_embed = PatchEmbed(PATCH, shape.channels)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(shape.channels, eps=1e-6)

    def layers(self) -> list[_BlockT]:
        """Return the blocks in order, by their own type."""
        return list(self.blocks)  # type: ignore[arg-type]

    def embed(self, template: Tensor, search: Tensor) -> Tensor:
        """Return the tokens (B, Lz + Lx, C) before the first block: the template's, then the search crop's."""
        z = self.patch_embed(template) + self.pos_embed_z
        x = self.patch_embed(search) + self.pos_embed_x
        return torch.cat([z, x], dim=1)


class CentreNet(nn.Module, Generic[_BlockT]):
    """A published one-stream network with a centre head; subclasses say what happens between embedding and head."""

    def __init__(self, shape: CentreShape, blocks: Iterable[_BlockT]) -> None:
        """Build with parameters unset."""
        super().__init__()
        self.shape = shape
        self.backbone = CentreBackbone(shape, blocks)
        self.box_head = CentreHead(shape.channels)

    @abstractmethod
    def features(self, template: Tensor, search: Tensor) -> tuple[Tensor, list[Decision]]:
        """Return the search tokens (B, Lx, C) after the final norm, in image order, and the decisions on the way."""

    def forward(self, template: Tensor, search: Tensor) -> CentreOutput:
        """Run the published forward pass on normalised RGB (B, 3, Tz, Tz) and (B, 3, Sx, Sx)."""
        tokens, decisions = self.features(template, search)
        maps = self.maps(tokens)
        return CentreOutput(maps, best_box(*maps), decisions)

    def maps(self, tokens: Tensor) -> CentreMaps:
        """Return what the head says about search tokens (B, Lx, C), in image order."""
        side = self.shape.search_grid
        found: CentreMaps = self.box_head(tokens.transpose(1, 2).reshape(-1, self.shape.channels, side, side))
        return found
