"""Each step from MVLM's published network to its deployment graphs leaves the result as it was."""

from __future__ import annotations

import pytest
import torch
from golden_files import golden
from mvlm_case import (
    ACTIVATIONS,
    CASES,
    MAPS,
    SIMS,
    assert_maps,
    confidence_inputs,
    golden_forward,
    golden_text,
    loaded_network,
    network_inputs,
)
from small_mvlm import SMALL, small_inputs, small_net

from edgetrack.export.graphs.fastitpn import LastMainGraph, MainGraph, StemGraph
from edgetrack.export.graphs.mvlm import SearchGraph, TemplateGraph, covered, similarity
from edgetrack.export.loops.centre_head import hann_window
from edgetrack.export.models import family_of
from edgetrack.export.models.margin import similarities, token_cells
from edgetrack.export.models.mvlm_net import candidate_boxes

BOXES = 5e-6


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def fed(name):
    """What the search graph is fed on the recorded input: templates come from the template graph."""
    search, templates = network_inputs(name)
    tokens = [TemplateGraph(loaded_network(name, w2=True))(template) for template in templates]
    return (search, golden_text(), *([torch.cat(tokens, dim=1)] if tokens else []))


@pytest.mark.parametrize("name", CASES)
def test_graphs_equal_the_recorded_network(name):
    """Features and maps of the vectors; windowed scores, boxes and similarities follow from them."""
    vectors, graph = golden(name), SearchGraph(loaded_network(name, w2=True))
    inputs = fed(name)
    features = graph.features(*inputs)
    torch.testing.assert_close(features[::2, ::2], torch.from_numpy(vectors["net2_feat_x"]), rtol=0, atol=ACTIVATIONS)
    maps = graph.head(features.t().reshape(1, 512, 14, 14))
    assert_maps(maps, vectors, "net2")
    cls, boxes, sims = graph(*inputs)
    expected = golden_forward(name, "net2").output
    response = (hann_window(14) * expected.maps.score).flatten()
    torch.testing.assert_close(cls[0], response, rtol=0, atol=MAPS["score"])
    wanted = candidate_boxes(expected.maps.size, expected.maps.offset)
    torch.testing.assert_close(boxes[0], wanted, rtol=0, atol=BOXES)
    same = (token_cells(boxes[0], 14) == token_cells(wanted, 14)).all(1)
    assert same.sum() > 190
    agreed = similarities(wanted, expected.features[0], golden_text()[0])
    torch.testing.assert_close(sims[0][same], agreed[same], rtol=0, atol=SIMS)


def test_stem_in_rows_with_the_two_halves_of_the_first_kernel_in_one():
    net, seen = loaded_network("mvlm_bbox", w2=True), golden_forward("mvlm_bbox", "net2")
    body = net.encoder.body
    search, templates = network_inputs("mvlm_bbox")
    rows = StemGraph(body, body.search_positions)(search)
    torch.testing.assert_close(rows, seen.tokens[0, 1:197], rtol=0, atol=ACTIVATIONS)
    graph = TemplateGraph(net)
    for index, template in enumerate(templates):
        first = 197 + 49 * index
        torch.testing.assert_close(graph(template)[0], seen.tokens[0, first : first + 49], rtol=0, atol=ACTIVATIONS)


@pytest.mark.parametrize("number", [0, 11, 22])
def test_block_with_folded_scales(number):
    seen, net = golden_forward("mvlm_bbox", "net2"), loaded_network("mvlm_bbox", w2=True)
    block, step = net.encoder.body.layers()[number], net.encoder.body.stem_steps + number
    before = seen.tokens[0] if number == 0 else seen.after[step - 1][0][0]
    torch.testing.assert_close(MainGraph(block)(before), seen.after[step][0][0], rtol=0, atol=ACTIVATIONS)


def test_last_block_for_the_search_tokens_alone():
    seen, net = golden_forward("mvlm_bbox", "net2"), loaded_network("mvlm_bbox", w2=True)
    graph = LastMainGraph(net.encoder.body.layers()[-1], slice(1, 197))
    rows = graph(seen.after[30][0][0])
    assert rows.shape == (196, 512)
    torch.testing.assert_close(rows, seen.after[31][0][0, 1:197], rtol=0, atol=ACTIVATIONS)


@pytest.mark.parametrize("name", CASES)
def test_pooling_by_a_product(name):
    """Of the gate's own vectors; what covers nothing has no similarity, exactly."""
    vectors = golden(name)
    features, text, boxes, _ = confidence_inputs(name)
    found = similarity(boxes, features, text)
    torch.testing.assert_close(found, torch.from_numpy(vectors["conf_sims_exact"]), rtol=0, atol=SIMS)
    assert (found[torch.from_numpy(vectors["conf_noise"])] == 0).all()
    x1, y1, x2, y2 = vectors["conf_cells"].T
    assert covered(boxes, 14).sum(1).tolist() == ((x2 - x1 - 1) * (y2 - y1 - 1)).tolist()
    row = covered(boxes, 14)[0].reshape(14, 14).nonzero()
    assert row.min(0).values.tolist() == [y1[0] + 1, x1[0] + 1]
    assert row.max(0).values.tolist() == [y2[0] - 1, x2[0] - 1]


@pytest.mark.parametrize("kind", SMALL)
def test_other_sizes_and_depths(kind):
    """Nothing in the graphs is tied to the published sizes."""
    net = small_net(kind)
    graph, template = SearchGraph(net), TemplateGraph(net)
    for seed in range(4):
        search, text, images = small_inputs(kind, seed)
        tokens = [template(image) for image in images]
        told = torch.cat(tokens, dim=1) if tokens else None
        output = net(search, text, images)
        features = graph.features(search, text, told)
        torch.testing.assert_close(features, output.features[0], rtol=0, atol=ACTIVATIONS)
        cls, boxes, sims = graph(search, text, told)
        wanted = candidate_boxes(output.maps.size, output.maps.offset)
        torch.testing.assert_close(cls[0], hann_window(6).flatten() * output.maps.score.flatten(), rtol=0, atol=5e-6)
        torch.testing.assert_close(boxes[0], wanted, rtol=0, atol=BOXES)
        torch.testing.assert_close(sims[0], similarities(boxes[0], features, text[0]), rtol=0, atol=SIMS)
        assert sims.abs().max() > 0.05


def test_every_part_of_the_input_counts():
    """Sentence and templates reach the search tokens; their order among themselves is the published one."""
    net = small_net("bbox")
    graph, template = SearchGraph(net), TemplateGraph(net)
    search, text, images = small_inputs("bbox")
    first, second = (template(image) for image in images)
    plain = graph.features(search, text, torch.cat([first, second], dim=1))
    for other in (
        graph.features(search, text.flip(1) * 0.5, torch.cat([first, second], dim=1)),
        graph.features(search, text, torch.cat([first, first], dim=1)),
        graph.features(search.flip(3), text, torch.cat([first, second], dim=1)),
    ):
        assert (other - plain).abs().max() > 1e-3


@pytest.mark.parametrize("variant", ["mvlm-tf", "mvlm-tf-tnl2k", "mvlm-bbox"])
def test_declared_graphs_fit_their_modules(variant):
    family = family_of(variant)
    with torch.device("meta"):
        net = family.network(variant)
        graphs = {graph.role: graph for graph in family.deploy_graphs(variant, net)}
        search = graphs["search"]
        results = search.module(*search.inputs.values())
    spec = family.tracker_spec(variant)
    assert [tuple(value.shape) for value in results] == [(1, 196), (1, 196, 4), (1, 196)]
    assert search.outputs == ("cls", "boxes", "sims")
    assert tuple(search.inputs["text"].shape) == (1, spec["text"]["tokens"], spec["text"]["channels"])
    assert ("template" in graphs) == ("templates" in search.inputs) == (spec["template"] is not None)
    if "template" in graphs:
        with torch.device("meta"):
            (tokens,) = (graphs["template"].module(*graphs["template"].inputs.values()),)
        assert search.inputs["templates"].shape[1] == spec["template"]["count"] * tokens.shape[1]
        assert tokens.shape[1] == spec["template"]["tokens"]
    for graph in graphs.values():
        assert set(graph.layouts) == {*graph.inputs, *graph.outputs}
