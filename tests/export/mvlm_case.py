"""MVLM's published network with stand-in weights, as the golden vectors were recorded; their tolerances."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import numpy as np
import torch
from fartrack_case import golden_shapes, normalised
from golden_files import golden

from edgetrack.export.clip_files import text_transformer
from edgetrack.export.models import family_of
from edgetrack.export.models.mvlm_net import CLIP_PREFIX, TEXT_SHAPE, MvlmNet, MvlmOutput
from edgetrack.export.models.mvlm_variants import GateRule, UpdateRule
from edgetrack.export.standin import synth_param, synth_state

# golden file -> variant
CASES = {"mvlm_tf": "mvlm-tf", "mvlm_bbox": "mvlm-bbox"}

# Section 7 of the spec, fp32 on a CPU.
ACTIVATIONS = 1e-4
MAPS = {"score": 5e-6, "size": 5e-6, "offset": 3e-5}
SIMS = 1e-5
BOX_PX = 2e-3
W2_GAMMA, W2_SIZE = 0.1, -1.4
"""What the second pass adds to the layer scales and to the bias of the sizes."""


def clip_shapes() -> dict[str, tuple[int, ...]]:
    vectors = golden("mvlm_tf")
    return golden_shapes({"keys": vectors["clip_keys"], "shapes": vectors["clip_shapes"]})


@functools.cache
def _state(*, w2: bool) -> dict[str, torch.Tensor]:
    """Both variants have the same entries, and so the same stand-in weights."""
    state = {name: torch.from_numpy(v) for name, v in synth_state(golden_shapes(golden("mvlm_tf"))).items()}
    if w2:
        scales = [name for name in state if name.rsplit(".", 1)[1] in ("gamma_1", "gamma_2")]
        state |= {name: state[name] + np.float32(W2_GAMMA) for name in scales}
        state["head.conv5_size.bias"] = state["head.conv5_size.bias"] + np.float32(W2_SIZE)
    return state


@functools.cache
def loaded_network(name: str, *, w2: bool = False) -> MvlmNet:
    """The network of a golden file without CLIP, with its weights or those of the second pass."""
    family = family_of(CASES[name])
    net = family.build(CASES[name])
    family.load_published(net, CASES[name], _state(w2=w2))
    return net.requires_grad_(False)


@functools.cache
def golden_text() -> torch.Tensor:
    """The text features (1, 77, 512) of the vectors' sentence; tests/export/test_clip_text.py compares them."""
    state = {
        name.removeprefix(CLIP_PREFIX): torch.from_numpy(synth_param(name, shape))
        for name, shape in clip_shapes().items()
    }
    clip = text_transformer(state, TEXT_SHAPE, final_norm=False)
    projection = torch.nn.Linear(768, 512)
    projection.load_state_dict({key: _state(w2=False)[f"text_encoder.text_proj.{key}"] for key in ("weight", "bias")})
    with torch.no_grad():
        return projection(clip(torch.from_numpy(golden("mvlm_tf")["tok_ids"][:1])))


@functools.cache
def network_inputs(name: str) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The recorded search crop and templates, normalised."""
    vectors = golden(name)
    templates = [normalised(vectors[f"net_template{k}_u8"]) for k in (0, 1) if f"net_template{k}_u8" in vectors]
    return normalised(vectors["net_search_u8"]), tuple(templates)


@functools.lru_cache(maxsize=4)
def golden_forward(name: str, prefix: str) -> SimpleNamespace:
    """One forward pass on the recorded input; prefix "net" or "net2".

    output; after: what each step of the body gives, those of the stem once per image (search first).
    """
    net = loaded_network(name, w2=prefix == "net2")
    after: dict[int, list[torch.Tensor]] = {}
    tokens: list[torch.Tensor] = []
    body = net.encoder.body
    hooks = [body.layers()[0].register_forward_pre_hook(lambda _, args: tokens.append(args[0]))]
    for number, block in enumerate(body.blocks):
        hooks.append(block.register_forward_hook(lambda _, __, out, n=number: after.setdefault(n, []).append(out)))
    search, templates = network_inputs(name)
    with torch.no_grad():
        output: MvlmOutput = net(search, golden_text(), templates)
    for hook in hooks:
        hook.remove()
    return SimpleNamespace(output=output, after=after, tokens=tokens[0])


def alt_rules(name: str) -> tuple[GateRule, UpdateRule]:
    """The gate and update rule of the alternative loops."""
    alt = json.loads(str(golden(name)["meta"]))["alt"]
    gate = GateRule(alt["alpha_corr"], alt["tau"], alt["omega"], alt["lam"], alt["psi_out"])
    return gate, UpdateRule(alt["update_interval"], alt["update_threshold"])


def confidence_inputs(name: str = "mvlm_tf") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """features (196, 512), text (1, 512), boxes (196, 4) and windowed scores (196,) of the gate's own vectors."""
    vectors = golden(name)
    features = synth_param("mvlm.conf.feat", (196, 512)) * np.float32(np.sqrt(512))
    text = synth_param("mvlm.conf.text", (1, 512))
    return tuple(torch.from_numpy(a) for a in (features, text, vectors["conf_boxes"], vectors["conf_cls"]))


def assert_maps(found, vectors, prefix: str) -> None:
    """Compare score, size and offset with the recorded ones."""
    for key, value in zip(MAPS, found, strict=True):
        recorded = vectors[f"{prefix}_{key}_map"]
        assert value[0].shape == recorded.shape
        np.testing.assert_allclose(np.asarray(value[0]), recorded, rtol=0, atol=MAPS[key], err_msg=key)
