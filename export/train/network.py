"""The network as it is trained: batches, several exits, drop path, fused attention, around the published parameters.

Nothing is added to the published network but an optional auxiliary head that is not part of the saved weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.errors import InputError
from edgetrack.export.models.fartrack_net import (
    BLOCKS,
    CHANNELS,
    COMMAND_ROWS,
    COMMANDS,
    EXTENSION,
    SEARCH_TOKENS,
    SLOTS,
    TEMPLATE_TOKENS,
    Block,
    FarTrackNet,
)

__all__ = ["TrainNet", "TrainOutput", "drop_path_rates"]

MAX_DEPTH = BLOCKS + EXTENSION


class TrainOutput(NamedTuple):
    """What a batch gave.

    logits float (E, B, 4, 605), from the shallowest exit to the deepest; aux (B, 196) logits, or None; attention
    (B, heads, 4, 196): logarithm of the weights that the command tokens give the search tokens in the last layer, or
    None.
    """

    logits: Tensor
    aux: Tensor | None
    attention: Tensor | None = None


def drop_path_rates(rate: float) -> list[float]:
    """Return the drop-path rate of the 15 layers: 0 to `rate` over the blocks, the extension as the first three."""
    blocks = [rate * index / (BLOCKS - 1) for index in range(BLOCKS)]
    return [*blocks, *blocks[:EXTENSION]]


class TrainNet(nn.Module):
    """Wraps a `FarTrackNet`; its mathematics are those of `FarTrackNet.forward`, in batches.

    Attributes:
        net: the published network; its parameters are what is trained and saved.
        aux: a linear layer from a search token to one logit, "the target is here"; None without auxiliary loss.
    """

    def __init__(self, net: FarTrackNet, *, drop_path: float = 0.0, aux: bool = False, guided: bool = False) -> None:
        """Freeze what the forward pass does not use, so that no optimiser touches it.

        Args:
            net: of any flavour; its depth is the deepest exit.
            drop_path: largest rate, see `drop_path_rates`.
            aux: whether to add the auxiliary head.
            guided: whether training also returns the command tokens' attention in the last layer.
        """
        super().__init__()
        self.net = net
        self._guided = guided
        self.aux = nn.Linear(CHANNELS, 1) if aux else None
        self._rates = drop_path_rates(drop_path)
        used = _used_names(net)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in used)

    @property
    def depth(self) -> int:
        """The deepest exit."""
        return self.net.depth

    def forward(
        self,
        templates: Tensor,
        search: Tensor,
        keep: Tensor | None = None,
        slots: Sequence[int] | None = None,
        exits: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the logits (E, B, 4, 605) of `run`."""
        return self.run(templates, search, keep, slots, exits).logits

    def run(
        self,
        templates: Tensor,
        search: Tensor,
        keep: Tensor | None = None,
        slots: Sequence[int] | None = None,
        exits: Sequence[int] | None = None,
    ) -> TrainOutput:
        """Run the network on a batch.

        Args:
            templates: float (B, S, 3, 112, 112) normalised RGB, S from 1 to 5.
            search: float (B, 3, 224, 224) normalised RGB.
            keep: bool (B, S * 49 + 200), False = the token is no key for any query; None = all are. What comes out of
                the sparse flavour is the same whether such tokens are masked or left out.
            slots: which identity row each template gets; default 0 to S - 1.
            exits: depths to read logits at, ascending; default the network's depth.

        Raises:
            InputError: slots or exits that do not exist or do not fit.
        """
        chosen = self._checked_slots(templates.shape[1], slots)
        depths = self._checked_exits(exits)
        if self.net.sparse and self.training:
            self.net.renormalise_commands()
        x = self._embed(templates, search, chosen)
        mask = None
        if keep is not None:
            x, mask = _leave_out(x, keep)
        logits, aux, attention = [], None, None
        for depth, layer in enumerate(self.net.layers()[: depths[-1]], start=1):
            rate = self._rates[depth - 1] if self.training else 0.0
            last = depth == depths[-1]
            if last and self.aux is not None and self.training:
                # Before the last layer: there the command tokens are the only ones that still need computing.
                aux = self.aux(x[:, -SEARCH_TOKENS - COMMANDS : -COMMANDS]).squeeze(-1)
            if last and self._guided and self.training:
                x, attention = _run_guided(layer, x, mask, rate)
            else:
                x = _run_block(layer, x, mask, rate, COMMANDS if last else x.shape[1])
            if depth in depths:
                logits.append(self.net.head(x[:, -COMMANDS:]))
        return TrainOutput(torch.stack(logits), aux, attention)

    def published_state(self) -> dict[str, Tensor]:
        """Return the weights under the published names, float32 on the CPU.

        All template tables get the trained values: the published forward pass refers to `pos_embed_z0` and sees
        `pos_embed_z1` (spec section 2), so that a file with both equal means the same to every reader.
        """
        state = {
            name: value.detach().to("cpu", torch.float32, copy=True) for name, value in self.net.state_dict().items()
        }
        for name in ("backbone.pos_embed_z0", "backbone.pos_embed_z"):
            if name in state:
                state[name] = state["backbone.pos_embed_z1"].clone()
        return state

    def _embed(self, templates: Tensor, search: Tensor, slots: Sequence[int]) -> Tensor:
        """Return the tokens (B, S * 49 + 200, 192)."""
        net, identity = self.net.backbone, self.net.identity
        batch, count = templates.shape[:2]
        patches = net.patch_embed(templates.flatten(0, 1)).view(batch, count, TEMPLATE_TOKENS, CHANNELS)
        rows = identity[0, :count] if tuple(slots) == tuple(range(count)) else identity[0, list(slots)]
        z = (patches + (net.pos_embed_z1 + rows[:, None])).flatten(1, 2)
        x = net.patch_embed(search) + (identity[:, SLOTS:] + net.pos_embed_x)
        commands = net.word_embeddings.weight[COMMAND_ROWS] + net.position_embeddings.weight
        return torch.cat((z, x, commands.expand(batch, -1, -1).to(x.dtype)), 1)

    @staticmethod
    def _checked_slots(count: int, slots: Sequence[int] | None) -> Sequence[int]:
        chosen = range(count) if slots is None else slots
        if len(chosen) != count or not all(0 <= slot < SLOTS for slot in chosen):
            raise InputError(f"slots {list(chosen)} for {count} templates; give one of 0 to {SLOTS - 1} for each")
        return chosen

    def _checked_exits(self, exits: Sequence[int] | None) -> list[int]:
        chosen = [self.depth] if exits is None else list(exits)
        if not chosen or chosen != sorted(set(chosen)) or chosen[0] < 1 or chosen[-1] > self.depth:
            raise InputError(f"exits {chosen}; give ascending depths from 1 to {self.depth}")
        return chosen


def _used_names(net: FarTrackNet) -> set[str]:
    """Return the names of the parameters that the forward pass of `net` reads."""
    names = {"identity"}
    shared = ("pos_embed_x", "pos_embed_z1", "patch_embed.", "word_embeddings.", "position_embeddings.", "output_bias")
    layers = [f"blocks.{index}." for index in range(BLOCKS)] + [f"extension.{index}." for index in range(EXTENSION)]
    unused_norms = (".norm1.", ".norm2.") if net.sparse else ()
    for name, _ in net.named_parameters():
        inner = name.removeprefix("backbone.")
        in_layer = inner.startswith(tuple(layers[: net.depth])) and not any(norm in inner for norm in unused_norms)
        if inner.startswith((*shared, "norm.")) or in_layer:
            names.add(name)
    return names


def _leave_out(x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
    """Drop the tokens that no query reads; where samples keep different counts, return a mask for the rest."""
    counts = keep.sum(1)
    most = int(counts.max())
    # Stable: kept tokens first, in their order, so that the command tokens stay last among them.
    order = torch.argsort(~keep, dim=1, stable=True)[:, :most]
    if bool((counts == most).all()):
        return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1])), None
    return x, keep[:, None, None, :]


def _run_block(layer: Block, x: Tensor, mask: Tensor | None, rate: float, queries: int) -> Tensor:
    """Run a layer and return its last `queries` tokens (B, queries, 192); the others are keys and values only."""
    q, k, v = _projected(layer, x, queries)
    out = _attend(q, k, v, mask)
    return _finish_block(layer, x[:, -queries:], out, rate)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Return what the queries (B, heads, n, 64) read from the values (B, heads, tokens, 64)."""
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # On a CPU the plain products run in bfloat16 units, which PyTorch's fused kernel hardly uses: a training step of
    # Pico takes 0.7 times as long so.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.matmul(scores.softmax(-1).to(v.dtype), v)


def _run_guided(layer: Block, x: Tensor, mask: Tensor | None, rate: float) -> tuple[Tensor, Tensor]:
    """Run a layer for the command tokens; also return `TrainOutput.attention`."""
    q, k, v = _projected(layer, x, COMMANDS)
    scores = q @ k.transpose(-2, -1) * layer.attn.scale
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.float().log_softmax(-1)
    out = weights.exp().to(v.dtype) @ v
    return _finish_block(layer, x[:, -COMMANDS:], out, rate), weights[..., -SEARCH_TOKENS - COMMANDS : -COMMANDS]


def _projected(layer: Block, x: Tensor, queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return q of the last `queries` tokens, k and v of all: (B, heads, tokens, 64)."""
    norm1, _ = layer.live_norms()
    heads = layer.attn.heads
    batch, count, channels = x.shape
    normed = norm1(x)
    if queries == count:
        return layer.attn.split(normed)
    weight, bias = layer.attn.qkv.weight, layer.attn.qkv.bias
    rest = functional.linear(normed, weight[channels:], bias[channels:])
    k, v = rest.view(batch, count, 2, heads, channels // heads).permute(2, 0, 3, 1, 4)
    few = functional.linear(normed[:, -queries:], weight[:channels], bias[:channels])
    return few.view(batch, queries, heads, channels // heads).transpose(1, 2), k, v


def _finish_block(layer: Block, x: Tensor, out: Tensor, rate: float) -> Tensor:
    """Add the attention's output (B, heads, n, 64) and the MLP to the residual stream x (B, n, 192)."""
    _, norm2 = layer.live_norms()
    x = x + _drop_path(layer.attn.proj(out.transpose(1, 2).flatten(2)), rate)
    return x + _drop_path(layer.mlp(norm2(x)), rate)


def _drop_path(branch: Tensor, rate: float) -> Tensor:
    """Leave a residual branch out of some samples and make up for it in the others."""
    if rate == 0:
        return branch
    keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= rate
    return branch * (keep.to(branch.dtype) / (1 - rate))
