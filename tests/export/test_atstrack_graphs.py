"""Each step that ATSTrack's graphs take to save work gives the network's result."""

from __future__ import annotations

import pytest
import torch
from small_atstrack import SMALL, filled, small_inputs, small_mask, small_net, small_told

from edgetrack.export.graphs import atstrack as module
from edgetrack.export.graphs.atstrack import SearchGraph, TextGraph
from edgetrack.export.graphs.centre import HeadGraph, TemplateGraph
from edgetrack.export.models.atstrack_net import AtsNet
from edgetrack.export.models.fgm import bisected_median


def fed(net: AtsNet, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """The search graph's inputs, and the same for the network."""
    search, _ = small_inputs(net.shape.templates)
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(1, 3, 32, 32, generator=generator) for _ in range(net.shape.templates)]
    embed, told = TemplateGraph(net).eval(), small_told(net)
    tokens, qkv = (torch.cat(parts, dim=1) for parts in zip(*(embed(image) for image in images), strict=True))
    return search, tokens, qkv, told.state, told.lang, told.mask


def assert_same(found, output, atol: float = 1e-5) -> None:
    for one, other in zip(found, (*output.maps, output.state), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


@pytest.mark.parametrize("templates", SMALL)
@torch.no_grad()
def test_one_frame_is_the_networks(templates):
    net = small_net(templates)
    search, tokens, qkv, state, lang, mask = fed(net)
    expected = net(search, tokens, state, lang, mask)
    assert_same(SearchGraph(net).eval()(search, tokens, qkv, state, lang, mask), expected)
    bisected = SearchGraph(net, median=bisected_median).eval()
    assert_same(bisected(search, tokens, qkv, state, lang, mask), expected, atol=1e-4)


@torch.no_grad()
def test_template_tokens_are_the_backbones():
    net, image = small_net(), torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    tokens, _ = TemplateGraph(net).eval()(image)
    torch.testing.assert_close(tokens, net.backbone.template_tokens(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [(1, 3, 2, 4), (1, 0, 0, 0), (0, 0, 0, 0)])
@torch.no_grad()
def test_the_text_graph_is_the_networks(lengths):
    net, mask = small_net(clip=True), small_mask(*lengths)
    ids = torch.randint(0, 600, (1, 4, 6), dtype=torch.int32, generator=torch.Generator().manual_seed(2))
    state, lang = TextGraph(net).eval()(ids, mask)
    told = net.describe(ids, mask)
    torch.testing.assert_close(state, told.state, rtol=0, atol=1e-6)
    torch.testing.assert_close(lang, told.lang, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gain", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.4, -0.1, 0.6)])
@torch.no_grad()
def test_gains_of_each_origin(gain):
    """Without a gain for words their part is left out."""
    net = filled(AtsNet(SMALL[3])).requires_grad_(False)
    net.vl_gain.copy_(torch.tensor(gain))
    search, tokens, qkv, state, lang, mask = fed(net)
    assert_same(SearchGraph(net).eval()(search, tokens, qkv, state, lang, mask), net(search, tokens, state, lang, mask))


@torch.no_grad()
def test_shrinking_the_heads_input_is_exact():
    """A power of two, taken off the features and put on the weights, changes no bit."""
    net, x = small_net(), torch.randn(1, 64, 4, 4, generator=torch.Generator().manual_seed(3))
    plain, shrunk = HeadGraph(net.box_head), HeadGraph(net.box_head, shrink=module.SHRINK)
    for one, other in zip(plain(x), shrunk(x * module.SHRINK), strict=True):
        assert torch.equal(one, other)
