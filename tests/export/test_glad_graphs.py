"""GLAD's deployment graphs give the published network's result; each saving is one that keeps it."""

from __future__ import annotations

import pytest
import torch
from glad_case import assert_maps, golden_forward, latents, loaded_network, network_inputs
from golden_files import golden
from small_glad import SMALL, small_inputs, small_net

from edgetrack.export.graphs.glad import DecoderGraph, PoolGraph, SearchGraph, TemplateGraph, told_names
from edgetrack.export.models import glad_net
from edgetrack.export.models.glad_net import thinned

EXACT = 2e-6


def close(found, expected, atol=EXACT):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def run_graphs(net, template, search, features):
    """The three graphs one after the other."""
    told = PoolGraph(net)(*features)
    return SearchGraph(net)(search, *TemplateGraph(net)(template), *told)


@pytest.mark.parametrize("bf16", [False, True])
def test_small_network(bf16):
    net, (template, search, features) = small_net(bf16=bf16), small_inputs()
    with torch.no_grad():
        published = net(template, search, net.pooled(features)).maps
        for found, expected in zip(run_graphs(net, template, search, features), published, strict=True):
            close(found, expected)


def test_position_tables_matter():
    """The two precisions of the tables give other maps, by more than any tolerance."""
    template, search, features = small_inputs()
    with torch.no_grad():
        maps = [run_graphs(small_net(bf16=bf16), template, search, features)[2] for bf16 in (False, True)]
    assert (maps[0] - maps[1]).abs().max() > 1e-4


def test_keys_and_values():
    net, (_, _, features) = small_net(), small_inputs()
    with torch.no_grad():
        told = PoolGraph(net)(*features)
        pooled = net.pooled(features)
        for k, block in enumerate(net.decoders()):
            close(told[2 * k], block.attn3.keys(pooled[k]))
            close(told[2 * k + 1], block.attn3.values(pooled[k]))
    assert told_names(3) == ("key_0", "value_0", "key_1", "value_1", "key_2", "value_2")


def test_positions_of_keys_are_constants(monkeypatch):
    """Engines keep float32 where a graph asks for bfloat16 halfway: the tables must be made before."""
    net, (_, _, features) = small_net(), small_inputs()
    graph = PoolGraph(net)
    monkeypatch.setattr(glad_net, "position_table", lambda *_, **__: pytest.fail("computed in the graph"))
    graph(*features)


@pytest.mark.parametrize("first", [0, SMALL.template_tokens])
def test_decoder_block(first):
    """Rows that nobody wants are dropped after the rereading, which mixes all of them (oddity O1)."""
    net, (_, _, features) = small_net(), small_inputs()
    block = net.decoders()[0]
    x = torch.randn(1, SMALL.tokens, SMALL.channels, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pooled = net.pooled(features)[0]
        key, value = block.attn3.keys(pooled)[0], block.attn3.values(pooled)[0]
        found = DecoderGraph(block, SMALL.tokens, first)(x[0], key, value)
        close(found, block(x, pooled)[0, first:])
        other = x.clone()
        other[0, 0] += 1
        moved = (block.attn3(other, pooled) - block.attn3(x, pooled))[0].abs().amax(1)
    assert bool((moved > 1e-4).sum() > 1)  # a token changes others by more than its own row


def test_thinning():
    image = torch.arange(2 * 3 * 10 * 10).reshape(2, 3, 10, 10)
    assert thinned(image, 4)[0, 0].tolist() == [[i * 10 + j for j in (0, 2, 5, 7)] for i in (0, 2, 5, 7)]
    assert torch.equal(thinned(image, 5), image[..., ::2, ::2])


def test_recorded_maps():
    net, seen = loaded_network("glad_b256"), golden_forward("glad_b256")
    with torch.no_grad():
        found = run_graphs(net, *network_inputs("glad_b256"), latents())
    assert_maps(found, golden("glad_b256"))
    for value, expected in zip(found, seen.output.maps, strict=True):
        close(value, expected, atol=1e-5)


@pytest.mark.big
def test_recorded_maps_of_the_large_network():
    with torch.no_grad():
        found = run_graphs(loaded_network("glad_l384"), *network_inputs("glad_l384"), latents())
    assert_maps(found, golden("glad_l384"))
