"""The catalogue's figures of MVLM are counted, not copied, and agree with the spec's."""

from __future__ import annotations

import pytest
import torch
from test_fartrack_cost import count_gmacs

from edgetrack.export.models import VARIANTS, family_of
from edgetrack.export.models.mvlm_variants import MVLM_VARIANTS, gate_of, shape_of

# Section 6.1 of the spec: GMACs a frame as published, and of the exactly equivalent graphs.
COSTS = {"mvlm-tf": (27.27, 27.0), "mvlm-tf-tnl2k": (27.27, 27.0), "mvlm-bbox": (37.89, 36.3)}


def test_every_variant_is_counted():
    assert list(COSTS) == [variant.name for variant in MVLM_VARIANTS]
    assert all(VARIANTS[name].family == "mvlm" for name in COSTS)


@pytest.mark.parametrize("name", COSTS)
def test_costs_and_parameters(name):
    variant, family, shape = VARIANTS[name], family_of(name), shape_of(name)
    with torch.device("meta"):
        net = family.network(name)
        search = family.deploy_graphs(name, net)[-1]
        images = [torch.zeros(1, 3, shape.template_size, shape.template_size) for _ in range(shape.templates)]
        fed = (torch.zeros(1, 3, shape.search_size, shape.search_size), torch.zeros(1, 77, 512), images)
        published = count_gmacs(net, *fed)
        deployed = count_gmacs(search.module, *search.inputs.values())
    assert published == pytest.approx(variant.published_gmacs, abs=6e-4)
    assert deployed == pytest.approx(variant.gmacs, abs=6e-4)
    assert (variant.published_gmacs, variant.gmacs) == pytest.approx(COSTS[name], abs=6e-2)
    counted = {key: parameter.numel() for key, parameter in net.named_parameters()}
    text = sum(size for key, size in counted.items() if key.startswith("text_encoder."))
    unseen = 0 if shape.templates else shape.template_tokens * shape.channels
    assert sum(counted.values()) - text - unseen == variant.parameters
    encoder = sum(size for key, size in counted.items() if key.startswith("encoder."))
    assert encoder == pytest.approx(84.344e6, abs=500)  # section 2.2


def test_gates_are_the_published_ones():
    """Section 1 of the spec; the box configuration has the defaults of a fresh process (oddity O8)."""
    rows = {name: [getattr(gate_of(name), key) for key in ("alpha", "tau", "omega", "lam", "psi")] for name in COSTS}
    assert rows == {
        "mvlm-tf": [1.0, 0.1, 0.4, 0.4, 0.0],
        "mvlm-tf-tnl2k": [0.7, 0.0, 0.6, 0.7, 0.1],
        "mvlm-bbox": [0.5, 0.2, 0.9, 0.9, 0.3],
    }
