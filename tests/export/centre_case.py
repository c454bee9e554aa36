"""The published centre-head networks with stand-in weights, as the golden vectors were recorded; their tolerances."""

from __future__ import annotations

import functools
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fartrack_case import golden_shapes, normalised
from golden_files import golden

from edgetrack.export.loops.crop import crop
from edgetrack.export.models import family_of
from edgetrack.export.models.centre_net import CentreNet
from edgetrack.export.models.centre_variants import shape_of
from edgetrack.export.standin import synth_box, synth_frame, synth_state

# golden file -> variant
CASES = {
    "ostrack_b256": "ostrack-256",
    "ostrack_b256_ce": "ostrack-256-ce",
    "ostrack_b384_ce": "ostrack-384-ce",
    "grm_b256": "grm-256",
    "grm_l320": "grm-l320",
}
BIG = {"ostrack_b384_ce", "grm_l320"}
"""Cases that take long enough for `make test-all`."""

# Section 7 of both specs, fp32 on a CPU.
MAPS = {"score": 1e-6, "size": 2e-6, "offset": 5e-6}
ACTIVATIONS = 1e-4
MARGINS = 2e-5
ROBUST_PX = 5e-4


def cases(*names: str):
    """Parameters of a test over golden files, the long ones marked."""
    return [pytest.param(name, marks=pytest.mark.big) if name in BIG else name for name in names or CASES]


@functools.lru_cache(maxsize=1)
def _state(layout: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in synth_state(dict(layout)).items()}


def loaded_network(name: str, threshold: str = "") -> CentreNet:
    """The network of a golden file with its weights; `threshold` as it ends a variant's name, as "-t40"."""
    return _loaded_network(name, threshold)


@functools.lru_cache(maxsize=2)
def _loaded_network(name: str, threshold: str) -> CentreNet:
    variant = CASES[name] + threshold
    family = family_of(variant)
    net = family.build(variant)
    family.load_state(net, variant, _state(tuple(golden_shapes(golden(name)).items())))
    return net.requires_grad_(False)


@functools.cache
def network_inputs(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised template and search crop of the golden single forward, proven to be the recorded ones."""
    vectors, shape = golden(name), shape_of(CASES[name])
    template, _, _ = crop(synth_frame(0), synth_box(0), shape.template_factor, shape.template_size)
    search, _, _ = crop(synth_frame(1), synth_box(0), shape.search_factor, shape.search_size)
    for patch, key in ((template, "net_template"), (search, "net_search")):
        assert hashlib.sha256(patch.tobytes()).hexdigest() == str(vectors[f"{key}_sha256"])
    return normalised(template), normalised(search)


def golden_forward(name: str, threshold: str = "") -> SimpleNamespace:
    """One published forward pass on the golden input.

    output; before: the tokens that enter each block; normed: those that are left after the final norm; features: the
    search tokens (1, Lx, C) that the head gets.
    """
    return _golden_forward(name, threshold)


@functools.cache
def _golden_forward(name: str, threshold: str) -> SimpleNamespace:
    net = loaded_network(name, threshold)
    seen = SimpleNamespace(before=[], normed=None, features=None)

    def head(_, args):
        seen.features = args[0].flatten(2).transpose(1, 2)

    hooks = [
        net.backbone.norm.register_forward_hook(lambda _, __, out: setattr(seen, "normed", out)),
        net.box_head.register_forward_pre_hook(head),
    ]
    for block in net.backbone.blocks:
        hooks.append(block.norm1.register_forward_pre_hook(lambda _, args: seen.before.append(args[0])))
    with torch.no_grad():
        seen.output = net(*network_inputs(name))
    for hook in hooks:
        hook.remove()
    return seen


def assert_maps(found, vectors, prefix: str = "net") -> None:
    """Compare score, size and offset with the recorded ones."""
    for key, value in zip(MAPS, found, strict=True):
        recorded = vectors[f"{prefix}_{key}_map"]
        assert value.shape == recorded.shape
        np.testing.assert_allclose(np.asarray(value), recorded, rtol=0, atol=MAPS[key], err_msg=key)
