"""The catalogue's figures of the centre-head variants are counted, not copied, and agree with the specs'."""

from __future__ import annotations

import pytest
import torch
from test_fartrack_cost import count_gmacs

from edgetrack.errors import InputError
from edgetrack.export.models import VARIANTS, altered_name, family_of, find_variant, variant_values
from edgetrack.export.models.centre_variants import CENTRE_VARIANTS, kept_counts, shape_of, threshold_name

# Section 1 of both specs: parameters in the file, GMACs of the published network.
PUBLISHED = {
    "ostrack-256": (92_518_533, 30.91),
    "ostrack-256-ce": (92_518_533, 22.64),
    "ostrack-384-ce": (92_825_733, 54.09),
    "grm-256": (99_828_187, 32.79),
    "grm-256-got": (99_828_187, 32.79),
    "grm-l320": (331_826_163, 162.32),
}
# Section 6: what is left after skipping what nothing reads, template included where it is skipped in every frame.
DEPLOYED = {"grm-256": 31.4, "grm-l320": 157.7}


def test_every_variant_is_counted():
    assert list(PUBLISHED) == [variant.name for variant in CENTRE_VARIANTS]
    assert all(VARIANTS[name].name == name for name in PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_and_parameters(name):
    variant, family, shape = VARIANTS[name], family_of(name), shape_of(name)
    with torch.device("meta"):  # shapes are all that is needed
        net = family.network(name)
        _, search = family.deploy_graphs(name, net)
        sides = (shape.template_size, shape.search_size)
        published = count_gmacs(net, *(torch.zeros(1, 3, side, side) for side in sides))
        deployed = count_gmacs(search.module, *search.inputs.values())
    assert published == pytest.approx(variant.published_gmacs, abs=6e-4)
    assert deployed == pytest.approx(variant.gmacs, abs=6e-4)
    parameters, gmacs = PUBLISHED[name]
    assert variant.published_gmacs == pytest.approx(gmacs, abs=6e-3)
    assert variant.gmacs == pytest.approx(DEPLOYED.get(name, variant.gmacs), abs=6e-2)
    unused = family.unused(name)
    counted = {key: parameter.numel() for key, parameter in net.named_parameters()}
    assert sum(counted.values()) == parameters
    assert sum(size for key, size in counted.items() if key not in unused) == variant.parameters


@pytest.mark.parametrize(
    ("name", "kept", "token"),
    [("ostrack-256-ce", [180, 126, 89], 27), ("ostrack-384-ce", [404, 283, 199], 65), ("ostrack-256", [], 27)],
)
def test_constant_counts_of_elimination(name, kept, token):
    shape = shape_of(name)
    assert list(kept_counts(shape).values()) == kept
    assert shape.reference_token == token


@pytest.mark.parametrize(
    ("model", "threshold", "name"),
    [
        ("grm-256", 0.4, "grm-256-t40"),
        ("grm-256", 0.0, "grm-256"),
        ("grm-256", 0.5, "grm-256"),  # the same decisions
        ("grm-256-got", 0.55, "grm-256-got-t55"),
        ("grm-l320", 0.07, "grm-l320-t7"),
    ],
)
def test_names_say_the_division_threshold(model, threshold, name):
    assert threshold_name(model, threshold) == name
    found, base = find_variant(name), find_variant(model)
    assert (found.name, found.family, found.gmacs) == (name, "grm", base.gmacs)
    assert shape_of(name) == shape_of(model)
    with torch.device("meta"):
        net = family_of(name).network(name)
    assert net.threshold == (0.0 if threshold == 0.5 else threshold)


@pytest.mark.parametrize(
    ("model", "threshold", "message"),
    [
        ("grm-256", 1.0, "threshold is 1.0"),
        ("grm-256", -0.1, "threshold is -0.1"),
        ("grm-256", 0.401, "whole percentage"),
        ("grm-256", float("nan"), "threshold is nan"),
        ("ostrack-256", 0.4, "ostrack-256 takes no division threshold; these do: grm-256, "),
        ("grm-256-t40", 0.4, "grm-256-t40 takes no division threshold"),
    ],
)
def test_thresholds_that_cannot_be(model, threshold, message):
    with pytest.raises(InputError, match=message):
        threshold_name(model, threshold)


@pytest.mark.parametrize("name", ["grm-256-t50", "grm-256-t0", "grm-256-t040", "grm-999-t40", "ostrack-256-t40"])
def test_every_threshold_has_one_name(name):
    with pytest.raises(InputError, match="unknown model"):
        find_variant(name)


def test_the_options_that_alter_a_variant_are_its_own():
    assert altered_name("grm-l320", {"depth": None, "keep": None, "division-threshold": 0.4}) == "grm-l320-t40"
    assert altered_name("fartrack-tiny", {"depth": 6, "keep": 24}) == "fartrack-pico-k24"
    assert altered_name("ostrack-256", {"depth": None, "division-threshold": None}) == "ostrack-256"
    assert variant_values("grm-256-t40") == {"division-threshold": 0.4}
    assert variant_values("fartrack-pico-k24") == {"depth": 6, "keep": 24}
    assert variant_values("ostrack-256") == {}
    for options in ({"depth": 6}, {"depth": 6, "division-threshold": 0.4}):
        with pytest.raises(InputError, match="grm-256 cannot be cut"):
            altered_name("grm-256", options)
