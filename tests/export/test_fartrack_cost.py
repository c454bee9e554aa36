"""The catalogue's figures are counted, not copied."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgetrack.export.models import VARIANTS, family_of


def count_gmacs(module: torch.nn.Module, *inputs) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.family == "fartrack"])
def test_costs_and_parameters(name):
    variant, family = VARIANTS[name], family_of(name)
    with torch.device("meta"):  # shapes are all that is needed
        net = family.build(name)
        graphs = family.deploy_graphs(name, net)
        templates, search = [torch.zeros(1, 3, 112, 112)] * 5, torch.zeros(1, 3, 224, 224)
        gmacs = sum(count_gmacs(graph.module, *graph.inputs.values()) for graph in graphs)
        assert count_gmacs(net, templates, search) == pytest.approx(variant.published_gmacs, abs=6e-4)
    assert gmacs == pytest.approx(variant.gmacs, abs=6e-4)
    unused = family.unused(name)
    used = sum(
        parameter.numel()
        for key, parameter in net.named_parameters()
        if not any(key == entry or (entry.endswith(".") and key.startswith(entry)) for entry in unused)
    )
    assert used == variant.parameters
