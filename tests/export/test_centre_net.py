"""The published centre-head networks against recorded outputs of the published code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from centre_case import ACTIVATIONS, CASES, MAPS, MARGINS, assert_maps, cases, golden_forward, network_inputs
from fartrack_case import golden_shapes
from golden_files import golden

from edgetrack.export.models import family_of

CE = cases("ostrack_b256_ce", "ostrack_b384_ce")
# golden prefix, how a variant's name says the division threshold
THRESHOLDS = [("net", ""), ("net40", "-t40")]
DIVIDED = [
    pytest.param(*case.values, *run, marks=case.marks) if hasattr(case, "values") else (case, *run)
    for case in cases("grm_b256", "grm_l320")
    for run in THRESHOLDS
]
ATTENTION = 5e-8  # half the gap of 1e-7 that the spec calls safe


@pytest.mark.parametrize("name", CASES)
def test_published_layout(name):
    assert family_of(CASES[name]).entries(CASES[name]) == golden_shapes(golden(name))


def test_got_is_the_same_network():
    family = family_of("grm-256")
    assert family.entries("grm-256-got") == family.entries("grm-256")


@pytest.mark.parametrize("name", cases())
def test_forward(name):
    vectors, output = golden(name), golden_forward(name).output
    assert_maps(output.maps, vectors)
    np.testing.assert_allclose(output.box, vectors["net_pred_boxes"][:, 0], rtol=0, atol=MAPS["size"])


@pytest.mark.parametrize("name", cases())
def test_normalised_search(name):
    _, search = network_inputs(name)
    assert np.array_equal(search[..., ::16, ::16], golden(name)["net_search_norm_s16"])


def sampled(tokens: torch.Tensor) -> np.ndarray:
    return tokens[:, ::8, ::32].numpy()


def check_activations(name: str, prefix: str, threshold: str) -> int:
    """Compare what was recorded; rows of search tokens only where they came out in the recorded order."""
    vectors, seen = golden(name), golden_forward(name, threshold)
    template = seen.before[0].shape[1] - vectors["net_score_map"].size
    orders = [step.kept[0] for step in seen.output.decisions if hasattr(step, "kept")]
    same = all(np.array_equal(order, vectors[f"net_ce{k}_keep"]) for k, order in enumerate(orders))
    compared = 0
    for index, x in enumerate(seen.before):
        key = f"{prefix}_act_embed" if index == 0 else f"{prefix}_act_block{index - 1}"
        if key not in vectors:
            continue
        rows = slice(None) if same or x.shape[1] == seen.before[0].shape[1] else slice(0, template // 8)
        found, recorded = sampled(x), vectors[key]
        np.testing.assert_allclose(found[:, rows], recorded[:, rows], rtol=0, atol=ACTIVATIONS, err_msg=key)
        assert found.shape == recorded.shape
        compared += 1
    return compared


@pytest.mark.parametrize("name", cases())
def test_activations(name):
    assert check_activations(name, "net", "") == (12 if name != "grm_l320" else 13)


@pytest.mark.parametrize("name", cases())
def test_final_norm_leaves_zeros_where_tokens_were_dropped(name):
    vectors, seen = golden(name), golden_forward(name)
    recorded = vectors["net_act_norm"]
    template = seen.before[0].shape[1] - vectors["net_score_map"].size
    whole = torch.cat([seen.normed[:, :template], seen.features], dim=1)
    np.testing.assert_allclose(sampled(whole), recorded, rtol=0, atol=ACTIVATIONS)
    dropped = vectors["net_score_map"].size - (seen.normed.shape[1] - template)
    assert int((seen.features[0] == 0).all(dim=1).sum()) == dropped


@pytest.mark.parametrize("name", CE)
def test_eliminations(name):
    vectors, steps = golden(name), golden_forward(name).output.decisions
    assert len(steps) == 3
    places = np.arange(vectors["net_score_map"].size)
    recorded_places = places
    for k, step in enumerate(steps):
        assert step.block == vectors[f"net_ce{k}_layer"]
        found, recorded = np.zeros(places.size), np.zeros(places.size)
        found[places] = step.score[0]
        recorded[recorded_places] = vectors[f"net_ce{k}_score"]
        np.testing.assert_allclose(found, recorded, rtol=0, atol=ATTENTION)
        kept, removed = step.kept[0].numpy(), step.removed[0].numpy()
        assert set(kept) == set(vectors[f"net_ce{k}_keep"])
        assert set(removed) == set(vectors[f"net_ce{k}_removed"])
        # From here on scores come in the order of what was kept; number the tokens anew.
        number = {place: index for index, place in enumerate(sorted(kept))}
        places = np.array([number[place] for place in kept])
        recorded_places = np.array([number[place] for place in vectors[f"net_ce{k}_keep"]])
    assert golden_forward(name).output.safe


@pytest.mark.parametrize(("name", "prefix", "threshold"), DIVIDED)
def test_divisions(name, prefix, threshold):
    vectors, output = golden(name), golden_forward(name, threshold).output
    margins = np.stack([step.margin[0] for step in output.decisions])
    decisions = np.stack([step.interacts[0] for step in output.decisions])
    assert [step.block for step in output.decisions] == list(range(1, len(margins) + 1))
    np.testing.assert_allclose(margins, vectors[f"{prefix}_divide_margin"], rtol=0, atol=MARGINS)
    assert np.array_equal(decisions, vectors[f"{prefix}_decision"])
    assert_maps(output.maps, vectors, prefix)
    check_activations(name, prefix, threshold)
    cut = 0.0 if prefix == "net" else 0.405465
    assert output.decisions[0].cut == pytest.approx(cut, abs=1e-6)


def test_a_batch_is_its_pictures():
    """Elimination is decided for every picture by itself."""
    net = family_of("ostrack-256-ce").network("ostrack-256-ce").eval()
    with torch.no_grad():
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.02, generator=torch.Generator().manual_seed(parameter.numel()))
        images = [torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side)) for side in (128, 256)]
        together = net(*images)
        alone = [net(images[0][index : index + 1], images[1][index : index + 1]) for index in range(2)]
    for index, single in enumerate(alone):
        for found, expected in zip(together.maps, single.maps, strict=True):
            torch.testing.assert_close(found[index : index + 1], expected, rtol=0, atol=1e-5)
        kept = [set(step.kept[index].tolist()) for step in together.decisions]
        assert kept == [set(step.kept[0].tolist()) for step in single.decisions]
    assert not torch.equal(together.decisions[0].kept[0], together.decisions[0].kept[1])
