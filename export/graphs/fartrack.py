"""FARTrack's deployment graphs: exactly the published results with less work.

What the published forward pass computes and nobody reads is left out (spec section 6.2): masked template tokens never
enter, old templates come embedded, constants are folded, the last block runs for the four command tokens alone, and of
all attention weights only the rows that decide what to prune are summed. tests/export/test_fartrack_graphs.py proves
each of these steps.

Tokens are a matrix (N, channels), without the batch axis, and every head is a matrix of its own: a published ViT-Tiny
has 3 heads, and engines that share out whole heads leave one of two cores idle for a third of the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgetrack.export.graphs.patches import PatchRows
from edgetrack.export.models.fartrack_net import (
    CHANNELS,
    COMMAND_ROWS,
    COMMANDS,
    HEADS,
    SEARCH_CENTRE,
    SEARCH_TOKENS,
    SLOTS,
    TEMPLATE_TOKENS,
    Block,
    FarTrackNet,
)

__all__ = ["SearchGraph", "TemplateGraph"]

HEAD_DIM = CHANNELS // HEADS
# Rows are counted from the end, because the number of template tokens before them varies.
CENTRE_ROW = SEARCH_CENTRE - SEARCH_TOKENS - COMMANDS
NEWEST_COLUMNS = slice(-TEMPLATE_TOKENS - SEARCH_TOKENS - COMMANDS, -SEARCH_TOKENS - COMMANDS)


class TemplateGraph(nn.Module):
    """Embeds one template crop, once: image (1, 3, 112, 112) -> tokens (1, 49, 192) without a slot's identity row."""

    def __init__(self, net: FarTrackNet) -> None:
        """`net` is a loaded network."""
        super().__init__()
        self.embed = PatchRows(net.backbone.patch_embed.proj, net.backbone.pos_embed_z1[0])

    def forward(self, image: Tensor) -> Tensor:
        """Return `P(image) + position`."""
        tokens: Tensor = self.embed(image)
        return tokens.unsqueeze(0)


class RowLogits(nn.Module):
    """Attention logits of a few rows over all tokens, without projecting the keys.

    q_i . k_j = (y_i Wq + bq) . (y_j Wk + bk); what comes from bk is the same for every j and cancels in the softmax.
    So the logits are (y_i Wq Wk^T + bq Wk^T) . y_j: one small product for the rows and one with the tokens.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, block: Block) -> None:
        """Fold the query and key projections of `block`, in float64, with the softmax scale."""
        super().__init__()
        weight = block.attn.qkv.weight.detach().double().reshape(3, HEADS, HEAD_DIM, CHANNELS)
        bias = block.attn.qkv.bias.detach().double().reshape(3, HEADS, HEAD_DIM)
        folded = torch.einsum("hdi,hdj->ihj", weight[0], weight[1]) * block.attn.scale
        offset = torch.einsum("hd,hdj->hj", bias[0], weight[1]) * block.attn.scale
        self.register_buffer("weight", folded.reshape(CHANNELS, HEADS * CHANNELS).float())
        self.register_buffer("bias", offset.reshape(HEADS * CHANNELS).float())

    def forward(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Return logits (R * heads, N) of normalised `rows` (R, C) over normalised `tokens` (N, C)."""
        queries = (rows @ self.weight + self.bias).reshape(-1, CHANNELS)
        return queries @ tokens.t()


class FullAttention(nn.Module):
    """Self-attention over all tokens, residual included, every head projected by itself.

    The softmax scale (a power of two) is folded into the queries. The keys' bias cancels in the softmax; the values'
    bias passes through it unchanged, because weights sum to one, and is folded into the output projection's.
    """

    query_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor

    def __init__(self, block: Block) -> None:
        """Fold the projections of `block`."""
        super().__init__()
        query, key, value = block.attn.qkv.weight.detach().reshape(3, HEADS, HEAD_DIM, CHANNELS)
        query_bias, _, value_bias = block.attn.qkv.bias.detach().reshape(3, HEADS, HEAD_DIM)
        projection = block.attn.proj
        for head in range(HEADS):
            self.register_buffer(f"query{head}", (query[head] * block.attn.scale).t().contiguous())
            self.register_buffer(f"key{head}", key[head].clone())  # used from the left: keys come out transposed
            self.register_buffer(f"value{head}", value[head].t().contiguous())
        self.register_buffer("query_bias", query_bias * block.attn.scale)
        self.register_buffer("out_weight", projection.weight.detach().t().contiguous())
        folded = projection.weight.detach().double() @ value_bias.reshape(-1).double()
        self.register_buffer("out_bias", (projection.bias.detach().double() + folded).float())

    def forward(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attend with normalised tokens y and the residual stream x, both (N, C).

        Returns x + Attention(y), and the weights (heads, 49) that the search centre gives the newest template.
        """
        heads, rows = [], []
        transposed = y.t()
        for head in range(HEADS):
            query = y @ self.get_buffer(f"query{head}") + self.query_bias[head]
            key = self.get_buffer(f"key{head}") @ transposed
            weights = torch.softmax(query @ key, dim=-1)
            heads.append(weights @ (y @ self.get_buffer(f"value{head}")))
            rows.append(weights[CENTRE_ROW : CENTRE_ROW + 1, NEWEST_COLUMNS])
        return x + (torch.cat(heads, dim=1) @ self.out_weight + self.out_bias), torch.cat(rows)


class FullBlock(nn.Module):
    """One block for all tokens."""

    def __init__(self, block: Block) -> None:
        """`block` is a published block."""
        super().__init__()
        self.norm1, self.norm2 = block.live_norms()
        self.attention = FullAttention(block)
        self.mlp = block.mlp

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new tokens (N, C) and the pruning signal's rows (heads, 49)."""
        x, rows = self.attention(self.norm1(x), x)
        return x + self.mlp(self.norm2(x)), rows


class LastBlock(nn.Module):
    """The last block for the command tokens alone: nothing reads its other outputs.

    Neither keys nor values are projected: for values, softmax(..) (y Wv) = (softmax(..) y) Wv, and Wv is folded into
    the output projection per head.
    """

    out_weight: Tensor
    out_bias: Tensor

    def __init__(self, block: Block, signal: bool) -> None:
        """`block` is a published block."""
        super().__init__()
        self.norm1, self.norm2 = block.live_norms()
        self.mlp = block.mlp
        self.rows = RowLogits(block)
        self.signal = signal
        value = block.attn.qkv.weight.detach().double()[2 * CHANNELS :].reshape(HEADS, HEAD_DIM, CHANNELS)
        out = block.attn.proj.weight.detach().double()
        folded = torch.einsum("ohd,hdi->hio", out.reshape(CHANNELS, HEADS, HEAD_DIM), value)
        bias = block.attn.proj.bias.detach().double() + out @ block.attn.qkv.bias.detach().double()[2 * CHANNELS :]
        self.register_buffer("out_weight", folded.reshape(HEADS * CHANNELS, CHANNELS).float())
        self.register_buffer("out_bias", bias.float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the command tokens (4, C) and, with `signal`, the pruning signal's rows (heads, 49)."""
        y = self.norm1(x)
        queries = y[-COMMANDS:]
        if self.signal:
            queries = torch.cat([queries, y[CENTRE_ROW : CENTRE_ROW + 1]])
        weights = torch.softmax(self.rows(queries, y), dim=-1)
        pooled = weights[: COMMANDS * HEADS] @ y
        commands = x[-COMMANDS:] + (pooled.reshape(COMMANDS, HEADS * CHANNELS) @ self.out_weight + self.out_bias)
        commands = commands + self.mlp(self.norm2(commands))
        return commands, weights[COMMANDS * HEADS :, NEWEST_COLUMNS] if self.signal else None


class SearchGraph(nn.Module):
    """One tracked frame.

    search (1, 3, 224, 224) normalised RGB; old (1, 4, kept, 192) embedded tokens of slots 0 to 3; newest (1, 49, 192)
    those of slot 4. Returns logits (1, 4, 605) and, sparse flavour only, score (1, 49): the pruning signal of slot 4.
    """

    identity: Tensor
    commands: Tensor
    vocabulary: Tensor
    output_bias: Tensor

    def __init__(self, net: FarTrackNet) -> None:
        """`net` is a loaded network."""
        super().__init__()
        backbone = net.backbone
        *full, last = net.layers()
        self.sparse = net.sparse
        self.embed = PatchRows(backbone.patch_embed.proj, backbone.pos_embed_x[0] + net.identity[0, SLOTS:])
        self.blocks = nn.ModuleList(FullBlock(block) for block in full)
        self.last = LastBlock(last, net.sparse)
        self.norm = backbone.norm
        words = backbone.word_embeddings.weight.detach()
        self.register_buffer("identity", net.identity.detach()[0, :SLOTS].clone())
        self.register_buffer("commands", words[COMMAND_ROWS] + backbone.position_embeddings.weight.detach())
        self.register_buffer("vocabulary", words.t().contiguous())
        self.register_buffer("output_bias", backbone.output_bias.detach().clone())

    def tokens(self, search: Tensor, old: Tensor, newest: Tensor) -> Tensor:
        """Return the tokens (4 kept + 249, 192) before the first block."""
        slots = old[0] + self.identity[: SLOTS - 1].unsqueeze(1)
        return torch.cat(
            [
                slots.reshape(-1, CHANNELS),
                newest[0] + self.identity[SLOTS - 1 :],
                self.embed(search),
                self.commands,
            ]
        )

    def forward(self, search: Tensor, old: Tensor, newest: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        x = self.tokens(search, old, newest)
        signal = []
        for block in self.blocks:
            x, rows = block(x)
            signal.append(rows)
        commands, last_rows = self.last(x)
        logits: Tensor = (self.norm(commands) @ self.vocabulary + self.output_bias).unsqueeze(0)
        if last_rows is None:
            return logits
        return logits, torch.cat([*signal, last_rows]).sum(0, keepdim=True) / HEADS
