"""FARTrack's published network in PyTorch, as its evaluation runs it (ICLR 2026, arXiv 2602.03214).

One stream of 5 templates (49 tokens each), one search crop (196) and 4 command tokens through a ViT-Tiny; the command
tokens come out as 4 categorical distributions over coordinate bins (x1, y1, x2, y2). Three flavours, one per training
stage, differ in normalisation, key mask, embedding renormalisation and box decode.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.models.vit import PATCH, PatchEmbed, VitBlock

__all__ = [
    "BLOCKS",
    "CHANNELS",
    "CLASSES",
    "COMMANDS",
    "COMMAND_ROWS",
    "EXTENSION",
    "HEADS",
    "SEARCH_CENTRE",
    "SEARCH_TOKENS",
    "SLOTS",
    "TEMPLATE_TOKENS",
    "FarTrackNet",
    "FarTrackOutput",
    "MaskNorm",
]

CHANNELS = 192
HEADS = 3
SLOTS = 5
TEMPLATE_TOKENS = 49
SEARCH_TOKENS = 196
SEARCH_CENTRE = 7 * 14 + 7  # the search token whose attention decides what to prune
CLASSES = 605  # 600 coordinate bins, 4 commands, 1 padding
COMMAND_ROWS = slice(600, 604)
COMMANDS = 4
BLOCKS = 12
EXTENSION = 3
FIRST_EXIT = 5  # the shallowest depth that stage 2 trains


class MaskNorm(nn.Module):
    """LayerNorm whose masked tokens come out as the bias alone (sparse flavour; its eps is PyTorch's default)."""

    def __init__(self, channels: int) -> None:
        """`channels` is the width of a token."""
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: Tensor, masked: Tensor | None) -> Tensor:
        """Normalise (B, N, C); `masked` is bool (N,) or None. Written out, as published."""
        mean = x.mean(-1, keepdim=True)
        variance = x.var(-1, keepdim=True, unbiased=False)
        plain = (x - mean) / torch.sqrt(variance + self.norm.eps)
        if masked is not None:
            plain = plain * (~masked)[None, :, None]
        return plain * self.norm.weight + self.norm.bias


class Block(VitBlock):
    """A pre-norm transformer block; the sparse flavour carries a second pair of norms and uses only that."""

    def __init__(self, sparse: bool) -> None:
        super().__init__(CHANNELS, HEADS)
        self.sparse = sparse
        if sparse:
            self.masknorm1 = MaskNorm(CHANNELS)
            self.masknorm2 = MaskNorm(CHANNELS)

    def live_norms(self) -> tuple[nn.LayerNorm, nn.LayerNorm]:
        """Return the two norms that inference uses."""
        return (self.masknorm1.norm, self.masknorm2.norm) if self.sparse else (self.norm1, self.norm2)

    def forward(self, x: Tensor, masked_keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the new tokens (B, N, C) and the attention weights (B, heads, N, N)."""
        if not self.sparse:
            return super().forward(x, masked_keys)
        out, weights = self.attn(self.masknorm1(x, masked_keys), masked_keys)
        x = x + out
        x = x + self.mlp(self.masknorm2(x, masked_keys))
        return x, weights


class Backbone(nn.Module):
    """The published `backbone`: all entries of the checkpoint, used or not, under their names."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()

        def table(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(1, rows, CHANNELS))

        self.cls_token = table(1)
        self.pos_embed = table(197)
        self.pos_embed_x = table(SEARCH_TOKENS)
        self.pos_embed_z0 = table(TEMPLATE_TOKENS)
        self.pos_embed_z1 = table(TEMPLATE_TOKENS)
        if sparse:
            self.pos_embed_z = table(TEMPLATE_TOKENS)
            self.prev_position_embeddings = nn.Embedding(12, CHANNELS)
        self.patch_embed = PatchEmbed(PATCH, CHANNELS)
        self.word_embeddings = nn.Embedding(CLASSES, CHANNELS)
        self.position_embeddings = nn.Embedding(COMMANDS, CHANNELS)
        self.output_bias = nn.Parameter(torch.zeros(CLASSES))
        self.blocks = nn.ModuleList(Block(sparse) for _ in range(BLOCKS))
        self.extension = nn.ModuleList(Block(sparse) for _ in range(EXTENSION))
        self.norm = nn.LayerNorm(CHANNELS, eps=1e-6)


@dataclass(frozen=True)
class FarTrackOutput:
    """logits (4, 605); score (49,): the pruning signal of slot 4, sparse flavour only."""

    logits: Tensor
    score: Tensor | None


class FarTrackNet(nn.Module):
    """The published network at a chosen depth (the first `depth` of 12 blocks and 3 extension blocks)."""

    def __init__(self, flavour: str, depth: int) -> None:
        """`flavour` is "frame", "distill" or "sparse"; `depth` 1 to 15."""
        super().__init__()
        self.flavour = flavour
        self.depth = depth
        self.identity = nn.Parameter(torch.zeros(1, SLOTS + 1, CHANNELS))
        self.backbone = Backbone(self.sparse)

    @property
    def sparse(self) -> bool:
        """Whether this is the stage-3 flavour."""
        return self.flavour == "sparse"

    def layers(self) -> list[Block]:
        """Return the blocks that run, in order."""
        every = [*self.backbone.blocks, *self.backbone.extension]
        return every[: self.depth]

    @torch.no_grad()
    def renormalise_commands(self) -> None:
        """Apply the sparse flavour's embedding max_norm of 1 to the four command rows, in place.

        The published code does this at the first lookup; the rows also serve as output weights.
        """
        rows = self.backbone.word_embeddings.weight[COMMAND_ROWS]
        norms = rows.norm(dim=1, keepdim=True)
        rows.copy_(torch.where(norms > 1, rows / (norms + 1e-7), rows))

    def embed(self, templates: list[Tensor], search: Tensor) -> Tensor:
        """Return the 445 input tokens (1, 445, 192) of 5 templates (1, 3, 112, 112) and a search (1, 3, 224, 224).

        Templates use the table `pos_embed_z1`: the published constructor makes all template tables one memory block,
        into which a checkpoint's `pos_embed_z1` is copied last.
        """
        net = self.backbone
        parts = [
            net.patch_embed(image) + net.pos_embed_z1 + self.identity[:, slot : slot + 1]
            for slot, image in enumerate(templates)
        ]
        parts.append(net.patch_embed(search) + self.identity[:, SLOTS:] + net.pos_embed_x)
        parts.append((net.word_embeddings.weight[COMMAND_ROWS] + net.position_embeddings.weight)[None])
        return torch.cat(parts, dim=1)

    def head(self, tokens: Tensor) -> Tensor:
        """Map command tokens (..., 4, 192) to logits (..., 4, 605)."""
        net = self.backbone
        return functional.linear(net.norm(tokens), net.word_embeddings.weight, net.output_bias)

    def forward(self, templates: list[Tensor], search: Tensor, keep: Tensor | None = None) -> FarTrackOutput:
        """Run the published forward pass; `keep` is bool (445,), False = masked key (sparse flavour)."""
        x = self.embed(templates, search)
        masked = None if keep is None else ~keep
        total: Tensor | None = None
        for layer in self.layers():
            x, weights = layer(x, masked)
            if self.sparse:
                total = weights if total is None else total + weights
        score = None if total is None else self._pruning_signal(total)
        return FarTrackOutput(self.head(x[0, -COMMANDS:]), score)

    def exits(self, templates: list[Tensor], search: Tensor) -> Tensor:
        """Return the logits (11, 4, 605) of the exits at depths 5 to 15 that stage 2 trains."""
        x = self.embed(templates, search)
        logits = []
        for depth, layer in enumerate(self.layers(), start=1):
            x, _ = layer(x, None)
            if depth >= FIRST_EXIT:
                logits.append(self.head(x[0, -COMMANDS:]))
        return torch.stack(logits)

    @staticmethod
    def _pruning_signal(total: Tensor) -> Tensor:
        """Pick the search centre's row over slot 4 from the summed weights, mean over heads (spec 3.5)."""
        row = SLOTS * TEMPLATE_TOKENS + SEARCH_CENTRE
        slot = slice((SLOTS - 1) * TEMPLATE_TOKENS, SLOTS * TEMPLATE_TOKENS)
        return total.mean(dim=1)[0, row, slot]
