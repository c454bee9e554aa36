"""What OSTrack and GRM have in common as model families; each adds its network, search graph and words on its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetrack.export.graphs.centre import TemplateGraph
from edgetrack.export.loops.centre_head import CLIP_MARGIN_PX, CentreReference
from edgetrack.export.loops.crop import IMAGENET, IMAGENET_MEAN, IMAGENET_STD
from edgetrack.export.models.base import Box, DeployGraph, ParityInput, Thresholds, stated_limits
from edgetrack.export.models.centre_net import CentreNet
from edgetrack.export.models.centre_variants import shape_of
from edgetrack.export.models.network_family import NetworkFamily, head_counters

__all__ = ["CentreFamily"]

# Sections 7 of the specs. fp32: score 1e-6, size 2e-6, offset 5e-6, activations 1e-4, and the product's 0.05 px for the
# loop; a cell that leads by less than 1e-5 is not called robust there. fp16: eliminations and divisions may rightly
# turn, so the maps are reported and boxes are judged by overlap, from forced states. 0.95 is what half a pixel of the
# network's input at every corner leaves of a box of 40 x 40; weights rounded to half precision move scores by some
# 1e-4, so a lead of 2e-3 is clear. int8: scores move by some hundredths; boxes by overlap again, and in the closed loop
# where the reference follows the target.
THRESHOLDS = {
    "fp32": Thresholds(
        {"tokens": 1e-4, "qkv": 1e-4, "score": 1e-6, "size": 2e-6, "offset": 5e-6},
        box_px=0.05,
        min_iou=0.99,
        mean_iou=0.999,
        margin=1e-5,
        forced_iou=0.99,
    ),
    "fp16": Thresholds(
        {},
        box_px=float("inf"),
        min_iou=0.0,
        mean_iou=0.0,
        margin=2e-3,
        corner_px=float("inf"),
        forced_iou=0.95,
        followed_iou=0.95,
    ),
    **dict.fromkeys(
        ("int8", "mixed"),
        Thresholds(
            {},
            box_px=float("inf"),
            min_iou=0.0,
            mean_iou=0.0,
            margin=5e-2,
            corner_px=float("inf"),
            forced_iou=0.8,
            followed_iou=0.9,
        ),
    ),
}
# Scores are probabilities of a sigmoid, trained to be 1 at the target's centre. These limits are not calibrated.
SCORE = {"kind": "peak", "calibration": None, "uncertain_below": 0.3, "lost_below": 0.1}


class CentreFamily(NetworkFamily[CentreNet[Any]]):
    """See `ModelFamily`."""

    @abstractmethod
    def search_graph(self, net: nn.Module) -> nn.Module:
        """Return the search graph of a loaded network."""

    def unused(self, variant: str) -> dict[str, str]:  # noqa: ARG002 (the same for all)
        """Return the published entries that inference ignores, and why."""
        mae = dict.fromkeys(("backbone.cls_token", "backbone.pos_embed"), "left from the MAE initialisation")
        return {**mae, **head_counters("box_head")}

    def load_state(self, net: nn.Module, variant: str, state: Mapping[str, Tensor]) -> None:
        """See `ModelFamily.load_state`."""
        self.load_published(net, variant, state)

    def deploy_graphs(self, variant: str, net: nn.Module) -> list[DeployGraph]:
        """Return the graphs `template` (once per target) and `search` (one tracked frame)."""
        shape = shape_of(variant)
        cached = {
            "tokens": torch.zeros(1, shape.template_tokens, shape.channels),
            "qkv": torch.zeros(1, shape.template_tokens, 3 * shape.channels),
        }
        layouts = {"tokens": "N,token,C", "qkv": "N,token,C"}
        template = DeployGraph(
            role="template",
            module=TemplateGraph(_network(net)).eval(),
            inputs={"image": torch.zeros(1, 3, shape.template_size, shape.template_size)},
            outputs=tuple(cached),
            layouts={"image": "NCHW", **layouts},
            features=tuple(cached),
            crops={"image": IMAGENET},
        )
        maps = ("score", "size", "offset")
        search = DeployGraph(
            role="search",
            module=self.search_graph(net).eval(),
            inputs={"search": torch.zeros(1, 3, shape.search_size, shape.search_size), **cached},
            outputs=maps,
            layouts={"search": "NCHW", **layouts, **dict.fromkeys(maps, "NCHW")},
            crops={"search": IMAGENET},
        )
        return [template, search]

    def tracker_spec(self, variant: str) -> dict[str, Any]:
        """Return the manifest's `tracker` object."""
        shape = shape_of(variant)
        return {
            "family": "centre-head",
            "color": "rgb",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "template": {"size": shape.template_size, "factor": shape.template_factor},
            "search": {"size": shape.search_size, "factor": shape.search_factor},
            "decode": {"kind": "centre", "grid": shape.search_grid, "window": "hann"},
            "clip_margin_px": CLIP_MARGIN_PX,
            "score": dict(SCORE),
        }

    def reference(self, variant: str, net: nn.Module) -> CentreReference:  # noqa: ARG002 (the network knows it)
        """Return the published loop around a loaded network."""
        return CentreReference(_network(net))

    def thresholds(self, variant: str, precision: str) -> Thresholds:  # noqa: ARG002 (the same for all)
        """Return what the parity gate accepts; InputError where nothing is stated for `precision`."""
        return stated_limits(self.name, THRESHOLDS, precision)

    @torch.no_grad()
    def parity_inputs(
        self, variant: str, net: nn.Module, frames: list[NDArray[np.uint8]], box: Box
    ) -> Iterator[ParityInput]:
        """Run the reference loop over RGB `frames` from `box` and yield what each graph is fed there.

        Left out are frames in which the network itself decides so closely that rounding may turn it: their maps say
        nothing about a graph. Where that leaves none the loop goes again with its state put back to `box` before each
        frame: made-up weights follow nothing, and in crops that have swollen to the whole frame tokens are much alike.
        """
        tracker = self.reference(variant, net)
        tracker.init(frames[0], box)
        if tracker.template is None:  # for the type checker
            raise TypeError("init made no template")
        yield ParityInput("template", {"image": tracker.template.numpy()})
        tokens, qkv = TemplateGraph(_network(net)).eval()(tracker.template)
        cached = {"tokens": tokens.numpy(), "qkv": qkv.numpy()}
        fed = False
        for search in _clear_inputs(tracker, frames[1:], None):
            fed = True
            yield ParityInput("search", {"search": search.numpy(), **cached})
        if not fed:
            for search in _clear_inputs(tracker, frames[1:], box):
                yield ParityInput("search", {"search": search.numpy(), **cached})


def _clear_inputs(tracker: CentreReference, frames: list[NDArray[np.uint8]], state: Box | None) -> Iterator[Tensor]:
    """Track `frames`, each from `state` if there is one, and yield the network's inputs that it decided clearly on."""
    for frame in frames:
        if state is not None:
            tracker.set_state(state)
        search, _ = tracker.search_input(frame)
        tracker.update(frame)
        if tracker.step is not None and tracker.step.output.safe:
            yield search


def _network(net: nn.Module) -> CentreNet[Any]:
    if not isinstance(net, CentreNet):
        raise TypeError(f"expected a network with a centre head, got {type(net).__name__}")
    return net
