"""Position tables for a start from nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgetrack.export.models.fartrack_net import CHANNELS, FarTrackNet

__all__ = ["place_tokens", "position_table"]

_SHORTEST, _LONGEST = 3.0, 60.0  # periods of the waves, cells
_SEARCH_SIDE, _TEMPLATE_SIDE = 14, 7


def position_table(side: int, scale: float) -> Tensor:
    """Return the table (side^2, 192) of 2-D sines and cosines, row-major, each value within `scale`.

    The usual periods, up to 10000 cells, hardly change over a crop of 14. These span it, and count from the crop's
    middle: a cell covers as much of the scene in a template as in the search crop (factor 2 on 112 pixels, 4 on 224),
    so both see the target at the same place when it has not moved.
    """
    periods = torch.exp(torch.linspace(math.log(_SHORTEST), math.log(_LONGEST), CHANNELS // 4))
    phase = torch.outer(torch.arange(side) - (side - 1) / 2, 2 * math.pi / periods)
    line = torch.cat((phase.sin(), phase.cos()), 1)
    columns, rows = line[None].expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    return scale * torch.cat((columns, rows), 2).reshape(side * side, CHANNELS)


@torch.no_grad()
def place_tokens(net: FarTrackNet, scale: float = 1.0) -> None:
    """Set the position tables of search and templates.

    With values as large as those of the patches (scale 1) the command tokens learn to read the target's place several
    times sooner than with small ones.
    """
    net.backbone.pos_embed_x.copy_(position_table(_SEARCH_SIDE, scale)[None])
    for name, table in net.backbone.named_parameters():
        if name.startswith("pos_embed_z"):
            table.copy_(position_table(_TEMPLATE_SIDE, scale)[None])
