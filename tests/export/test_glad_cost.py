"""The catalogue's figures of GLAD are counted, not copied, and agree with the spec's; names say the settings."""

from __future__ import annotations

import pytest
import torch
from test_fartrack_cost import count_gmacs

from edgetrack.errors import InputError
from edgetrack.export.graphs.glad import SearchGraph
from edgetrack.export.models import VARIANTS, altered_name, family_of, find_variant, variant_values
from edgetrack.export.models.glad_variants import GLAD_VARIANTS, settings_name, shape_of

# Section 1 of the spec: parameters and buffers in the file, of which unused; GMACs published and with sec. 6's savings.
PUBLISHED = {"glad-b256": (166_323_153, 27_161_856, 40.27), "glad-l384": (430_690_001, 48_798_720, 285.18)}
EQUIVALENT = {"glad-b256": 39.25, "glad-l384": 282.61}


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_and_parameters(name):
    variant, family, shape = VARIANTS[name], family_of(name), shape_of(name)
    with torch.device("meta"):  # shapes are all that is needed
        net = family.network(name)
        images = [torch.zeros(1, 3, side, side) for side in (shape.template_size, shape.search_size)]
        pooled = [torch.zeros(1, count, shape.channels) for count in shape.latent_tokens]
        told = [tensor for tensor in pooled for _ in ("key", "value")]
        tokens, qkv = (torch.zeros(1, shape.template_tokens, width * shape.channels) for width in (1, 3))
        published = count_gmacs(net, *images, pooled)
        deployed = count_gmacs(SearchGraph(net), images[1], tokens, qkv, *told)
    assert published == pytest.approx(variant.published_gmacs, abs=6e-4)
    assert deployed == pytest.approx(variant.gmacs, abs=6e-4)
    total, unused, gmacs = PUBLISHED[name]
    assert variant.published_gmacs == pytest.approx(gmacs, abs=6e-3)
    # The spec's figure has the template's embedding and its first projection in every frame.
    template = 1e-9 * shape.template_tokens * shape.channels * (768 + 3 * shape.channels)
    assert variant.gmacs + template == pytest.approx(EQUIVALENT[name], abs=6e-3)
    state = net.state_dict()
    silent = tuple(family.unused(name))
    counted = {key: value.numel() for key, value in state.items()}
    assert sum(counted.values()) == total
    never = {key: size for key, size in counted.items() if key.startswith(silent) and "num_batches" not in key}
    assert (len(never), sum(never.values())) == (60, unused)
    used = {key for key, _ in net.named_parameters()} - set(never)
    assert sum(counted[key] for key in used) == variant.parameters


@pytest.mark.parametrize(
    ("model", "settings", "name"),
    [
        ("glad-l384", (4,), "glad-l384-s4"),
        ("glad-l384-s4", (5,), "glad-l384"),
        ("glad-l384", (5, 27, 16), "glad-l384"),
        ("glad-l384", (None, 24, 32), "glad-l384-d24-p32"),
        ("glad-l384-s4", (None, 24), "glad-l384-s4-d24"),
        ("glad-b256", (4.5,), "glad-b256-s4.5"),
        ("glad-b256", (None, None, 32), "glad-b256-p32"),
    ],
)
def test_names_say_the_settings(model, settings, name):
    assert settings_name(model, *settings) == name
    found, base = find_variant(name), find_variant(model)
    assert (found.name, found.family, found.gmacs) == (name, "glad", base.gmacs)
    shape = shape_of(name)
    bits = 16 if shape.bf16_positions else 32
    assert variant_values(name) == {
        "search-factor": shape.search_factor,
        "decode-divisor": shape.divisor,
        "position-bits": bits,
    }
    for asked, had in zip(settings, (shape.search_factor, shape.divisor, bits), strict=False):
        assert asked in (None, had)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("glad-b256", (0,), "search factor is 0"),
        ("glad-b256", (4.55,), "in tenths"),
        ("glad-b256", (float("nan"),), "search factor is nan"),
        ("glad-b256", (None, 0), "decode divisor is 0; give a whole number from 1 to 999, as 16"),
        ("glad-l384", (None, 26.5), "as 27"),
        ("glad-l384", (None, None, 8), "16 .bfloat16, as published. or 32"),
        ("grm-256", (4,), "grm-256 takes no search-factor, .*; these do: glad-b256, glad-l384"),
    ],
)
def test_settings_that_cannot_be(model, settings, message):
    with pytest.raises(InputError, match=message):
        settings_name(model, *settings)


@pytest.mark.parametrize("name", ["glad-b256-s4", "glad-l384-d27", "glad-l384-p32-s4", "glad-b999", "glad-l384-s05"])
def test_every_setting_has_one_name(name):
    with pytest.raises(InputError, match="unknown model"):
        find_variant(name)


def test_the_options_are_glads_own():
    assert [variant.name for variant in GLAD_VARIANTS] == list(PUBLISHED)
    assert altered_name("glad-l384", {"depth": None, "search-factor": 4.0}) == "glad-l384-s4"
    assert variant_values("grm-256") == {"division-threshold": 0.0}
