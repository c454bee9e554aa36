"""Stage 3 explores: the tracker follows clips with its own boxes, in lockstep, and records what it saw (spec 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgetrack.export.loops.fartrack import BINS, SEARCH_FACTOR, SEARCH_SIZE, TEMPLATE_FACTOR, TEMPLATE_SIZE
from edgetrack.export.models.fartrack_net import (
    COMMANDS,
    SEARCH_CENTRE,
    SEARCH_TOKENS,
    SLOTS,
    TEMPLATE_TOKENS,
    FarTrackNet,
)
from edgetrack.export.train.sequence_crops import SequenceCrops, centre_form, corners_in_crop, place

if TYPE_CHECKING:
    from edgetrack.export.train.bank import ImageBank
    from edgetrack.export.train.network import TrainNet
    from edgetrack.export.train.sequence import Clip

__all__ = ["Episode", "Explorer", "first_forward", "kept_tokens"]


class Episode(NamedTuple):
    """What the tracker saw in one clip; F tracked frames.

    Attributes:
        name: the clip's, for messages.
        templates: float32 (5, 3, 112, 112) normalised RGB, ground truth, the same for all frames.
        search: float32 (F, 3, 224, 224) normalised RGB around the boxes that the tracker had.
        keep: bool (F, 445), the keys that take part in each frame.
        corners: float32 (F, 4) x1, y1, x2, y2 of the truth in crop units, wherever it lies.
    """

    name: str
    templates: Tensor
    search: Tensor
    keep: Tensor
    corners: Tensor


def first_forward(net: FarTrackNet, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Run the network without a mask and return what pruning needs (spec section 3.5, per slot).

    Only the attention row of the search's centre token is computed; the attention itself stays fused.

    Args:
        net: of any depth.
        tokens: (B, 445, 192) as `FarTrackNet.embed` makes them.

    Returns:
        Logits (B, 4, 605) and the scores (B, 5, 49) of the template tokens in their slots: the attention paid to them,
        mean over heads, summed over layers.
    """
    row, columns = SLOTS * TEMPLATE_TOKENS + SEARCH_CENTRE, SLOTS * TEMPLATE_TOKENS
    total = torch.zeros(len(tokens), columns, device=tokens.device)
    for layer in net.layers():
        before, between = layer.live_norms()
        q, k, v = layer.attn.split(before(tokens))
        paid = ((q[:, :, row : row + 1] * layer.attn.scale) @ k.transpose(-2, -1)).softmax(-1)
        total = total + paid[:, :, 0, :columns].mean(1)
        out = functional.scaled_dot_product_attention(q, k, v, scale=layer.attn.scale)
        tokens = tokens + layer.attn.proj(out.transpose(1, 2).flatten(2))
        tokens = tokens + layer.mlp(between(tokens))
    return net.head(tokens[:, -COMMANDS:]), total.view(-1, SLOTS, TEMPLATE_TOKENS)


def kept_tokens(scores: Tensor, pruned: int) -> Tensor:
    """Return which keys (B, 445) stay: slots 0 to 3 lose the `pruned` tokens of lowest `scores` (B, 5, 49) each."""
    keep = torch.ones_like(scores, dtype=torch.bool)
    lowest = scores[:, :-1].argsort(dim=-1)[..., :pruned]
    keep[:, :-1].scatter_(2, lowest, value=False)
    rest = keep.new_ones(len(keep), SEARCH_TOKENS + COMMANDS)
    return torch.cat([keep.flatten(1), rest], dim=1)


class Explorer:
    """Follows clips with the network as it is: evaluation mode, no gradient, five fixed templates."""

    def __init__(self, model: TrainNet, bank: ImageBank, pruned: int) -> None:
        """`pruned` tokens of each old template are dropped after the first tracked frame."""
        self._model = model
        self._crops = SequenceCrops(bank)
        self._device = bank.device
        self._pruned = pruned

    @torch.no_grad()
    def __call__(self, clips: Sequence[Clip]) -> list[Episode]:
        """Track the clips, all of one length, frame by frame together; the model's mode is as before afterwards."""
        training = self._model.training
        self._model.eval()
        try:
            return self._explore(clips)
        finally:
            self._model.train(training)
            # Older PyTorch would give weights that autocast converted here, without gradient, to the update as well.
            torch.clear_autocast_cache()

    def _explore(self, clips: Sequence[Clip]) -> list[Episode]:
        boxes = centre_form(self._stack(clips, "template_boxes")).flatten(0, 1)
        shown, _ = self._crops(self._stack(clips, "template_images").flatten(), boxes, TEMPLATE_FACTOR, TEMPLATE_SIZE)
        templates = shown.view(len(clips), SLOTS, *shown.shape[1:])
        images, truth = self._stack(clips, "images"), centre_form(self._stack(clips, "boxes"))
        state, keep = truth[:, 0], None
        seen: list[tuple[Tensor, Tensor, Tensor]] = []
        for frame in range(1, images.shape[1]):
            search, side = self._crops(images[:, frame], state, SEARCH_FACTOR, SEARCH_SIZE)
            logits, following = self._forward(templates, search, keep)
            used = torch.ones_like(following) if keep is None else keep
            seen.append((search, used, corners_in_crop(truth[:, frame], state, side).float()))
            corners = logits.argmax(-1).double() / (BINS - 1) - 0.5
            state, keep = place(corners, state, side, self._crops.frame_size(images[:, frame])), following
        search, kept, targets = (torch.stack(parts, dim=1) for parts in zip(*seen, strict=True))
        return [
            Episode(clip.name, *tensors) for clip, *tensors in zip(clips, templates, search, kept, targets, strict=True)
        ]

    def _stack(self, clips: Sequence[Clip], name: str) -> Tensor:
        """Return one array of every clip as a tensor (B, ...) on the bank's device."""
        return torch.as_tensor(np.stack([getattr(clip, name) for clip in clips]), device=self._device)

    def _forward(self, templates: Tensor, search: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the logits (B, 4, 605) and the keys (B, 445) that stay from the next frame on."""
        if keep is not None:
            return self._model(templates, search, keep)[-1], keep
        net = self._model.net
        tokens = torch.cat(
            [net.embed(list(shown.split(1)), image[None]) for shown, image in zip(templates, search, strict=True)]
        )
        logits, scores = first_forward(net, tokens)
        return logits, kept_tokens(scores, self._pruned)
