"""ATSTrack as a model family: checkpoints with CLIP beside them, deployment graphs, tracker spec, parity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetrack.export.graphs.atstrack import SearchGraph, TextGraph
from edgetrack.export.graphs.centre import TemplateGraph
from edgetrack.export.loops.atstrack import AtsReference
from edgetrack.export.loops.centre_head import CLIP_MARGIN_PX
from edgetrack.export.loops.crop import IMAGENET, IMAGENET_MEAN, IMAGENET_STD
from edgetrack.export.models.atstrack_net import CLIP_PREFIX, TEXT_SHAPE, AtsNet
from edgetrack.export.models.atstrack_variants import PHRASES, SlotRule, shape_of
from edgetrack.export.models.base import Box, DeployGraph, ParityInput, Thresholds, stated_limits
from edgetrack.export.models.centre import SCORE
from edgetrack.export.models.centre import THRESHOLDS as CENTRE_THRESHOLDS
from edgetrack.export.models.language import TextSide
from edgetrack.export.models.network_family import NetworkFamily, head_counters
from edgetrack.runtime.clip_tokenizer import TokenRules

__all__ = ["ATSTRACK", "AtsFamily"]

START, END = 49406, 49407
PROMPT_IDS = ((16451,), (1449, 537, 1579), (2862,), (525, 518, 2677, 7998))
"""What the gate tells both sides to follow, as tokens: "airplane", "black and white", "standing", "on the tree branch"
(spec section 4.7): the gate needs no vocabulary."""

# Section 7.1 of the spec: 1e-4 of the frame's and the template's outputs, 1e-5 of the text's; the product's 0.05 px for
# the loop. A cell that leads by less than twice what a score may be off is not called clear. fp16 as for the centre
# family: tensors are reported, boxes are judged by overlap.
_TENSORS = dict.fromkeys(("tokens", "qkv", "score", "size", "offset", "vl_state_next"), 1e-4)
THRESHOLDS = {
    "fp32": replace(
        CENTRE_THRESHOLDS["fp32"], tensor_max_abs={**_TENSORS, "lang": 1e-5, "vl_state": 1e-5}, margin=2e-4
    ),
    "fp16": CENTRE_THRESHOLDS["fp16"],
}


class AtsFamily(NetworkFamily[AtsNet]):
    """See `ModelFamily`; there is no published checkpoint, see `edgetrack.export.models.atstrack_init`."""

    name = "atstrack"

    def network(self, variant: str) -> AtsNet:
        """See `NetworkFamily.network`; without CLIP."""
        return AtsNet(shape_of(variant))

    def unused(self, variant: str) -> dict[str, str]:  # noqa: ARG002 (the same for all)
        """Return the entries that inference ignores, and why."""
        return {"backbone.pos_embed": "a source of the other positions", **head_counters("box_head")}

    def load_state(self, net: nn.Module, variant: str, state: Mapping[str, Tensor]) -> None:
        """Load a checkpoint and CLIP's text transformer; see `load_with_text`."""
        _network(net).add_clip(self.load_with_text(net, variant, state, self.text_side(variant)))

    def text_side(self, variant: str) -> TextSide:
        """See `LanguageFamily`; without a description the null token stands in."""
        context = shape_of(variant).phrase_tokens
        ids, mask = _prompt(context)
        return TextSide(
            encoder=TEXT_SHAPE,
            final_norm=True,
            prefix=CLIP_PREFIX,
            rules=TokenRules(cleaning="openai", context=context, padding=0, truncate=True),
            feeds=("vl_state", "lang", "lang_mask"),
            prompt={"ids": ids, "lang_mask": mask},
            form="phrases",
            without_text="empty",
        )

    def deploy_graphs(self, variant: str, net: nn.Module) -> list[DeployGraph]:
        """Return the graphs `text` (once per description), `template` (once per crop) and `search` (one frame)."""
        shape, network = shape_of(variant), _network(net)
        words, width, slots = shape.phrase_tokens, shape.channels, shape.templates * shape.template_tokens
        told = {"lang": torch.zeros(1, PHRASES, words, width), "lang_mask": torch.zeros(1, PHRASES, words)}
        state = torch.zeros(1, 2, width)
        tokens = {"tokens": "N,token,C", "qkv": "N,token,C"}
        phrases = {"lang": "N,phrase,token,C", "lang_mask": "N,phrase,token"}
        graphs = []
        if network.text_encoder is not None:
            ids = torch.zeros(1, PHRASES, words, dtype=torch.int32)
            text = DeployGraph(
                role="text",
                module=TextGraph(network).eval(),
                inputs={"ids": ids, "lang_mask": told["lang_mask"]},
                outputs=("vl_state", "lang"),
                layouts={"ids": "N,phrase,token", "vl_state": "N,token,C", **phrases},
                features=("vl_state", "lang"),
            )
            graphs.append(text)
        template = DeployGraph(
            role="template",
            module=TemplateGraph(network).eval(),
            inputs={"image": torch.zeros(1, 3, shape.template_size, shape.template_size)},
            outputs=tuple(tokens),
            layouts={"image": "NCHW", **tokens},
            features=tuple(tokens),
            crops={"image": IMAGENET},
        )
        maps = ("score", "size", "offset")
        search = DeployGraph(
            role="search",
            module=SearchGraph(network).eval(),
            inputs={
                "search": torch.zeros(1, 3, shape.search_size, shape.search_size),
                "tokens": torch.zeros(1, slots, width),
                "qkv": torch.zeros(1, slots, 3 * width),
                "vl_state": state,
                **told,
            },
            outputs=(*maps, "vl_state_next"),
            layouts={
                "search": "NCHW",
                **tokens,
                **phrases,
                **dict.fromkeys(maps, "NCHW"),
                **dict.fromkeys(("vl_state", "vl_state_next"), "N,token,C"),
            },
            crops={"search": IMAGENET},
        )
        return [*graphs, template, search]

    def tracker_spec(self, variant: str) -> dict[str, Any]:
        """Return the manifest's `tracker` object: a centre head with slots, a description and a state."""
        shape = shape_of(variant)
        return {
            "family": "centre-head",
            "color": "rgb",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "template": {
                "size": shape.template_size,
                "factor": shape.template_factor,
                "slots": {"count": shape.templates, **asdict(SlotRule())},
            },
            "search": {"size": shape.search_size, "factor": shape.search_factor},
            "told": ["vl_state", "lang", "lang_mask"],
            "state": {"output": "vl_state_next", "input": "vl_state", "kept": shape.channels},
            "decode": {"kind": "centre", "grid": shape.search_grid, "window": "hann"},
            "clip_margin_px": CLIP_MARGIN_PX,
            "score": dict(SCORE),
        }

    def reference(self, variant: str, net: nn.Module) -> AtsReference:
        """Return the loop around a loaded network; it follows the gate's phrases."""
        return self.told_reference(variant, net, self.text_side(variant).prompt)

    @torch.no_grad()
    def told_reference(self, variant: str, net: nn.Module, inputs: Mapping[str, NDArray[Any]]) -> AtsReference:  # noqa: ARG002
        """See `Tellable.told_reference`."""
        ids, mask = torch.from_numpy(inputs["ids"]), torch.from_numpy(inputs["lang_mask"])
        return AtsReference(_network(net), _network(net).describe(ids, mask))

    def thresholds(self, variant: str, precision: str) -> Thresholds:  # noqa: ARG002 (the same for all)
        """Return what the parity gate accepts; InputError where nothing is stated for `precision`."""
        return stated_limits(self.name, THRESHOLDS, precision)

    @torch.no_grad()
    def parity_inputs(
        self, variant: str, net: nn.Module, frames: list[NDArray[np.uint8]], box: Box
    ) -> Iterator[ParityInput]:
        """Run the reference loop over RGB `frames` from `box` and yield what each graph is fed there."""
        tracker = self.reference(variant, net)
        yield ParityInput("text", dict(self.text_side(variant).prompt))
        tracker.init(frames[0], box)
        yield ParityInput("template", {"image": tracker.template_input(frames[0]).numpy()})
        first = _network(net).backbone.layers()[0]
        told = {"lang": tracker.told.lang.numpy(), "lang_mask": tracker.told.mask.numpy()}
        for frame in frames[1:]:
            search, _ = tracker.search_input(frame)
            tokens = torch.cat(tracker.slots, dim=1)
            cached = {"tokens": tokens.numpy(), "qkv": first.attn.qkv(first.norm1(tokens)).numpy()}
            fed = {"search": search.numpy(), **cached, "vl_state": tracker.state.numpy(), **told}
            tracker.update(frame)
            yield ParityInput("search", fed)


def _prompt(context: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return ids and mask (1, 4, context) of the gate's phrases."""
    ids = np.zeros((1, PHRASES, context), np.int32)
    mask = np.zeros((1, PHRASES, context), np.float32)
    for row, phrase in enumerate(PROMPT_IDS):
        ids[0, row, : len(phrase) + 2] = (START, *phrase, END)
        mask[0, row, 1 : len(phrase) + 2] = 1
    return ids, mask


def _network(net: nn.Module) -> AtsNet:
    if not isinstance(net, AtsNet):
        raise TypeError(f"expected an AtsNet, got {type(net).__name__}")
    return net


ATSTRACK = AtsFamily()
