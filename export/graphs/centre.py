"""What the deployment graphs of OSTrack, GRM and ATSTrack share: the template's graph and the head."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.graphs.patches import PatchRows
from edgetrack.export.models.centre_head import BRANCHES, HEAD_WIDTHS, CentreHead, bounded
from edgetrack.export.models.centre_net import CentreBackbone

__all__ = ["HeadGraph", "TemplateGraph", "folded"]


class _HasBackbone(Protocol):
    """A network that embeds its templates as OSTrack does."""

    @property
    def backbone(self) -> CentreBackbone[Any]:
        """Patch embedding, positions and blocks."""


class TemplateGraph(nn.Module):
    """What follows from the template alone, once per target.

    image (1, 3, Tz, Tz) -> tokens (1, Lz, C) as they enter block 0, and qkv (1, Lz, 3C), what that block projects them
    to: its attention is the first thing that lets them see the search crop.
    """

    def __init__(self, net: _HasBackbone) -> None:
        """`net` is a loaded network."""
        super().__init__()
        backbone = net.backbone
        first = backbone.layers()[0]
        self.embed = PatchRows(backbone.patch_embed.proj, backbone.pos_embed_z[0])
        self.norm, self.qkv = first.norm1, first.attn.qkv

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        tokens: Tensor = self.embed(image)
        qkv: Tensor = self.qkv(self.norm(tokens))
        return tokens.unsqueeze(0), qkv.unsqueeze(0)


def folded(step: nn.Module) -> tuple[Tensor, Tensor]:
    """Return kernel and bias of a convolution, with a BatchNorm behind it folded in (in float64)."""
    if isinstance(step, nn.Conv2d):
        return step.weight.detach(), _bias(step)
    conv, norm, _ = cast("tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]", tuple(cast("nn.Sequential", step)))
    mean, variance = cast("Tensor", norm.running_mean).double(), cast("Tensor", norm.running_var).double()
    gain = norm.weight.detach().double() / torch.sqrt(variance + norm.eps)
    weight = conv.weight.detach().double() * gain.view(-1, 1, 1, 1)
    bias = (_bias(conv).double() - mean) * gain + norm.bias.detach().double()
    return weight.float(), bias.float()


def _bias(conv: nn.Conv2d) -> Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()


class HeadGraph(nn.Module):
    """The centre head with BatchNorm folded; the three first convolutions read the same map and are one."""

    def __init__(self, head: CentreHead, *, shrink: float = 1.0) -> None:
        """`head` is a loaded head; its features come multiplied by `shrink`, a power of two."""
        super().__init__()
        steps = {branch: [folded(step) for step in head.steps(branch)] for branch in BRANCHES}
        first = [steps[branch][0] for branch in BRANCHES]
        weights = torch.cat([weight for weight, _ in first]) / shrink
        self._keep("first", weights, torch.cat([bias for _, bias in first]))
        for branch, parts in steps.items():
            for number, (weight, bias) in enumerate(parts[1:], start=2):
                self._keep(f"{branch}{number}", weight, bias)

    def _keep(self, name: str, weight: Tensor, bias: Tensor) -> None:
        self.register_buffer(f"{name}_weight", weight)
        self.register_buffer(f"{name}_bias", bias)

    def _conv(self, x: Tensor, name: str, padding: int) -> Tensor:
        return functional.conv2d(x, self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias"), padding=padding)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map search features (1, C, f, f) to score (1, 1, f, f), size and offset (1, 2, f, f)."""
        starts = functional.relu(self._conv(features, "first", 1)).chunk(len(BRANCHES), dim=1)
        raw = {}
        for branch, x in zip(BRANCHES, starts, strict=True):
            y = x
            for number in range(2, len(HEAD_WIDTHS) + 1):
                y = functional.relu(self._conv(y, f"{branch}{number}", 1))
            raw[branch] = self._conv(y, f"{branch}{len(HEAD_WIDTHS) + 1}", 0)
        return bounded(raw["ctr"]), bounded(raw["size"]), raw["offset"]
