"""What helps a start from nothing: targets of attention by hand, and a start that compares patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgetrack.errors import InputError
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.train.guidance import attention_loss, coverage, edge_targets
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.scratch import patch_filters, start_from_scratch


def test_coverage_of_whole_and_half_cells():
    cell = 1 / 14
    box = torch.tensor([[2 * cell, 3 * cell, 4.5 * cell, 4 * cell]])
    found = coverage(box).reshape(14, 14)
    assert found[3, 2] == pytest.approx(1, abs=1e-5)
    assert found[3, 4] == pytest.approx(0.5, abs=1e-5)
    assert found.sum() == pytest.approx(2.5, abs=1e-4)


def test_each_command_looks_at_its_edge():
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    found = edge_targets(box).reshape(4, 14, 14)
    middles = (torch.arange(14) + 0.5) / 14
    across = found.sum(1) @ middles
    down = found.sum(2) @ middles
    assert across[0] < 0.45 < 0.55 < across[2]
    assert down[1] < 0.45 < 0.55 < down[3]
    torch.testing.assert_close(found.flatten(1).sum(1), torch.ones(4))
    # By hand: along x, whole cells 4 to 9, e-folding a quarter of the size 0.5, counted from the left edge.
    share = (
        torch.minimum(torch.tensor(0.75), middles + 1 / 28) - torch.maximum(torch.tensor(0.25), middles - 1 / 28)
    ) * 14
    weights = share.clamp(0, 1) * torch.exp(-(middles - 0.25).abs() / 0.125)
    torch.testing.assert_close(found[0].sum(0), weights / weights.sum(), rtol=1e-4, atol=1e-5)


def test_a_target_outside_the_crop_guides_nothing():
    attention = torch.full((1, 3, 4, 196), -5.0)
    assert attention_loss(attention, torch.tensor([[1.2, 1.2, 1.4, 1.4]])) == 0
    assert attention_loss(attention, torch.tensor([[0.2, 0.2, 0.6, 0.6]])) == pytest.approx(5, abs=1e-4)


def test_guided_run_gives_the_same_logits_and_true_attention():
    torch.manual_seed(0)
    net = FarTrackNet("frame", 2)
    start_from_scratch(net, 3)
    templates, search = torch.randn(2, 1, 3, 112, 112), torch.randn(2, 3, 224, 224)
    keep = torch.rand(2, 249) > 0.3
    keep[:, 49:] = True
    guided = TrainNet(net, guided=True).train().run(templates, search, keep)
    plain = TrainNet(net).train().run(templates, search, keep)
    torch.testing.assert_close(guided.logits, plain.logits, rtol=0, atol=2e-5)
    assert plain.attention is None
    assert guided.attention.shape == (2, 3, 4, 196)
    assert ((guided.attention.exp().sum(-1) > 0) & (guided.attention.exp().sum(-1) < 1)).all()


def test_filters_are_the_principal_components():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((768, 200)))[0].T
    strengths = np.linspace(3, 1, 200)
    rows = generator.standard_normal((4000, 200)) * strengths @ basis
    filters = patch_filters(torch.from_numpy(rows).float().reshape(-1, 3, 16, 16)).flatten(1)
    # Orthogonal, the strongest first and damped most, and inside the space that the patches span.
    gram = filters @ filters.t()
    assert (gram - torch.diag(gram.diag())).abs().max() < 1e-4
    assert (gram.diag().diff() > -1e-6).all()
    outside = filters.double() - filters.double() @ torch.from_numpy(basis.T @ basis)
    assert outside.abs().max() < 1e-5
    with pytest.raises(InputError, match="too few"):
        patch_filters(torch.zeros(100, 3, 16, 16))


def test_a_fresh_start_attends_to_tokens_like_itself():
    net = FarTrackNet("sparse", 1)
    start_from_scratch(net, 0)
    attention = net.backbone.blocks[0].attn
    tokens = torch.randn(32, 192)
    q, k, _ = attention.split(tokens[None])
    scores = (q @ k.transpose(-2, -1))[0]
    own = scores.diagonal(dim1=1, dim2=2)
    assert (own.mean(1) > 3 * scores.std((1, 2))).all()
    torch.manual_seed(5)
    again = FarTrackNet("sparse", 1)
    start_from_scratch(again, 0)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
