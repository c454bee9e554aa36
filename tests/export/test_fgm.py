"""ATSTrack's language modules: what they compute, and what must make no difference (spec sections 3.4 and 3.5)."""

from __future__ import annotations

import pytest
import torch
from small_atstrack import SMALL, filled, small_mask, small_net

from edgetrack.export.models import fgm as module
from edgetrack.export.models.fgm import Fgm, LocationGate, bisected_median, sorted_median, top_median, unit

WIDTH, WORDS = 64, 6


@pytest.fixture
def seen() -> tuple[torch.Tensor, torch.Tensor]:
    """Template tokens (1, 3 * 4, C) and search tokens (1, 16, C)."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, 12, WIDTH, generator=generator), torch.randn(1, 16, WIDTH, generator=generator)


def phrases(seed: int = 1) -> torch.Tensor:
    return torch.randn(1, 4, WORDS, WIDTH, generator=torch.Generator().manual_seed(seed))


def slow_gate(gate: LocationGate, told: torch.Tensor, mask: torch.Tensor, search: torch.Tensor) -> list[float]:
    """Section 3.4's formulas for one phrase, token by token, in double precision."""
    a = unit(gate.proj_l(gate.norm_l(told))).double()[0]
    b = unit(gate.proj_s(search)).double()[0]
    rows = [[float(one @ other) for other in b] for one in a]
    count = max(float(mask.sum()), 1.0)
    used = [(float(m), row) for m, row in zip(mask[0], rows, strict=True)]
    mean = sum(m * sum(row) / len(row) for m, row in used) / count
    median = sum(m * sorted(row)[(len(row) - 1) // 2] for m, row in used) / count
    variance = sum(m * sum((v - mean) ** 2 for v in row) / len(row) for m, row in used) / count
    deviation = (variance + 1e-5) ** 0.5
    threshold = median + float(gate.lam) * deviation
    sharpness = torch.nn.functional.softplus(gate.kappa.double())
    out = []
    for row in rows:
        values = torch.tensor(row, dtype=torch.float64)
        peak = (torch.softmax(values / 0.05, 0) * values).sum()
        out.append(float(torch.sigmoid(sharpness * (peak - threshold) / deviation)))
    return out


@pytest.mark.parametrize("length", [0, 1, 4])
def test_the_gate_is_the_formula(seen, length):
    gate = filled(LocationGate(WIDTH, 16))
    mask = small_mask(0, 0, 0, length)[:, 3]
    with torch.no_grad():
        found = gate(phrases()[:, 3], mask, seen[1])[0]
        expected = slow_gate(gate, phrases()[:, 3], mask, seen[1])
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert length == 0 or found.std() > 0.01


@pytest.mark.parametrize("count", [4, 16, 25, 256, 576])
def test_medians_agree(count):
    """TopK gives exactly torch.median's value; bisection is within the 14th part of halving the range."""
    values = torch.randn(2, 16, count, generator=torch.Generator().manual_seed(count))
    assert torch.equal(top_median(values), sorted_median(values))
    width = (values.amax(-1) - values.amin(-1)).max()
    assert float((bisected_median(values) - sorted_median(values)).abs().max()) <= float(width) * 2**-14
    alike = torch.full((1, 2, count), 0.25)
    for median in (sorted_median, top_median, bisected_median):
        assert torch.equal(median(alike), torch.full((1, 2), 0.25))


def test_the_gate_hardly_knows_which_median(seen):
    gate, mask = filled(LocationGate(WIDTH, 16)), small_mask(0, 0, 0, 4)[:, 3]
    many = torch.randn(1, 576, WIDTH, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        expected, exact, close = (
            gate(phrases()[:, 3], mask, many, median) for median in (sorted_median, top_median, bisected_median)
        )
    assert torch.equal(exact, expected)
    torch.testing.assert_close(close, expected, rtol=0, atol=1e-4)


def test_padding_makes_no_difference(seen):
    """Whatever stands behind a phrase's end: the language token is exactly the same."""
    net, mask = small_net().fgm, small_mask(1, 2, 3, 1)
    one = phrases()
    other = torch.where(mask.unsqueeze(-1) > 0, one, phrases(seed=7))
    assert not torch.equal(one, other)
    assert torch.equal(net(one, mask, *seen)[0], net(other, mask, *seen)[0])


@pytest.mark.parametrize("gone", range(4))
def test_an_empty_phrase_has_no_part(seen, gone):
    net = small_net().fgm
    lengths = [2, 2, 2, 2]
    lengths[gone] = 0
    mask, one = small_mask(*lengths), phrases()
    other = one.clone()
    other[:, gone] = phrases(seed=9)[:, gone]
    assert torch.equal(net(one, mask, *seen)[0], net(other, mask, *seen)[0])
    assert not torch.equal(net(one, mask, *seen)[0], net(one, small_mask(2, 2, 2, 2), *seen)[0])


def null_of(net: Fgm) -> torch.Tensor:
    return net.norm(net.null_token)


def test_without_language_it_is_the_null_token(seen):
    net = small_net().fgm
    assert torch.equal(net(phrases(), small_mask(0, 0, 0, 0), *seen)[0], null_of(net))


def test_a_location_that_is_not_seen_leaves_the_null_token(seen):
    net = filled(Fgm(SMALL[3])).requires_grad_(False)
    net.lfa.lam.fill_(1e4)  # no similarity reaches the threshold
    net.lfa.kappa.fill_(100.0)
    told, gate = net(phrases(), small_mask(0, 0, 0, 3), *seen)
    assert torch.equal(gate, torch.zeros(1, WORDS))
    assert torch.equal(told, null_of(net))


def test_phrases_count_alike_however_long():
    """Two-level average: six words of one phrase weigh as much as one of another (section 3.5)."""
    net = small_net().fgm
    one = torch.zeros(1, 4, WORDS, WIDTH)
    one[:, 0], one[:, 3] = 1.0, -1.0
    one[:, :, :, 0] *= 3
    mean = module.pooled(one, small_mask(1, 0, 0, 4), net.null_token)
    torch.testing.assert_close(mean, torch.zeros(1, 1, WIDTH), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("phrase", "slot", "counts"), [(0, 2, True), (0, 0, False), (1, 1, False), (2, 0, True)])
def test_which_templates_a_phrase_sees(seen, phrase, slot, counts):
    """Category and appearance see the newest template alone, action all of them (section 1)."""
    net, lengths = small_net().fgm, [0, 0, 0, 0]
    lengths[phrase] = 2
    other = seen[0].clone()
    other[:, 4 * slot : 4 * slot + 4] += 1
    one, two = (net(phrases(), small_mask(*lengths), z, seen[1])[0] for z in (seen[0], other))
    assert torch.equal(one, two) != counts


def test_action_knows_the_order_of_the_templates(seen):
    net, mask = small_net().fgm, small_mask(0, 0, 2, 0)
    turned = torch.cat([seen[0][:, 4:8], seen[0][:, :4], seen[0][:, 8:]], dim=1)
    one, two = (net(phrases(), mask, z, seen[1])[0] for z in (seen[0], turned))
    assert float((one - two).abs().max()) > 1e-3
