"""MVLM's published network and margin against recorded outputs of the published code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fartrack_case import golden_shapes
from golden_files import golden
from mvlm_case import ACTIVATIONS, CASES, MAPS, SIMS, assert_maps, confidence_inputs, golden_forward

from edgetrack.export.models import family_of
from edgetrack.export.models.centre_head import best_box
from edgetrack.export.models.margin import MarginMemory, elsewhere, margins, rivals, similarities, token_cells
from edgetrack.export.models.mvlm_variants import GateRule

# A forward pass takes a second or two: the second weights, which move every block, for each network; the rest is big.
PASSES = [
    pytest.param(name, prefix, marks=() if prefix == "net2" else pytest.mark.big)
    for name in CASES
    for prefix in ("net2", "net")
]


@pytest.mark.parametrize("name", CASES)
def test_published_layout(name):
    assert family_of(CASES[name]).entries(CASES[name]) == golden_shapes(golden(name))


@pytest.mark.parametrize(("name", "prefix"), PASSES)
def test_forward(name, prefix):
    vectors, seen = golden(name), golden_forward(name, prefix)
    assert_maps(seen.output.maps, vectors, prefix)
    found = best_box(*seen.output.maps)[0]
    np.testing.assert_allclose(found, vectors[f"{prefix}_pred_boxes"], rtol=0, atol=MAPS["size"])
    features = seen.output.features[0, ::2, ::2]
    np.testing.assert_allclose(features, vectors[f"{prefix}_feat_x"], rtol=0, atol=ACTIVATIONS)


@pytest.mark.parametrize(("name", "prefix"), PASSES)
def test_activations(name, prefix):
    vectors, seen = golden(name), golden_forward(name, prefix)
    tokens = {"tokens_in": seen.tokens[0, 1:], **{f"block{k}": seen.after[k][0][0] for k in (8, 9, 19, 31)}}
    for key, value in tokens.items():
        recorded = vectors[f"{prefix}_{key}_s"]
        assert value[::4, ::4].shape == recorded.shape
        np.testing.assert_allclose(value[::4, ::4], recorded, rtol=0, atol=ACTIVATIONS, err_msg=key)
    for k in (0, 3, 7):
        search, *templates = (image[0, ::8, ::4, ::4] for image in seen.after[k])
        np.testing.assert_allclose(search, vectors[f"{prefix}_stem{k}_x_s"], rtol=0, atol=ACTIVATIONS)
        assert len(templates) == (2 if name == "mvlm_bbox" else 0)
        if templates:
            np.testing.assert_allclose(
                torch.stack(templates), vectors[f"{prefix}_stem{k}_z_s"], rtol=0, atol=ACTIVATIONS
            )


@pytest.mark.parametrize("name", CASES)
def test_similarities(name):
    vectors = golden(name)
    features, text, boxes, _ = confidence_inputs(name)
    assert np.array_equal(token_cells(boxes, 14), vectors["conf_cells"])
    found = similarities(boxes, features, text).numpy()
    np.testing.assert_allclose(found, vectors["conf_sims_exact"], rtol=0, atol=SIMS)
    noise = vectors["conf_noise"]
    assert noise.sum() == 19
    assert (found[noise] == 0).all()  # not nearly: the published code leaves rounding dust there
    np.testing.assert_allclose(found[~noise], vectors["conf_sims"][~noise], rtol=0, atol=SIMS)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("psi", ["0", "0.1", "0.3"])
def test_rivals(name, psi):
    vectors = golden(name)
    _, _, boxes, cls = confidence_inputs(name)
    outside = elsewhere(boxes, float(psi))
    sims = torch.from_numpy(vectors["conf_sims"])
    np.testing.assert_allclose(rivals(sims, outside), vectors[f"conf_dcorr_psi{psi}"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(rivals(cls, outside), vectors[f"conf_dcls_psi{psi}"], rtol=0, atol=1e-7)


def test_margins_mix_agreement_and_score():
    _, _, boxes, cls = confidence_inputs()
    sims = torch.from_numpy(golden("mvlm_tf")["conf_sims_exact"])
    parts = [margins(sims, cls, boxes, GateRule(alpha, 0.0, 0.0, 0.0, 0.1)) for alpha in (1.0, 0.0, 0.7)]
    torch.testing.assert_close(parts[2], 0.7 * parts[0] + 0.3 * parts[1], rtol=0, atol=1e-6)
    assert not torch.allclose(parts[0], parts[1], atol=1e-2)


def test_a_box_over_all_others_is_compared_with_the_least():
    boxes = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]])
    values = torch.tensor([0.3, -0.4, 0.2])
    assert rivals(values, elsewhere(boxes, 0.0)).tolist() == pytest.approx([-0.4, 0.2, -0.4])


def test_memory_forgets_at_its_rate():
    memory = MarginMemory(GateRule(1.0, 0.1, omega=0.6, lam=0.7, psi=0.0))
    first, second = torch.tensor([0.5, -0.2]), torch.tensor([0.1, 0.4])
    torch.testing.assert_close(memory.confidence(first), first, rtol=0, atol=1e-7)
    expected = (1 - 0.6 * 0.7) * second + 0.6 * 0.7 * first
    torch.testing.assert_close(memory.confidence(second), expected, rtol=0, atol=1e-7)
