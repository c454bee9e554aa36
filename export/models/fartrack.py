"""FARTrack as a model family: variants, checkpoints, deployment graphs, tracker spec, parity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetrack.export.graphs.fartrack import SearchGraph, TemplateGraph
from edgetrack.export.loops import fartrack as loop
from edgetrack.export.loops.crop import IMAGENET, IMAGENET_MEAN, IMAGENET_STD, ImageNormaliser, crop
from edgetrack.export.models import find_variant
from edgetrack.export.models.base import Box, DeployGraph, ParityInput, Thresholds, stated_limits
from edgetrack.export.models.fartrack_net import (
    BLOCKS,
    CHANNELS,
    CLASSES,
    EXTENSION,
    SLOTS,
    TEMPLATE_TOKENS,
    FarTrackNet,
)
from edgetrack.export.models.fartrack_variants import kept_tokens
from edgetrack.export.models.strict import check_entries

__all__ = ["FARTRACK", "FarTrackFamily"]

HISTORY_LIMIT_MIB = 60
# Spec section 7. fp32: exact to rounding, the same tokens kept; the loop has the product's bound, 0.05 px. fp16: logits
# within 5e-2, decoded boxes within 0.5 px, two swapped tokens. The margins follow from the limits: two logits that are
# each off by the limit may change places below twice it. With soft labels neighbouring bins are that close in almost
# every frame: there a corner is judged by how far they lie apart (near_px: 8 bins, the radius of the score, of which
# half count). The closed loop is judged where the reference follows the target: after one decision turned by rounding
# the two sides look at different pictures, and only a target brings them together again.
# int8: the spec states nothing. Rounding to 8 bits moves logits by some hundredths of their range; a graph with wrong
# weights, normalisation or layers is off by half of it and more. A corner may be off by 2 % of the crop's side beyond
# its reach, for the mean over all bins moves too. Which tokens stay is reported and not judged.
# The limits on tensors were stated on vectors with values up to STATED_ON; trained weights give larger ones (attention
# an order of magnitude).
STATED_ON = {"tokens": 4.4384, "logits": 4.2991, "score": 0.04414}
THRESHOLDS = {
    "fp32": Thresholds(
        {"tokens": 5e-5, "logits": 2e-5, "score": 1e-6},
        0.05,
        0.99,
        0.999,
        swapped=0,
        margin=4e-5,
        tensor_scale=STATED_ON,
    ),
    "fp16": Thresholds(
        {"tokens": 5e-2, "logits": 5e-2},
        float("inf"),
        0.0,
        0.0,
        swapped=2,
        margin=0.1,
        near_px=3.0,
        corner_px=0.5,
        tensor_scale=STATED_ON,
        followed_iou=0.95,
    ),
    **dict.fromkeys(
        ("int8", "mixed"),
        Thresholds(
            {"tokens": 0.2, "logits": 0.5},
            float("inf"),
            0.0,
            0.0,
            margin=1.0,
            near_px=7.5,
            corner_px=4.5,
            tensor_scale=STATED_ON,
            followed_iou=0.9,
        ),
    ),
}
# The probability within 8 of 299 bins, about a tenth of the target's size. A uniform guess has 17/600 = 0.028 there, so
# these defaults tell guessing from knowing; they are not calibrated.
SCORE = {"kind": "bin-mass", "radius": 8, "calibration": None, "uncertain_below": 0.3, "lost_below": 0.1}


class FarTrackFamily:
    """See `ModelFamily`."""

    name = "fartrack"

    def build(self, variant: str) -> FarTrackNet:
        """Return the published network, evaluation mode."""
        found = find_variant(variant)
        return FarTrackNet(found.flavour, found.depth).eval()

    def entries(self, variant: str) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of the published checkpoint (every depth publishes all 15 layers)."""
        with torch.device("meta"):
            net = FarTrackNet(find_variant(variant).flavour, BLOCKS + EXTENSION)
        return {name: tuple(value.shape) for name, value in net.state_dict().items()}

    def unused(self, variant: str) -> dict[str, str]:
        """Return the published entries (prefixes end in '.') that inference ignores, and why."""
        found = find_variant(variant)
        reasons = {
            "backbone.cls_token": "left from the MAE initialisation",
            "backbone.pos_embed": "left from the MAE initialisation",
            "backbone.pos_embed_z0": "overwritten by pos_embed_z1 when the published code loads the file",
        }
        if found.flavour == "sparse":
            reasons["backbone.pos_embed_z"] = "overwritten by pos_embed_z1 when the published code loads the file"
            reasons["backbone.prev_position_embeddings.weight"] = "the trajectory input is dead"
            for layer in self._layers(found.depth):
                for norm in ("norm1.", "norm2."):
                    reasons[layer + norm] = "replaced by the masked norm"
        for layer in self._layers(BLOCKS + EXTENSION)[found.depth :]:
            reasons[layer] = f"{variant} runs the first {found.depth} layers"
        return reasons

    def load_state(self, net: nn.Module, variant: str, state: Mapping[str, Tensor]) -> None:
        """Load a published checkpoint strictly and fold the embedding's max_norm (sparse flavour).

        Raises:
            CheckpointError: see `check_entries`.
        """
        check_entries(self, variant, state)
        net.load_state_dict(dict(state), strict=True)
        if isinstance(net, FarTrackNet) and net.sparse:
            net.renormalise_commands()

    def deploy_graphs(self, variant: str, net: nn.Module) -> list[DeployGraph]:
        """Return the graphs `template` (one crop to tokens) and `search` (one tracked frame)."""
        found, network = find_variant(variant), _network(net)
        sparse = found.flavour == "sparse"
        kept = kept_tokens(variant)
        pruning = kept < TEMPLATE_TOKENS
        template = DeployGraph(
            role="template",
            module=TemplateGraph(network).eval(),
            inputs={"image": torch.zeros(1, 3, loop.TEMPLATE_SIZE, loop.TEMPLATE_SIZE)},
            outputs=("tokens",),
            layouts={"image": "NCHW", "tokens": "N,token,C"},
            features=("tokens",),
            crops={"image": IMAGENET},
        )
        layouts = {"search": "NCHW", "old": "N,slot,token,C", "newest": "N,token,C", "logits": "N,coordinate,class"}
        search = DeployGraph(
            role="search",
            module=SearchGraph(network).eval(),
            inputs={
                "search": torch.zeros(1, 3, loop.SEARCH_SIZE, loop.SEARCH_SIZE),
                "old": torch.zeros(1, SLOTS - 1, kept, CHANNELS),
                "newest": torch.zeros(1, TEMPLATE_TOKENS, CHANNELS),
            },
            outputs=("logits", "score") if sparse else ("logits",),
            dims={"old": {2: "kept"}} if pruning else {},
            values={"kept": (kept, TEMPLATE_TOKENS)} if pruning else {},
            layouts={**layouts, "score": "N,token"} if sparse else layouts,
            crops={"search": IMAGENET},
        )
        return [template, search]

    def tracker_spec(self, variant: str) -> dict[str, Any]:
        """Return the manifest's `tracker` object."""
        flavour = find_variant(variant).flavour
        sparse = flavour == "sparse"
        return {
            "family": self.name,
            "color": "rgb",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "template": {
                "size": loop.TEMPLATE_SIZE,
                "factor": loop.TEMPLATE_FACTOR,
                "tokens": TEMPLATE_TOKENS,
                "channels": CHANNELS,
                "slots": SLOTS,
            },
            "search": {"size": loop.SEARCH_SIZE, "factor": loop.SEARCH_FACTOR},
            "decode": {
                "kind": "bins",
                "bins": loop.BINS,
                "range": loop.RANGE,
                "classes": CLASSES,
                "expectation": sparse,
            },
            "templates": {
                "sampling": "exponential",
                "early": "distill" if flavour == "distill" else "shift",
                "prune": TEMPLATE_TOKENS - kept_tokens(variant),
            },
            "memory": {"limit_mib": HISTORY_LIMIT_MIB},
            "clip_margin_px": loop.CLIP_MARGIN_PX,
            "score": dict(SCORE),
        }

    def reference(self, variant: str, net: nn.Module) -> loop.FarTrackReference:
        """Return the published loop around a loaded network."""
        return loop.FarTrackReference(_network(net), pruned=TEMPLATE_TOKENS - kept_tokens(variant))

    def thresholds(self, variant: str, precision: str) -> Thresholds:
        """Return what the parity gate accepts; InputError where nothing is stated for `precision`."""
        found = stated_limits(self.name, THRESHOLDS, precision)
        if kept_tokens(variant) == TEMPLATE_TOKENS:
            found = replace(found, swapped=None)
        if find_variant(variant).flavour == "sparse":
            return found
        limits = {name: limit for name, limit in found.tensor_max_abs.items() if name != "score"}
        return replace(found, tensor_max_abs=limits)

    @torch.no_grad()
    def parity_inputs(
        self, variant: str, net: nn.Module, frames: list[NDArray[np.uint8]], box: Box
    ) -> Iterator[ParityInput]:
        """Run the reference loop over RGB `frames` from `box` and yield what each graph is fed there."""
        network = _network(net)
        embed, normalise = TemplateGraph(network).eval(), ImageNormaliser(IMAGENET_MEAN, IMAGENET_STD)
        tracker = self.reference(variant, net)
        tracker.init(frames[0], box)
        for frame in frames[1:]:
            newest = tracker.templates[tracker.slots[-1]]
            yield ParityInput("template", {"image": newest.numpy()})
            patch, _, _ = crop(frame, tracker.box, loop.SEARCH_FACTOR, loop.SEARCH_SIZE)
            mask = tracker.key_mask()
            keep = torch.ones(SLOTS * TEMPLATE_TOKENS, dtype=torch.bool) if mask is None else mask
            rows = [
                embed(tracker.templates[k])[0, keep[slot * TEMPLATE_TOKENS : (slot + 1) * TEMPLATE_TOKENS]]
                for slot, k in enumerate(tracker.slots)
            ]
            search = {
                "search": normalise(patch).numpy(),
                "old": torch.stack(rows[:-1])[None].numpy(),
                "newest": rows[-1][None].numpy(),
            }
            yield ParityInput("search", search)
            tracker.update(frame)

    @staticmethod
    def _layers(count: int) -> list[str]:
        names = [f"backbone.blocks.{i}." for i in range(BLOCKS)] + [
            f"backbone.extension.{i}." for i in range(EXTENSION)
        ]
        return names[:count]


def _network(net: nn.Module) -> FarTrackNet:
    if not isinstance(net, FarTrackNet):
        raise TypeError(f"expected a FarTrackNet, got {type(net).__name__}")
    return net


FARTRACK = FarTrackFamily()
