"""GLAD's published network with stand-in weights, as the golden vectors were recorded; their tolerances."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fartrack_case import golden_shapes, normalised
from golden_files import golden

from edgetrack.export.loops.crop import crop
from edgetrack.export.models import family_of
from edgetrack.export.models.glad_net import GladNet
from edgetrack.export.standin import noise, synth_box, synth_frame, synth_state

# golden file -> variant; the vectors have position tables in float32
CASES = {"glad_b256": "glad-b256-p32", "glad_l384": "glad-l384-p32"}
BIG = {"glad_l384"}
"""Cases that take long enough for `make test-all`."""

# Section 7 of the spec, fp32 on a CPU.
POOLED = 1e-4
ACTIVATIONS = 1e-3
MAPS = {"score": 1e-5, "size": 1e-5, "offset": 1e-4}
BOX_PX = 0.02
LIVELY_GAIN = 8
"""By what the lively runs multiply the weights of the score's last convolution."""


def cases(*names: str):
    """Parameters of a test over golden files, the long ones marked."""
    return [pytest.param(name, marks=pytest.mark.big) if name in BIG else name for name in names or CASES]


@functools.lru_cache(maxsize=1)
def _state(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in synth_state(golden_shapes(golden(name))).items()}


@functools.lru_cache(maxsize=2)
def loaded_network(name: str, *, lively: bool = False) -> GladNet:
    """The network of a golden file with its weights, or those of the lively runs."""
    state = dict(_state(name))
    if lively:
        state["head.conv5_ctr.weight"] = state["head.conv5_ctr.weight"] * LIVELY_GAIN
        state["head.conv5_size.bias"] = torch.from_numpy(golden(name)["lively_size_bias"])
    family = family_of(CASES[name])
    net = family.build(CASES[name])
    family.load_state(net, CASES[name], state)
    return net.requires_grad_(False)


@functools.cache
def latents() -> tuple[torch.Tensor, ...]:
    """What stands for Stable Diffusion's feature maps in the recorded passes."""
    shapes = ((1, 1280, 16, 16), (1, 1280, 16, 16), (1, 1280, 8, 8))
    return tuple(torch.from_numpy(noise(f"latent.{k}", shape)) for k, shape in enumerate(shapes))


@functools.cache
def network_inputs(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised template (512) and search crop of the recorded pass, proven to be the recorded ones."""
    vectors, shape = golden(name), loaded_network(name).shape
    template, _, _ = crop(synth_frame(0), synth_box(0), shape.template_factor, shape.template_size)
    search, _, _ = crop(synth_frame(1), synth_box(0), shape.search_factor, shape.search_size)
    assert np.array_equal(template[::8, ::8], vectors["net_template_crop_s8"])
    assert np.array_equal(search[::4, ::4], vectors["net_search_crop_s4"])
    return normalised(template), normalised(search)


@functools.lru_cache(maxsize=1)
def golden_forward(name: str) -> SimpleNamespace:
    """One published forward pass on the recorded input: what its parts give, and `output`."""
    net = loaded_network(name)
    seen = SimpleNamespace()
    parts = {
        "block0": net.encoder.blocks[0],
        "enc_norm": net.encoder.norm,
        "fd0_attn1": net.fd[0].attn1,
        "fd0_attn3": net.fd[0].attn3,
        **{f"fd{k}": net.fd[k] for k in range(3)},
        "norm_output": net.norm_output,
    }

    def keep(key):
        return lambda _, __, out: setattr(seen, key, out[0] if isinstance(out, tuple) else out)

    hooks = [module.register_forward_hook(keep(key)) for key, module in parts.items()]
    with torch.no_grad():
        seen.pooled = net.pooled(latents())
        seen.output = net(*network_inputs(name), seen.pooled)
    for hook in hooks:
        hook.remove()
    seen.parts = tuple(parts)
    return seen


def assert_maps(found, vectors) -> None:
    """Compare score, size and offset with the recorded ones."""
    for key, value in zip(MAPS, found, strict=True):
        recorded = vectors[f"net_{key}_map"]
        assert value.shape == recorded.shape
        np.testing.assert_allclose(np.asarray(value), recorded, rtol=0, atol=MAPS[key], err_msg=key)
