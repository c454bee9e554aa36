"""Each step from OSTrack's published network to its deployment graphs leaves the result as it was."""

from __future__ import annotations

import pytest
import torch
from centre_case import ACTIVATIONS, CASES, MAPS, assert_maps, cases, golden_forward, loaded_network, network_inputs
from golden_files import golden
from small_centre import small_inputs, small_net
from torch.nn import functional

from edgetrack.export.graphs.centre import HeadGraph, TemplateGraph, folded
from edgetrack.export.graphs.ostrack import SearchGraph, restored
from edgetrack.export.graphs.patches import PatchRows
from edgetrack.export.graphs.vit import BlockGraph, LastBlockGraph
from edgetrack.export.models import family_of
from edgetrack.export.models.centre_variants import kept_counts

OSTRACK = [name for name in CASES if name.startswith("ostrack")]
CE = "ostrack_b256_ce"
LZ = 64
SCORE = 5e-8  # half the gap of 1e-7 that the spec calls safe


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", cases(*OSTRACK))
def test_graphs_equal_the_recorded_maps(name):
    template, search = family_of(CASES[name]).deploy_graphs(CASES[name], loaded_network(name))
    cached = template.module(network_inputs(name)[0])
    assert_maps(search.module(network_inputs(name)[1], *cached), golden(name))


@pytest.mark.parametrize("name", cases("ostrack_b256_ce", "ostrack_b384_ce"))
def test_constant_counts_keep_the_recorded_tokens(name):
    template, search = family_of(CASES[name]).deploy_graphs(CASES[name], loaded_network(name))
    rows, places = search.module.survivors(network_inputs(name)[1], *template.module(network_inputs(name)[0]))
    recorded = golden(name)["net_ce2_keep"]
    assert set(places.tolist()) == set(recorded.tolist())
    assert rows.shape[0] == len(recorded)
    features = golden_forward(name).features[0]
    torch.testing.assert_close(rows, features[places], rtol=0, atol=ACTIVATIONS)


def test_template_once_is_template_in_every_frame():
    net, (image, _) = loaded_network(CE), network_inputs(CE)
    tokens, qkv = TemplateGraph(net)(image)
    before = golden_forward(CE).before[0]
    torch.testing.assert_close(tokens, before[:, :LZ], rtol=0, atol=ACTIVATIONS)
    first = net.backbone.blocks[0]
    torch.testing.assert_close(qkv, first.attn.qkv(first.norm1(before))[:, :LZ], rtol=0, atol=ACTIVATIONS)


@pytest.mark.parametrize("name", ["ostrack_b256"])
def test_patch_rows_equal_the_convolution(name):
    net, (_, search) = loaded_network(name), network_inputs(name)
    rows = PatchRows(net.backbone.patch_embed.proj, net.backbone.pos_embed_x[0])(search)
    torch.testing.assert_close(rows, golden_forward(name).before[0][0, LZ:], rtol=0, atol=ACTIVATIONS)


@pytest.mark.parametrize("number", [0, 5])
def test_block(number):
    seen = golden_forward("ostrack_b256")
    block = loaded_network("ostrack_b256").backbone.blocks[number]
    out = BlockGraph(block)(seen.before[number][0])
    torch.testing.assert_close(out, seen.before[number + 1][0], rtol=0, atol=ACTIVATIONS)


def test_last_block_for_the_search_tokens_alone():
    seen, net = golden_forward("ostrack_b256"), loaded_network("ostrack_b256")
    graph = LastBlockGraph(net.backbone.blocks[-1], LZ)
    x = seen.before[-1][0]
    rows = net.backbone.norm(graph(x, graph.norm1(x)))
    assert rows.shape == (256, 768)
    torch.testing.assert_close(rows, seen.normed[0, LZ:], rtol=0, atol=ACTIVATIONS)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_row_of_attention_ranks_the_tokens(number):
    net, seen = loaded_network(CE), golden_forward(CE)
    step = seen.output.decisions[number]
    block = BlockGraph(net.backbone.blocks[step.block])
    q, k, _ = block.split(block.project(seen.before[step.block][0]))
    score = SearchGraph(net).ranking(q, k)
    torch.testing.assert_close(score, step.score[0], rtol=0, atol=SCORE)


def test_elimination_keeps_order_and_template():
    graph = SearchGraph(small_net("ostrack-ce"))
    x = torch.arange(45.0)[:, None].repeat(1, 3)  # 9 template tokens, 36 search tokens
    score = torch.linspace(0, 1, 36)[torch.randperm(36, generator=torch.Generator().manual_seed(0))]
    kept, places = graph.eliminate(x, 100 + torch.arange(36), score, 26)
    order = score.argsort(descending=True)[:26]
    assert torch.equal(kept[:9], x[:9])
    assert torch.equal(kept[9:], x[9:][order])
    assert torch.equal(places, 100 + order)


def test_restoring_by_a_product_is_a_scatter():
    generator = torch.Generator().manual_seed(1)
    places = torch.randperm(36, generator=generator)[:11]
    tokens = torch.randn(11, 5, generator=generator)
    whole = torch.zeros(36, 5)
    whole[places] = tokens
    assert torch.equal(restored(tokens, places, 36), whole.t())


def test_the_order_of_survivors_does_not_matter():
    """TopK may order near-equal tokens otherwise; only which are kept matters."""
    net, seen = loaded_network(CE), golden_forward(CE)
    block = BlockGraph(net.backbone.blocks[4])
    x = seen.before[4][0]
    order = torch.cat([torch.arange(LZ), LZ + torch.randperm(180, generator=torch.Generator().manual_seed(2))])
    torch.testing.assert_close(block(x[order]), block(x)[order], rtol=0, atol=ACTIVATIONS)


@pytest.mark.parametrize("branch", ["ctr", "offset", "size"])
def test_folding_batch_normalisation(branch):
    head, features = loaded_network(CE).box_head, golden_forward(CE).features
    x = features.transpose(1, 2).reshape(1, 768, 16, 16)
    for step in head.steps(branch):
        weight, bias = folded(step)
        found = functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        x = step(x)
        torch.testing.assert_close(found.relu() if step is not head.steps(branch)[-1] else found, x, rtol=0, atol=5e-6)


def test_folded_head_with_one_first_convolution():
    features = golden_forward(CE).features.transpose(1, 2).reshape(1, 768, 16, 16)
    net = loaded_network(CE)
    for key, found, expected in zip(MAPS, HeadGraph(net.box_head)(features), net.box_head(features), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=MAPS[key])


@pytest.mark.parametrize("kind", ["ostrack", "ostrack-ce"])
def test_other_sizes_and_depths(kind):
    """Nothing in the graphs is tied to the published sizes, and other pictures keep other tokens."""
    net = small_net(kind)
    template, search = TemplateGraph(net), SearchGraph(net)
    kept = set()
    for seed in range(4):
        images = small_inputs(seed)
        output = net(*images)
        cached = template(images[0])
        for key, found, expected in zip(MAPS, search(images[1], *cached), output.maps, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=MAPS[key])
        places = search.survivors(images[1], *cached)[1]
        assert len(places) == list({0: 36, **kept_counts(net.shape)}.values())[-1]
        if kind != "ostrack":
            assert set(places.tolist()) == set(output.decisions[-1].kept[0].tolist())
        kept.add(tuple(sorted(places.tolist())))
    assert len(kept) == (1 if kind == "ostrack" else 4)


@pytest.mark.parametrize("name", cases())
def test_declared_graphs_fit_their_modules(name):
    variant = CASES[name]
    family = family_of(variant)
    with torch.device("meta"):
        template, search = family.deploy_graphs(variant, family.network(variant))
        outputs = template.module(*template.inputs.values())
        maps = search.module(*search.inputs.values())
    assert template.role == "template"
    assert search.role == "search"
    # What the core relies on: the search graph takes the template graph's outputs under their names.
    for output, value in zip(template.outputs, outputs, strict=True):
        assert search.inputs[output].shape == value.shape
    side = family.tracker_spec(variant)["decode"]["grid"]
    assert [tuple(value.shape) for value in maps] == [(1, planes, side, side) for planes in (1, 2, 2)]
    for graph in (template, search):
        assert set(graph.layouts) == {*graph.inputs, *graph.outputs}
