"""Each step from GRM's published network to its deployment graph leaves the result as it was."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from centre_case import ACTIVATIONS, CASES, MAPS, MARGINS, assert_maps, cases, golden_forward, loaded_network
from centre_case import network_inputs as inputs_of
from golden_files import golden
from small_centre import small_inputs, small_net

from edgetrack.export.graphs.centre import TemplateGraph
from edgetrack.export.graphs.grm import FORBIDDEN, DividedBlock, DivideGraph, SearchGraph, forbidding_bias
from edgetrack.export.graphs.vit import attend_rows
from edgetrack.export.models.grm_net import GrmBlock, allowed_pairs, division_cut, masked_softmax

GRM = "grm_b256"
LZ = 64
EPS = 1e-6


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize(("threshold", "prefix"), [("", "net"), ("-t40", "net40")])
@pytest.mark.parametrize("name", cases("grm_b256", "grm_l320"))
@pytest.mark.parametrize("published_softmax", [True, False])
def test_both_forms_equal_the_recorded_maps(name, threshold, prefix, published_softmax):
    net = loaded_network(name, threshold)
    cached = TemplateGraph(net)(inputs_of(name)[0])
    graph = SearchGraph(net, published_softmax=published_softmax)
    assert_maps(graph(inputs_of(name)[1], *cached), golden(name), prefix)


@pytest.mark.parametrize("name", cases("grm_b256", "grm_l320"))
def test_split_division_gives_the_recorded_margins(name):
    net, seen = loaded_network(name), golden_forward(name)
    for number, block in enumerate(net.backbone.blocks):
        if number == 0:
            continue
        margins = DivideGraph(block.attn, LZ)(block.norm1(seen.before[number][0]))
        recorded = golden(name)["net_divide_margin"][number - 1]
        np.testing.assert_allclose(margins, recorded, rtol=0, atol=MARGINS)
        assert np.array_equal(margins > 0, golden(name)["net_decision"][number - 1])


@pytest.mark.parametrize("threshold", [0.0, 0.07, 0.4, 0.5, 0.55, 0.99])
def test_the_cut_is_the_threshold(threshold):
    net = copy.copy(small_net("grm"))
    net.threshold = threshold
    logits = torch.randn(1, 400, 2, generator=torch.Generator().manual_seed(3)) * 3
    division = net.divide(1, logits.log_softmax(-1))
    margins = logits[..., 1] - logits[..., 0]
    assert torch.equal(division.interacts, margins > division_cut(threshold))
    assert 0 < int(division.interacts.sum()) < 400
    if threshold in (0.0, 0.5):
        assert division.cut == 0


def test_a_tie_does_not_interact():
    tie = torch.full((1, 3, 2), math.log(0.5))
    assert not small_net("grm").divide(1, tie).interacts.any()


def test_the_mask_is_two_broadcasts():
    interacts = torch.rand(40, generator=torch.Generator().manual_seed(4)) < 0.5
    template, search = forbidding_bias(interacts, 9)
    bias = torch.cat([template.expand(9, 49), search])
    pairs = allowed_pairs(interacts[None].float(), 9)[0]
    assert torch.equal(bias == 0, pairs == 1)
    assert torch.equal(bias == FORBIDDEN, pairs == 0)
    # As the table of the spec says: template with "search only" is all that is forbidden.
    only = torch.cat([torch.zeros(9, dtype=torch.bool), ~interacts])
    kind = torch.arange(49) < 9
    expected = (kind[:, None] & only[None]) | (only[:, None] & kind[None])
    assert torch.equal(pairs == 0, expected)


def test_large_logits_in_the_published_softmax():
    """Step 5 against its formula in float64, where a forbidden key leads by more and more.

    The weights of the recorded vectors cannot tell this softmax from a plain one; these logits can.
    """
    count = 12
    leads = torch.tensor([0.0, 5.0, 10.0, 14.0, 20.0, 40.0, 200.0])
    logits = torch.randn(len(leads), count, generator=torch.Generator().manual_seed(5))
    allowed = torch.ones(len(leads), count)
    allowed[:, :2] = 0
    logits[:, 0] = logits[:, 2:].amax(1) + leads
    weights = masked_softmax(logits, allowed)
    exact = logits.double()
    exps = torch.exp(exact - exact.max(dim=1, keepdim=True).values) * allowed.double()
    expected = (exps + EPS / count) / (exps.sum(dim=1, keepdim=True) + EPS)
    torch.testing.assert_close(weights.double(), expected, rtol=2e-6, atol=1e-9)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(leads)), rtol=0, atol=1e-6)
    # Far out it is the mean over all keys, forbidden ones too; near by it is a plain masked softmax.
    torch.testing.assert_close(weights[-1], torch.full((count,), 1 / count), rtol=0, atol=1e-7)
    plain = torch.softmax(logits + (allowed - 1) * 1e4, dim=1)
    torch.testing.assert_close(weights[0], plain[0], rtol=0, atol=EPS)
    assert (weights[4] - plain[4]).abs().max() > 0.1


def test_the_difference_of_the_forms_is_bounded():
    """|B - A| <= e / Z, Z the sum of the row's allowed exponentials: at most e if an allowed key leads."""
    generator = torch.Generator().manual_seed(6)
    logits = 4 * torch.randn(60, 60, generator=generator)
    allowed = (torch.rand(60, 60, generator=generator) < 0.7).float()
    allowed.fill_diagonal_(1)
    total = (torch.exp(logits - logits.amax(1, keepdim=True)) * allowed).sum(1, keepdim=True)
    difference = (masked_softmax(logits, allowed) - torch.softmax(logits + (allowed - 1) * 1e4, dim=1)).abs()
    assert (difference <= EPS / total + 2e-7).all()
    assert difference[total[:, 0] >= 1].max() <= EPS + 2e-7


def loud(block: GrmBlock) -> GrmBlock:
    """The block with queries and keys so large that forbidden keys lead rows by far."""
    found = copy.deepcopy(block)
    width = found.attn.qkv.weight.shape[1]
    found.attn.qkv.weight[: 2 * width] *= 6
    return found


def test_form_a_keeps_the_published_result_on_large_logits():
    net, seen = loaded_network(GRM), golden_forward(GRM)
    block, x = loud(net.backbone.blocks[8]), seen.before[8]  # where 55 of 256 tokens interact
    normed = block.norm1(x)
    division = net.divide(8, block.attn.division(normed, LZ))
    published = block.attn.masked(normed, allowed_pairs(division.interacts.float(), LZ))
    expected = block.feed(x + published)[0]
    forms = {form: DividedBlock(block, LZ, 0.0, published_softmax=form)(x[0]) for form in (True, False)}
    torch.testing.assert_close(forms[True], expected, rtol=0, atol=ACTIVATIONS)
    assert (forms[False] - expected).abs().max() > 100 * ACTIVATIONS, "these logits tell the forms apart"


def test_forbidden_keys_get_nothing_in_form_b():
    generator = torch.Generator().manual_seed(7)
    q, k, v = (torch.randn(2, 20, 4, generator=generator) for _ in range(3))
    interacts = torch.arange(15) % 2 == 0
    template, _ = forbidding_bias(interacts, 5)
    out = attend_rows(q[:, :5], k, v, template)
    visible = torch.cat([torch.ones(5, dtype=torch.bool), interacts])
    alone = attend_rows(q[:, :5], k[:, visible], v[:, visible])
    torch.testing.assert_close(out, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.6])
def test_other_sizes_and_depths(threshold):
    net = small_net("grm", threshold)
    template, search = TemplateGraph(net), SearchGraph(net)
    shares = []
    for seed in range(3):
        images = small_inputs(seed)
        output = net(*images)
        assert output.safe
        found = search(images[1], *template(images[0]))
        for key, value, expected in zip(MAPS, found, output.maps, strict=True):
            torch.testing.assert_close(value, expected, rtol=0, atol=MAPS[key])
        shares += [float(step.interacts.float().mean()) for step in output.decisions]
    assert min(shares) < 1
    assert max(shares) > 0


def test_no_division_is_seen():
    """The tolerances can tell: with every token interacting the maps are others."""
    net = loaded_network(GRM)
    graph = SearchGraph(net)
    for block in graph.blocks:
        block.cut = -math.inf
    graph.cut = -math.inf
    with pytest.raises(AssertionError):
        assert_maps(graph(inputs_of(GRM)[1], *TemplateGraph(net)(inputs_of(GRM)[0])), golden(GRM))


def test_the_variants_name_reaches_the_graph():
    from edgetrack.export.models import family_of

    family = family_of("grm-256-t40")
    with torch.device("meta"):
        _, search = family.deploy_graphs("grm-256-t40", family.network("grm-256-t40"))
    assert search.module.cut == pytest.approx(0.405465, abs=1e-6)
    assert {block.cut for block in search.module.blocks} == {search.module.cut}
    assert CASES[GRM] == "grm-256"
