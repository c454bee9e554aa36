"""What every family does whose variants are one network each with the checkpoint's own entries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from edgetrack.errors import CheckpointError
from edgetrack.export.clip_files import text_transformer
from edgetrack.export.models.centre_head import BRANCHES, HEAD_WIDTHS
from edgetrack.export.models.clip_text import ClipText
from edgetrack.export.models.language import TextSide
from edgetrack.export.models.strict import check_entries

__all__ = ["NetworkFamily", "head_counters"]

NetT = TypeVar("NetT", bound=nn.Module)


class NetworkFamily(ABC, Generic[NetT]):
    """The part of `ModelFamily` that follows from the network."""

    name: str

    @abstractmethod
    def network(self, variant: str) -> NetT:
        """Return the published network, parameters unset."""

    def build(self, variant: str) -> NetT:
        """Return the published network, evaluation mode; its memory is untouched until its weights are loaded."""
        with torch.device("meta"):
            net = self.network(variant)
        return net.to_empty(device="cpu").eval()

    def entries(self, variant: str) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of the published checkpoint."""
        with torch.device("meta"):
            net = self.network(variant)
        return {name: tuple(value.shape) for name, value in net.state_dict().items()}

    def load_published(self, net: nn.Module, variant: str, state: Mapping[str, Tensor]) -> None:
        """Load a published checkpoint strictly; the network then uses the tensors of `state`, as far as they fit.

        Raises:
            CheckpointError: see `check_entries`.
        """
        check_entries(self, variant, state)
        own = net.state_dict()
        net.load_state_dict({name: value.to(own[name]) for name, value in state.items()}, strict=True, assign=True)

    def load_with_text(self, net: nn.Module, variant: str, state: Mapping[str, Tensor], side: TextSide) -> ClipText:
        """Load a published checkpoint and return the text transformer, whose names begin with `side.prefix`.

        Raises:
            CheckpointError: there is no text transformer; see `load_published` and `text_transformer` for the rest.
        """
        text = {name: value for name, value in state.items() if name.startswith(side.prefix)}
        self.load_published(net, variant, {name: value for name, value in state.items() if name not in text})
        if not text:
            raise CheckpointError(
                f"the checkpoint of {variant} is published without its text encoder; give {side.encoder.name}'s "
                "weights too"
            )
        bare = {name.removeprefix(side.prefix): value for name, value in text.items()}
        return text_transformer(bare, side.encoder, final_norm=side.final_norm)


def head_counters(head: str) -> dict[str, str]:
    """Return the entries of a centre head, called `head` in the checkpoint, that inference ignores, and why."""
    return {
        f"{head}.conv{number}_{branch}.1.num_batches_tracked": "BatchNorm's count of training steps"
        for branch in BRANCHES
        for number in range(1, len(HEAD_WIDTHS) + 1)
    }
