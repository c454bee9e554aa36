"""FastITPN in deployment graphs: pixels and tokens are rows of a matrix, channels last.

The published stem normalises the channels of (C, H, W) maps, which costs a transposition each way; here every
convolution of the stem is a matrix product over rows that are cut to fit. tests/export/test_mvlm_graphs.py proves each
step.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.graphs.vit import attend_rows, split_heads
from edgetrack.export.models.fastitpn import FastItpn, GatedMlp, MainBlock, PatchMerge, StemBlock

__all__ = ["LastMainGraph", "MainGraph", "StemGraph"]


def _rows(image: Tensor, side: int) -> Tensor:
    """Cut (3, side*4, side*4) into rows (side^2, 48), ordered as a 4x4 convolution kernel's weights."""
    return image.reshape(3, side, 4, side, 4).permute(1, 3, 0, 2, 4).reshape(side * side, 48)


class _Dense(nn.Module):
    """A linear layer whose weights are given: (outputs, inputs) and (outputs,)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (N, inputs) to (N, outputs)."""
        return functional.linear(x, self.weight, self.bias)


class _StemBlockGraph(nn.Module):
    def __init__(self, block: StemBlock) -> None:
        super().__init__()
        self.norm, self.inner = block.norm2, block.mlp.ffn_ln
        self.fc1 = _Dense(block.mlp.fc1.weight.flatten(1), block.mlp.fc1.bias)
        self.fc2 = _Dense(block.mlp.fc2.weight.flatten(1), block.mlp.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (N, C) to the same shape."""
        hidden = functional.gelu(self.fc1(_normed(self.norm, x)))
        out: Tensor = x + self.fc2(_normed(self.inner, hidden))
        return out


class _MergeGraph(nn.Module):
    def __init__(self, merge: PatchMerge) -> None:
        super().__init__()
        self.norm = merge.norm
        kernel = merge.reduction.weight.permute(0, 2, 3, 1)  # as the four pixels lie in a row
        self.reduction = _Dense(kernel.flatten(1).contiguous(), merge.reduction.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (side^2, C) to ((side/2)^2, C')."""
        half, width = round(x.shape[0] ** 0.5) // 2, x.shape[1]
        grid = _normed(self.norm, x).reshape(half, 2, half, 2, width).transpose(1, 2)
        out: Tensor = self.reduction(grid.reshape(half * half, 4 * width))
        return out


def _normed(norm: nn.LayerNorm, rows: Tensor) -> Tensor:
    """Apply a channel norm's weights to rows (N, C)."""
    return functional.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


class StemGraph(nn.Module):
    """Image to tokens; the two halves of the first convolution see the same image and are one."""

    positions: Tensor

    def __init__(self, body: FastItpn, positions: Tensor) -> None:
        """`positions` (tokens, C) is added to the result."""
        super().__init__()
        kernel = body.patch_embed.proj.weight.detach()
        self.first = _Dense((kernel[:, :3] + kernel[:, 3:]).flatten(1), body.patch_embed.proj.bias)
        self.steps = nn.Sequential(
            *(_StemBlockGraph(step) if isinstance(step, StemBlock) else _MergeGraph(cast("PatchMerge", step))
              for step in body.stem())
        )  # fmt: skip
        self.register_buffer("positions", positions.detach())
        self.side = 4 * round(positions.shape[0] ** 0.5)

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised image (1, 3, S, S) to tokens ((S/16)^2, C)."""
        out: Tensor = self.steps(self.first(_rows(image[0], self.side))) + self.positions
        return out


def _scaled(layer: nn.Linear, gamma: Tensor) -> _Dense:
    """Return a layer with a layer scale behind it folded in (in float64)."""
    scale = gamma.detach().double()
    weight = (layer.weight.detach().double() * scale.unsqueeze(1)).float()
    return _Dense(weight, (layer.bias.detach().double() * scale).float())


class _MlpGraph(nn.Module):
    """The gated MLP behind its norm; both first layers are one, the layer scale is folded into the last."""

    def __init__(self, block: MainBlock) -> None:
        super().__init__()
        mlp: GatedMlp = block.mlp
        self.norm, self.inner = block.norm2, mlp.ffn_ln
        self.wide = _Dense(torch.cat([mlp.w1.weight, mlp.w2.weight]), torch.cat([mlp.w1.bias, mlp.w2.bias]))
        self.last = _scaled(mlp.w3, block.gamma_2)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + the scaled MLP of tokens (N, C)."""
        gate, value = self.wide(self.norm(x)).chunk(2, dim=1)
        out: Tensor = x + self.last(self.inner(functional.silu(gate) * value))
        return out


class MainGraph(nn.Module):
    """One transformer block for all tokens; queries, keys and values are one product, the scale of queries in it."""

    def __init__(self, block: MainBlock) -> None:
        """`block` is a published block."""
        super().__init__()
        attn = block.attn
        self.heads, self.norm = attn.heads, block.norm1
        weights = [attn.get_parameter(f"{name}_proj.weight") for name in "qkv"]
        zeros = torch.zeros_like(attn.q_bias)
        # The scale is a power of two, so folding it is exact.
        rows = torch.cat([attn.scale * weights[0], *weights[1:]])
        self.qkv = _Dense(rows, torch.cat([attn.scale * attn.q_bias, zeros, attn.v_bias]))
        self.proj = _scaled(attn.proj, block.gamma_1)
        self.mlp = _MlpGraph(block)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (N, C) to the same shape."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(self.norm(x)).chunk(3, dim=1))
        out: Tensor = self.mlp(x + self.proj(attend_rows(q, k, v)))
        return out


class LastMainGraph(nn.Module):
    """A block of which only some rows are read: the others give keys and values and nothing else."""

    def __init__(self, block: MainBlock, rows: slice) -> None:
        """`rows` are those that are read."""
        super().__init__()
        whole = MainGraph(block)
        width = block.gamma_1.shape[0]
        self.rows, self.heads, self.norm = rows, whole.heads, whole.norm
        assert whole.qkv.bias is not None  # noqa: S101 (for the type checker)
        self.query = _Dense(whole.qkv.weight[:width], whole.qkv.bias[:width])
        self.pair = _Dense(whole.qkv.weight[width:], whole.qkv.bias[width:])
        self.proj, self.mlp = whole.proj, whole.mlp

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (N, C) to the new rows (R, C)."""
        y = self.norm(x)
        q = split_heads(self.query(y[self.rows]), self.heads)
        k, v = (split_heads(part, self.heads) for part in self.pair(y).chunk(2, dim=1))
        out: Tensor = self.mlp(x[self.rows] + self.proj(attend_rows(q, k, v)))
        return out
