"""FARTrack cut to fewer layers and kept tokens: names, figures, and graphs against the loop that prunes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_fartrack_cost import count_gmacs

from edgetrack.errors import InputError
from edgetrack.export.models import VARIANTS, family_of, find_variant
from edgetrack.export.models.fartrack_net import SLOTS, TEMPLATE_TOKENS
from edgetrack.export.models.fartrack_variants import cut_name, kept_tokens
from edgetrack.export.source import load_source
from edgetrack.export.standin import synth_box, synth_frame


@pytest.mark.parametrize(
    ("model", "depth", "keep", "name"),
    [
        ("fartrack-pico", 4, 24, "fartrack-pico-d4-k24"),
        ("fartrack-pico", 4, None, "fartrack-pico-d4"),
        ("fartrack-pico", None, 24, "fartrack-pico-k24"),
        ("fartrack-pico", None, None, "fartrack-pico"),
        ("fartrack-pico", 6, 37, "fartrack-pico"),
        ("fartrack-tiny", 6, None, "fartrack-pico"),  # the published name of that depth
        ("fartrack-tiny", 10, 49, "fartrack-nano-k49"),
        ("fartrack-tiny-distill", 5, None, "fartrack-tiny-distill-d5"),
        ("fartrack-tiny-frame", 15, None, "fartrack-tiny-frame"),
        ("toy-one", None, None, "toy-one"),
    ],
)
def test_names_say_the_cut(model, depth, keep, name):
    assert cut_name(model, depth, keep) == name
    if name != "toy-one":
        found = find_variant(name)
        assert (found.name, found.flavour) == (name, find_variant(model).flavour)
        assert found.depth == (depth or find_variant(model).depth)
        assert kept_tokens(name) == (keep or (37 if found.flavour == "sparse" else 49))


@pytest.mark.parametrize(
    ("model", "depth", "keep", "message"),
    [
        ("fartrack-pico", 0, None, "depth is 0"),
        ("fartrack-pico", 16, None, "layers 1 to 15"),
        ("fartrack-pico", None, 1, "kept tokens are 1"),
        ("fartrack-pico", None, 50, "give 2 to 49"),
        ("fartrack-pico-distill", None, 24, "prunes no templates"),
        ("fartrack-pico-d4", 3, None, "cannot be cut"),
        ("toy-one", 3, None, "cannot be cut"),
    ],
)
def test_cuts_that_cannot_be(model, depth, keep, message):
    with pytest.raises(InputError, match=message):
        cut_name(model, depth, keep)


@pytest.mark.parametrize(
    "name",
    [
        "fartrack-pico-d6",
        "fartrack-pico-d04",
        "fartrack-pico-k37",
        "fartrack-pico-d16",
        "fartrack-tiny-d6-k5",
        "fartrack-pico-distill-k5",
        "fartrack-huge-d4",
        "fartrack-pico-k24-d4",
    ],
)
def test_every_cut_has_one_name(name):
    with pytest.raises(InputError, match="unknown model"):
        find_variant(name)


def test_cuts_are_not_listed():
    find_variant("fartrack-pico-d4")
    assert len([name for name in VARIANTS if name.startswith("fartrack")]) == 7


@pytest.mark.parametrize(
    "name", ["fartrack-pico-d4-k24", "fartrack-tiny-d1", "fartrack-nano-k49", "fartrack-tiny-distill-d5"]
)
def test_costs_of_cuts_are_counted(name):
    variant, family = find_variant(name), family_of(name)
    with torch.device("meta"):
        net = family.build(name)
        graphs = family.deploy_graphs(name, net)
        gmacs = sum(count_gmacs(graph.module, *graph.inputs.values()) for graph in graphs)
        published = count_gmacs(net, [torch.zeros(1, 3, 112, 112)] * 5, torch.zeros(1, 3, 224, 224))
    assert gmacs == pytest.approx(variant.gmacs, abs=6e-4)
    assert published == pytest.approx(variant.published_gmacs, abs=6e-4)
    unused = family.unused(name)
    assert variant.parameters == sum(
        parameter.numel()
        for key, parameter in net.named_parameters()
        if not any(key == entry or (entry.endswith(".") and key.startswith(entry)) for entry in unused)
    )


@pytest.mark.parametrize(("name", "kept"), [("fartrack-pico-d2-k24", 24), ("fartrack-pico-d1-k49", 49)])
def test_graphs_equal_the_loop_that_prunes_the_same(name, kept):
    source = load_source(name, "stand-in", 3)
    source.net.requires_grad_(False)
    loop = source.family.reference(name, source.net)
    frames = [synth_frame(index, 90, 120) for index in range(4)]
    loop.init(frames[0], synth_box(0, 90, 120))
    graphs = {graph.role: graph for graph in source.graphs}
    expected = []
    for frame in frames[1:]:
        loop.update(frame)
        expected.append(loop.step)
        assert loop.kept() is None if kept == TEMPLATE_TOKENS else loop.kept().sum() == kept
    fed = source.family.parity_inputs(name, source.net, frames, synth_box(0, 90, 120))
    seen = [entry.inputs for entry in fed if entry.role == "search"]
    assert [entry["old"].shape[2] for entry in seen] == [TEMPLATE_TOKENS, kept, kept]
    for entry, step in zip(seen, expected, strict=True):
        logits, score = graphs["search"].module(*(torch.from_numpy(value) for value in entry.values()))
        assert (logits[0] - step.logits).abs().max() < 2e-5
        if kept < TEMPLATE_TOKENS:
            lowest = score[0].argsort()[: TEMPLATE_TOKENS - kept]
            assert not step.keep[lowest].any()
        assert step.tokens in (445, (SLOTS - 1) * kept + TEMPLATE_TOKENS + 200)
    spec = source.family.tracker_spec(name)
    assert spec["templates"]["prune"] == TEMPLATE_TOKENS - kept
    assert graphs["search"].values == ({} if kept == TEMPLATE_TOKENS else {"kept": (kept, TEMPLATE_TOKENS)})


def test_the_loop_tells_the_products_raw_score():
    from edgetrack import _core

    source = load_source("fartrack-pico-d1", "stand-in", 0)
    loop = source.family.reference("fartrack-pico-d1", source.net)
    frames = [synth_frame(index, 90, 120) for index in range(2)]
    loop.init(frames[0], synth_box(0, 90, 120))
    with pytest.raises(InputError, match="before update"):
        loop.raw_score(8)
    loop.update(frames[1])
    logits = loop.step.logits.numpy().astype(np.float64)[:, :600]
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    best = logits.argmax(axis=1)
    mass = [row[max(0, k - 8) : k + 9].sum() for row, k in zip(weights, best, strict=True)]
    assert loop.raw_score(8) == pytest.approx(np.prod(mass) ** 0.25, rel=1e-4)
    assert loop.raw_score(8) == pytest.approx(_core.bin_mass(loop.step.logits.numpy(), 600, 8))
