"""What an artifact is built from and compared with: a published network with weights in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgetrack.errors import InputError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.compact import completed, score_rule
from edgetrack.export.language import SourceText, TextFiles, text_side_of, with_text_encoder
from edgetrack.export.models import family_of, find_variant
from edgetrack.export.models.language import Tellable
from edgetrack.export.standin import synth_state

if TYPE_CHECKING:
    from torch import nn

    from edgetrack.export.models.base import DeployGraph, ModelFamily, ReferenceTracker, Variant

__all__ = ["STAND_IN", "Source", "load_source"]

STAND_IN = "stand-in"
"""What to give instead of a checkpoint's path for weights that are made up, the same ones for every user."""


@dataclass(frozen=True)
class Source:
    """A loaded network.

    Attributes:
        family: offers graphs, the reference loop and thresholds.
        variant: its entry in the table of variants.
        net: the published network, weights loaded, evaluation mode.
        graphs: its deployment graphs.
        weights: "checkpoint" or "stand-in".
        sha256: of the checkpoint file; of names, shapes and values for stand-in weights.
        seed: of stand-in weights, else None.
        score: of the manifest's `tracker.score`, what came with the weights instead of the family's defaults.
        text: how it reads text; None: it reads none.
    """

    family: ModelFamily
    variant: Variant
    net: nn.Module
    graphs: tuple[DeployGraph, ...]
    weights: str
    sha256: str
    seed: int | None
    score: Mapping[str, Any] | None = None
    text: SourceText | None = None

    @property
    def description(self) -> str:
        """What reports call this."""
        name = f"published loop of {self.variant.name} in PyTorch {torch.__version__}"
        made = f"stand-in weights, seed {self.seed}" if self.seed is not None else "checkpoint"
        return f"{name}, {made} sha256 {self.sha256[:12]}"

    @property
    def tellable(self) -> bool:
        """Whether the published loop can be told what to follow."""
        return self.text is not None and self.text.side.encodes and isinstance(self.family, Tellable)

    def loop(self, text: str | None = None) -> ReferenceTracker:
        """Return the published loop; where it reads text, one that follows a sentence. None: none is given.

        Raises:
            InputError: the sentence cannot be used, is needed and missing, or the loop cannot be told one.
            EngineUnavailable: the package tokenizers is missing.
        """
        if self.text is None:
            return self.family.reference(self.variant.name, self.net)
        if not isinstance(self.family, Tellable):
            raise InputError(
                f"{self.variant.name} reads text, and its published loop here follows one sentence only; take an "
                "artifact of it, which can be told any"
            )
        return self.family.told_reference(self.variant.name, self.net, self.text.inputs(text))


def load_source(variant: str, weights: str | Path, seed: int = 0, text: TextFiles | None = None) -> Source:
    """Build the network of `variant` and load its weights strictly.

    Args:
        variant: a name in the table of variants.
        weights: path of a checkpoint, or "stand-in".
        seed: of stand-in weights; unused with a checkpoint.
        text: what a tracker with language needs besides.

    Raises:
        InputError: no such variant, or its vocabulary cannot be used or is missing.
        CheckpointError: the checkpoint or the text encoder cannot be read, is of another model, or is missing.
    """
    info = find_variant(variant)
    family = family_of(variant)
    net = family.build(variant)
    score = None
    files, made_up = text or TextFiles(), str(weights) == STAND_IN
    files.check(variant, made_up=made_up)
    if made_up:
        side = text_side_of(variant)
        entries = {**family.entries(variant), **(side.entries() if side is not None else {})}
        state = {name: torch.from_numpy(value) for name, value in synth_state(entries, seed).items()}
        sha256, kind, used_seed = _digest(state), STAND_IN, seed
    else:
        checkpoint = load_checkpoint(weights)
        state, sha256, kind, used_seed = checkpoint.state, checkpoint.sha256, "checkpoint", None
        if checkpoint.path.suffix == ".safetensors":
            state, score = completed(family, variant, state), score_rule(checkpoint.metadata, variant)
    state, language = with_text_encoder(variant, state, files, made_up=made_up)
    family.load_state(net, variant, state)
    graphs = tuple(family.deploy_graphs(variant, net.eval()))
    return Source(family, info, net, graphs, kind, sha256, used_seed, score, language)


def _digest(state: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 of names, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name}:{tuple(state[name].shape)}".encode())
        digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()
