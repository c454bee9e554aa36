"""GLAD as a model family: checkpoints, deployment graphs, tracker spec, parity."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetrack.errors import InputError
from edgetrack.export.graphs.diffusion import NOISES, LatentGraph, diffusion_graphs
from edgetrack.export.graphs.glad import PoolGraph, SearchGraph, TemplateGraph, told_names
from edgetrack.export.loops.centre_head import CLIP_MARGIN_PX
from edgetrack.export.loops.crop import IMAGENET, IMAGENET_MEAN, IMAGENET_STD
from edgetrack.export.loops.glad import GladReference
from edgetrack.export.models.base import Box, DeployGraph, ParityInput, Thresholds, stated_limits
from edgetrack.export.models.centre import SCORE
from edgetrack.export.models.centre import THRESHOLDS as CENTRE_THRESHOLDS
from edgetrack.export.models.diffusion import Diffusion, load_diffusion
from edgetrack.export.models.diffusion_shape import STABLE_DIFFUSION_15
from edgetrack.export.models.glad_net import GladNet, Pooling
from edgetrack.export.models.glad_variants import LATENT_GRIDS, GladShape, shape_of
from edgetrack.export.models.language import DiffusionSide, TextSide
from edgetrack.export.models.network_family import NetworkFamily, head_counters
from edgetrack.export.standin import noise
from edgetrack.runtime.clip_tokenizer import TokenRules

__all__ = ["GLAD", "GladFamily"]

POOL_ROLE = "pool"
DIFFUSION_PREFIX = "diffusion."
DIFFUSION = STABLE_DIFFUSION_15
NOISE_SEED = 0
PROMPT_IDS = (49406, 518, 786, 530, 1579, 2523, 49407)
"""What the gate tells both sides to follow where text is encoded, "the man in white shirt": it needs no vocabulary."""
PACK_BYTES = 4_000_000
"""The most that target data may take; where float32 takes more they are kept in float16."""

# Section 7 of the spec: pooled tokens 1e-4, score and size maps 1e-5, offsets 1e-4; the product's 0.05 px for the loop.
# A cell that leads by less than twice what a score may be off is not called clear. fp16: as the other centre heads.
THRESHOLDS = {
    "fp32": Thresholds(
        {"tokens": 1e-4, "qkv": 1e-4, "score": 1e-5, "size": 1e-5, "offset": 1e-4},
        box_px=0.05,
        min_iou=0.99,
        mean_iou=0.999,
        margin=2e-5,
        forced_iou=0.99,
    ),
    "fp16": CENTRE_THRESHOLDS["fp16"],
}
_TOLD, _CONTEXT, _NOISY, _LATENT = 1e-4, 1e-4, 1e-3, 2e-2
"""Of keys and values, text features, noisy latents and guided feature maps."""


class GladFamily(NetworkFamily[GladNet]):
    """See `ModelFamily`."""

    name = "glad"

    def network(self, variant: str) -> GladNet:
        """Return the published network without Stable Diffusion, parameters unset."""
        return GladNet(shape_of(variant))

    def unused(self, variant: str) -> dict[str, str]:  # noqa: ARG002 (the same for all)
        """Return the published entries that inference ignores, and why."""
        never = "never connected, in training neither"
        return head_counters("head") | {
            f"pm.{k}.{part}.": never for k in range(len(LATENT_GRIDS)) for part in Pooling.UNREAD
        }

    def load_state(self, net: nn.Module, variant: str, state: Mapping[str, Tensor]) -> None:
        """Load a published checkpoint strictly, in whatever floating-point type; the network has float32.

        Entries that begin with `diffusion.` are those of `Diffusion`; there may be none.

        Raises:
            CheckpointError: see `check_entries`.
        """
        told = {name: value for name, value in state.items() if name.startswith(DIFFUSION_PREFIX)}
        self.load_published(net, variant, {name: value for name, value in state.items() if name not in told})
        if told:
            bare = {name.removeprefix(DIFFUSION_PREFIX): value for name, value in told.items()}
            _network(net).add_diffusion(load_diffusion(bare, DIFFUSION))

    def text_side(self, variant: str) -> TextSide:
        """See `LanguageFamily`; without Stable Diffusion a target is described by the feature maps that it gives."""
        shape, text = shape_of(variant), DIFFUSION.text
        bare = TextSide(
            encoder=text,
            final_norm=True,
            prefix=f"{DIFFUSION_PREFIX}text_encoder.",
            rules=TokenRules(cleaning="transformers", context=text.context, padding=text.vocabulary - 1, truncate=True),
            feeds=told_names(len(shape.latent_grids)),
            prompt=_made_up_latents(shape),
            without_text="empty",
            chain=(POOL_ROLE,),
            noise_seed=NOISE_SEED,
            half=4 * 2 * sum(shape.latent_tokens) * shape.channels > PACK_BYTES,
        )
        whole = replace(bare, chain=("text", "vae", "unet", POOL_ROLE), prompt={"ids": _prompt(text.context)})
        return replace(bare, diffusion=DiffusionSide(DIFFUSION, DIFFUSION_PREFIX, whole))

    def deploy_graphs(self, variant: str, net: nn.Module) -> list[DeployGraph]:
        """Return the graphs `pool` (once per description), `template` (once per target) and `search` (one frame).

        With a diffusion model, before these: `text`, `vae` and `unet`.
        """
        shape, network = shape_of(variant), _network(net)
        width, tokens = shape.channels, "N,token,C"
        latents = {name: torch.from_numpy(value) for name, value in _made_up_latents(shape).items()}
        names = told_names(len(latents))
        told = {name: torch.zeros(1, shape.latent_tokens[k // 2], width) for k, name in enumerate(names)}
        cached = {
            "tokens": torch.zeros(1, shape.template_tokens, width),
            "qkv": torch.zeros(1, shape.template_tokens, 3 * width),
        }
        pool = DeployGraph(
            role=POOL_ROLE,
            module=PoolGraph(network).eval(),
            inputs=latents,
            outputs=names,
            layouts={**dict.fromkeys(latents, "NCHW"), **dict.fromkeys(names, tokens)},
            features=names,
        )
        template = DeployGraph(
            role="template",
            module=TemplateGraph(network).eval(),
            inputs={"image": torch.zeros(1, 3, shape.template_size, shape.template_size)},
            outputs=tuple(cached),
            layouts={"image": "NCHW", **dict.fromkeys(cached, tokens)},
            features=tuple(cached),
            crops={"image": IMAGENET},
        )
        maps = ("score", "size", "offset")
        search = DeployGraph(
            role="search",
            module=SearchGraph(network).eval(),
            inputs={"search": torch.zeros(1, 3, shape.search_size, shape.search_size), **cached, **told},
            outputs=maps,
            layouts={**dict.fromkeys((*cached, *told), tokens), **dict.fromkeys(("search", *maps), "NCHW")},
            crops={"search": IMAGENET},
        )
        diffusion = network.diffusion
        before = [] if diffusion is None else diffusion_graphs(diffusion, shape.template_size, tuple(latents))
        return [*before, pool, template, search]

    def tracker_spec(self, variant: str) -> dict[str, Any]:
        """Return the manifest's `tracker` object; the loop is that of the other trackers with a centre head."""
        shape = shape_of(variant)
        decode: dict[str, Any] = {"kind": "centre", "grid": shape.search_grid, "window": "hann"}
        if shape.divisor != shape.search_grid:
            decode["divisor"] = shape.divisor
        return {
            "family": "centre-head",
            "color": "rgb",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "template": {"size": shape.template_size, "factor": shape.template_factor},
            "search": {"size": shape.search_size, "factor": shape.search_factor},
            "decode": decode,
            "told": list(told_names(len(shape.latent_grids))),
            "clip_margin_px": CLIP_MARGIN_PX,
            "score": dict(SCORE),
        }

    def reference(self, variant: str, net: nn.Module) -> GladReference:
        """Return the published loop around a loaded network; it follows what the gate describes."""
        network = _network(net)
        if network.diffusion is None:
            made_up = [torch.from_numpy(value) for value in _made_up_latents(shape_of(variant)).values()]
            return GladReference(network, lambda _: made_up)
        return self.told_reference(variant, net, {"ids": _prompt(network.diffusion.shape.text.context)})

    def told_reference(self, variant: str, net: nn.Module, inputs: Mapping[str, NDArray[Any]]) -> GladReference:
        """See `Tellable.told_reference`.

        Raises:
            InputError: the network came without a diffusion model, so no sentence can be read.
        """
        network = _network(net)
        if network.diffusion is None:
            raise InputError(f"{variant} is here without a diffusion model, which reads the sentence; give --diffusion")
        return GladReference(network, _describer(network.diffusion, torch.from_numpy(inputs["ids"])))

    def thresholds(self, variant: str, precision: str) -> Thresholds:
        """Return what the parity gate accepts; InputError where nothing is stated for `precision`."""
        found = stated_limits(self.name, THRESHOLDS, precision)
        if not found.tensor_max_abs:
            return found
        shape = shape_of(variant)
        told = dict.fromkeys(told_names(len(shape.latent_grids)), _TOLD)
        diffused = {"context": _CONTEXT, "noisy": _NOISY, **dict.fromkeys(_made_up_latents(shape), _LATENT)}
        limits = {**found.tensor_max_abs, **told, **diffused}
        return replace(found, tensor_max_abs=limits, optional=tuple(diffused))

    @torch.no_grad()
    def parity_inputs(
        self, variant: str, net: nn.Module, frames: list[NDArray[np.uint8]], box: Box
    ) -> Iterator[ParityInput]:
        """Run the reference loop over RGB `frames` from `box` and yield what each graph is fed there."""
        network, tracker = _network(net), self.reference(variant, net)
        tracker.init(frames[0], box)
        if tracker.template is None:  # for the type checker
            raise TypeError("init made no template")
        latents = _made_up_latents(network.shape)
        if network.diffusion is not None:
            given, found = _diffusion_inputs(network.diffusion, tracker.template)
            yield from given
            latents = {name: value.numpy() for name, value in zip(latents, found, strict=True)}
        yield ParityInput(POOL_ROLE, dict(latents))
        told = PoolGraph(network).eval()(*map(torch.from_numpy, latents.values()))
        yield ParityInput("template", {"image": tracker.template.numpy()})
        tokens, qkv = TemplateGraph(network).eval()(tracker.template)
        given_once = dict(zip(("tokens", "qkv", *told_names(len(latents))), (tokens, qkv, *told), strict=True))
        cached = {name: value.numpy() for name, value in given_once.items()}
        for frame in frames[1:]:
            search, _ = tracker.search_input(frame)
            tracker.update(frame)
            yield ParityInput("search", {"search": search.numpy(), **cached})


@functools.cache
def _made_up_latents(shape: GladShape) -> dict[str, NDArray[np.float32]]:
    """Return what stands for Stable Diffusion's feature maps where it is not at hand: noise, the same everywhere."""
    sides = enumerate(shape.latent_grids)
    return {f"latent_{k}": noise(f"latent.{k}", (1, shape.latent_width, side, side)) for k, side in sides}


def _prompt(context: int) -> NDArray[np.int32]:
    """Return the ids (1, context) of the gate's sentence."""
    ids = np.full((1, context), PROMPT_IDS[-1], np.int32)
    ids[0, : len(PROMPT_IDS)] = PROMPT_IDS
    return ids


def _noises(side: int) -> list[Tensor]:
    """Return both noises of a picture of `side` pixels, as the runtime makes them."""
    shape = (1, DIFFUSION.latent_channels, side // 8, side // 8)
    return [torch.from_numpy(noise(name.replace("_", ".", 1), shape, NOISE_SEED)) for name in NOISES]


def _describer(net: Diffusion, ids: Tensor) -> Callable[[Tensor], Sequence[Tensor]]:
    """Return what gives the guided feature maps of a template and of a sentence, given as ids (1, context)."""

    @torch.no_grad()
    def describe(template: Tensor) -> Sequence[Tensor]:
        found: Sequence[Tensor] = net(ids, template, *_noises(template.shape[-1]))
        return found

    return describe


def _diffusion_inputs(net: Diffusion, template: Tensor) -> tuple[list[ParityInput], Sequence[Tensor]]:
    """Return what the diffusion model's graphs are fed for a template, and the feature maps that come out."""
    ids = torch.from_numpy(_prompt(net.shape.text.context))
    noises = _noises(template.shape[-1])
    noisy, context = LatentGraph(net)(template, *noises), net.text_encoder(ids)
    fed = [
        ParityInput("text", {"ids": ids.numpy()}),
        ParityInput("vae", {"image": template.numpy(), **{k: v.numpy() for k, v in zip(NOISES, noises, strict=True)}}),
        ParityInput("unet", {"noisy": noisy.numpy(), "context": context.numpy()}),
    ]
    return fed, net(ids, template, *noises)


def _network(net: nn.Module) -> GladNet:
    if not isinstance(net, GladNet):
        raise TypeError(f"expected a GladNet, got {type(net).__name__}")
    return net


GLAD = GladFamily()
