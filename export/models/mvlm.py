"""MVLM as a model family: checkpoints with CLIP beside them, deployment graphs, tracker spec, parity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetrack.export.graphs.mvlm import SearchGraph, TemplateGraph
from edgetrack.export.loops.crop import IMAGENET, IMAGENET_MEAN, IMAGENET_STD
from edgetrack.export.loops.mvlm import CLIP_MARGIN_PX, MvlmReference
from edgetrack.export.models.base import Box, DeployGraph, ParityInput, Thresholds, stated_limits
from edgetrack.export.models.clip_text import text_graph
from edgetrack.export.models.language import TextSide
from edgetrack.export.models.mvlm_net import CLIP_PREFIX, TEXT_SHAPE, MvlmNet
from edgetrack.export.models.mvlm_variants import UpdateRule, gate_of, shape_of
from edgetrack.export.models.network_family import NetworkFamily, head_counters
from edgetrack.runtime.clip_tokenizer import TokenRules

__all__ = ["MVLM", "MvlmFamily"]


PROMPT = "the man in white shirt"
PROMPT_IDS = (49406, 518, 786, 530, 1579, 2523, 49407)
"""What the gate tells both sides to follow, as tokens (spec section 3.1): the gate needs no vocabulary."""

# Section 7 of the spec: head maps 5e-6, offsets 3e-5 of a cell, similarities 1e-5, activations 1e-4, which grow with
# values beyond the vectors'; the product's 0.05 px for the loop. A choice that leads by less than twice what a
# similarity may be off is not called clear. fp16 weights move scores and similarities by some 1e-4, and a rectangle's
# edge may rightly fall to the other token, so tensors are reported and boxes judged by overlap, from forced states.
STATED_ON = {"text": 10.8257, "tokens": 3.6727}
THRESHOLDS = {
    "fp32": Thresholds(
        {"text": 1e-4, "tokens": 1e-4, "cls": 5e-6, "boxes": 5e-6, "sims": 1e-5},
        box_px=0.05,
        min_iou=0.99,
        mean_iou=0.999,
        margin=2e-5,
        forced_iou=0.99,
        tensor_scale=STATED_ON,
    ),
    "fp16": Thresholds(
        {}, box_px=float("inf"), min_iou=0.0, mean_iou=0.0, margin=2e-3, corner_px=float("inf"), forced_iou=0.95
    ),
}


UNCERTAIN = 0.05
"""Scores up to this far above the least that is trusted are called uncertain: a lead of a tenth over the threshold."""


class MvlmFamily(NetworkFamily[MvlmNet]):
    """See `ModelFamily`."""

    name = "mvlm"

    def network(self, variant: str) -> MvlmNet:
        """Return the published network without CLIP, parameters unset."""
        return MvlmNet(shape_of(variant))

    def unused(self, variant: str) -> dict[str, str]:  # noqa: ARG002 (the same for all)
        """Return the published entries that inference ignores, and why."""
        return head_counters("head")

    def load_state(self, net: nn.Module, variant: str, state: Mapping[str, Tensor]) -> None:
        """Load a published checkpoint and CLIP's text transformer; see `load_with_text`."""
        _network(net).add_clip(self.load_with_text(net, variant, state, self.text_side(variant)))

    def text_side(self, variant: str) -> TextSide:
        """See `LanguageFamily`; without a sentence a tracker with templates is shown padding alone, as published."""
        shape = shape_of(variant)
        return TextSide(
            encoder=TEXT_SHAPE,
            final_norm=False,
            prefix=CLIP_PREFIX,
            rules=TokenRules(cleaning="openai", context=shape.text_tokens, padding=0, truncate=False),
            feeds=("text",),
            prompt={"ids": _prompt(shape.text_tokens)},
            without_text="padding" if shape.templates else "refuse",
            without_box=not shape.templates,
        )

    def deploy_graphs(self, variant: str, net: nn.Module) -> list[DeployGraph]:
        """Return the graphs `text` (once per sentence), `template` (where there are any) and `search` (one frame)."""
        shape, network = shape_of(variant), _network(net)
        width = shape.channels
        tokens = "N,token,C"
        graphs = []
        if network.text_encoder.clip is not None:
            encoder = nn.Sequential(network.text_encoder.clip, network.text_encoder.text_proj)
            graphs.append(text_graph(encoder, ("text",), shape=(1, shape.text_tokens), layouts={"text": tokens}))
        fed = {
            "search": torch.zeros(1, 3, shape.search_size, shape.search_size),
            "text": torch.zeros(1, shape.text_tokens, width),
        }
        if shape.templates:
            template = DeployGraph(
                role="template",
                module=TemplateGraph(network).eval(),
                inputs={"image": torch.zeros(1, 3, shape.template_size, shape.template_size)},
                outputs=("tokens",),
                layouts={"image": "NCHW", "tokens": tokens},
                crops={"image": IMAGENET},
            )
            graphs.append(template)
            fed["templates"] = torch.zeros(1, shape.templates * shape.template_tokens, width)
        search = DeployGraph(
            role="search",
            module=SearchGraph(network).eval(),
            inputs=fed,
            outputs=("cls", "boxes", "sims"),
            layouts={
                **dict.fromkeys(fed, tokens),
                "search": "NCHW",
                **dict.fromkeys(("cls", "sims"), "N,cell"),
                "boxes": "N,cell,coordinate",
            },
            crops={"search": IMAGENET},
        )
        return [*graphs, search]

    def tracker_spec(self, variant: str) -> dict[str, Any]:
        """Return the manifest's `tracker` object.

        The score is the confidence of the box that was taken, moved from -1..1 into 0..1. Below the gate's threshold
        the published loop searches the whole frame next: the target is lost. These limits are not calibrated.
        """
        shape, gate, rule = shape_of(variant), gate_of(variant), UpdateRule()
        lost = 0.5 * (1 + gate.tau)
        template = {
            "size": shape.template_size,
            "factor": shape.template_factor,
            "tokens": shape.template_tokens,
            "count": shape.templates,
            "update": asdict(rule),
        }
        return {
            "family": self.name,
            "color": "rgb",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "template": template if shape.templates else None,
            "search": {"size": shape.search_size, "factor": shape.search_factor},
            "text": {"tokens": shape.text_tokens, "channels": shape.channels},
            "decode": {"kind": "candidates", "grid": shape.search_grid},
            "gate": asdict(gate),
            "clip_margin_px": CLIP_MARGIN_PX,
            "score": {
                "kind": "margin",
                "calibration": None,
                "uncertain_below": round(lost + UNCERTAIN, 6),
                "lost_below": round(lost, 6),
            },
        }

    @torch.no_grad()
    def text_of(self, net: nn.Module, ids: NDArray[np.int32]) -> Tensor:
        """Return the text features (1, words, C) of token ids (1, words)."""
        features: Tensor = _network(net).text_encoder(torch.from_numpy(ids))
        return features

    def reference(self, variant: str, net: nn.Module) -> MvlmReference:
        """Return the published loop around a loaded network; it follows the gate's sentence."""
        return self.told_reference(variant, net, self.text_side(variant).prompt)

    def told_reference(self, variant: str, net: nn.Module, inputs: Mapping[str, NDArray[Any]]) -> MvlmReference:
        """See `Tellable.told_reference`."""
        return MvlmReference(_network(net), gate_of(variant), self.text_of(net, inputs["ids"]))

    def thresholds(self, variant: str, precision: str) -> Thresholds:
        """Return what the parity gate accepts; InputError where nothing is stated for `precision`."""
        found = stated_limits(self.name, THRESHOLDS, precision)
        if shape_of(variant).templates:
            return found
        limits = {name: limit for name, limit in found.tensor_max_abs.items() if name != "tokens"}
        return replace(found, tensor_max_abs=limits)

    @torch.no_grad()
    def parity_inputs(
        self, variant: str, net: nn.Module, frames: list[NDArray[np.uint8]], box: Box
    ) -> Iterator[ParityInput]:
        """Run the reference loop over RGB `frames` from `box` and yield what each graph is fed there.

        Every frame is looked at in both views, whichever the loop takes. Left out are pictures in which rounding may
        change what a box covers: its similarity then jumps, which says nothing about a graph.
        """
        network = _network(net)
        tracker = self.reference(variant, net)
        yield ParityInput("text", {"ids": _prompt(network.shape.text_tokens)})
        embed = TemplateGraph(network).eval()
        tracker.init(frames[0], box)
        told = {"text": tracker.text.numpy()}
        if tracker.templates:
            yield ParityInput("template", {"image": tracker.templates[0].numpy()})
            told["templates"] = torch.cat([embed(template) for template in tracker.templates], dim=1).numpy()
        for index, frame in enumerate(frames[1:]):
            tracker.is_global = index % 2 == 0
            search, _ = tracker.search_input(frame)
            tracker.update(frame)
            if tracker.step is not None and tracker.step.safe:
                yield ParityInput("search", {"search": search.numpy(), **told})


def _prompt(length: int) -> NDArray[np.int32]:
    """Return the ids (1, length) of the gate's sentence."""
    ids = np.zeros((1, length), np.int32)
    ids[0, : len(PROMPT_IDS)] = PROMPT_IDS
    return ids


def _network(net: nn.Module) -> MvlmNet:
    if not isinstance(net, MvlmNet):
        raise TypeError(f"expected an MvlmNet, got {type(net).__name__}")
    return net


MVLM = MvlmFamily()
