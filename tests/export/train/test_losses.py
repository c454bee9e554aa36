"""The three stages' losses against values recorded from the published code, and their gradients where they bend."""

import numpy as np
import pytest
import torch
from golden_files import golden
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetrack.export.train.losses import (
    BINS,
    LAST_BIN,
    Labels,
    cross_entropy,
    decoded_corners,
    distillation,
    expected_corners,
    iou,
    quantise,
    siou,
    stage1_loss,
    stage2_loss,
    stage3_loss,
    target_corners,
)

RTOL = 1e-5


@pytest.fixture(scope="module")
def vectors():
    return golden("fartrack_distill_tiny")


@pytest.fixture(scope="module")
def logits(vectors):
    """The recorded logits (11, 4, 4, 605), exit, batch, coordinate, class; built as the specification says."""
    rng = np.random.default_rng(5)
    made = rng.standard_normal((11, 4, 4, 605)).astype(np.float32) * 2
    bins, q = np.arange(605, dtype=np.float64), vectors["loss_seq"]
    exits = 3 * (10 - np.arange(11))
    hill = -0.002 * (bins - q.T[None, :, :, None] - exits[:, None, None, None]) ** 2
    made = (made.astype(np.float64) + hill).astype(np.float32)
    np.testing.assert_array_equal(made[..., ::50], vectors["loss_logits_check"])
    return torch.from_numpy(made).transpose(1, 2).contiguous()


@pytest.fixture(scope="module")
def q(vectors):
    return torch.from_numpy(vectors["loss_seq"])


def test_siou_and_iou_are_the_published_ones(vectors):
    pred, target = (torch.from_numpy(vectors[f"loss_siou_{name}"]) for name in ("pred", "target"))
    np.testing.assert_allclose(siou(pred, target).numpy(), vectors["loss_siou_value"], rtol=RTOL)
    np.testing.assert_allclose(iou(pred, target).numpy(), vectors["loss_siou_iou"], rtol=RTOL, atol=1e-7)


def test_stage_1(vectors, logits, q):
    found = stage1_loss(logits[10], q)
    assert found.total.item() == pytest.approx(vectors["loss_frame_total"].item(), rel=RTOL)
    assert found.parts["ce"].item() == pytest.approx(vectors["loss_distill_ce"][10], rel=RTOL)
    assert found.parts["siou"].item() == pytest.approx(vectors["loss_distill_siou"][10], rel=RTOL)


def test_stage_2(vectors, logits, q):
    np.testing.assert_allclose(distillation(logits).numpy(), vectors["loss_distill_kl"], rtol=RTOL)
    for index in range(11):
        single = stage1_loss(logits[index], q).parts
        assert single["ce"].item() == pytest.approx(vectors["loss_distill_ce"][index], rel=RTOL)
        assert single["siou"].item() == pytest.approx(vectors["loss_distill_siou"][index], rel=RTOL)
    found = stage2_loss(logits, q)
    assert found.total.item() == pytest.approx(vectors["loss_distill_total"].item(), rel=RTOL)
    assert found.parts["kl"].item() == pytest.approx(vectors["loss_distill_kl"].mean(), rel=RTOL)


def test_stage_3(vectors, logits):
    anno = torch.from_numpy(vectors["loss_sparse_anno"])
    corners = torch.cat((anno[:, :2], anno[:, :2] + anno[:, 2:]), 1) / 224
    found = stage3_loss(logits[9], corners)
    assert found.total.item() == pytest.approx(vectors["loss_sparse_total"].item(), rel=RTOL)


def test_stage_3_clamps_far_corners(logits):
    far = torch.tensor([[-3.0, -0.5, 5.0, 1.0]]).expand(4, -1)
    near = torch.tensor([[-0.5, -0.5, (600 - 1e-4) / 299 - 0.5, 1.0]]).expand(4, -1)
    assert stage3_loss(logits[9], far).total.item() == pytest.approx(stage3_loss(logits[9], near).total.item())


def test_distillation_ignores_the_special_classes(logits):
    """Over the 600 bins: the recorded logits give the five special classes no mass and would not notice."""
    moved = logits.clone()
    moved[..., 600:] += 40
    torch.testing.assert_close(distillation(moved), distillation(logits))
    assert torch.equal(expected_corners(moved), expected_corners(logits))


def test_distillation_teaches_the_shallow_exit_only(logits):
    two = logits[:2].clone().requires_grad_()
    distillation(two).sum().backward()
    assert two.grad[0].abs().sum() > 0
    assert two.grad[1].abs().sum() == 0
    assert stage2_loss(logits[:1], torch.zeros(4, 4, dtype=torch.long)).parts["kl"] == 0


def test_loss_weights_scale_their_terms(logits, q):
    parts = stage2_loss(logits, q).parts
    found = stage2_loss(logits, q, siou_weight=3.0, ce_weight=0.5, kl_weight=0.2)
    assert found.total.item() == pytest.approx((3 * parts["siou"] + 0.5 * parts["ce"] + 0.2 * parts["kl"]).item())


CORNERS = {
    "equal": [0.2, 0.2, 0.6, 0.7],
    "exactly above": [0.2, 0.4, 0.6, 0.9],
    "exactly beside": [0.4, 0.2, 0.8, 0.7],
    "on the diagonal": [0.3, 0.3, 0.7, 0.8],
    "inverted": [0.6, 0.7, 0.2, 0.2],
    "a point": [0.4, 0.45, 0.4, 0.45],
    "far": [-0.5, -0.5, -0.4, -0.3],
}


@pytest.mark.parametrize("corners", CORNERS.values(), ids=CORNERS)
def test_siou_has_a_finite_value_and_gradient(corners):
    target = torch.tensor([[0.2, 0.2, 0.6, 0.7], [0.4, 0.45, 0.4, 0.45]])  # an ordinary one, and one without area
    pred = torch.tensor([corners, corners], requires_grad=True)
    value = siou(pred, target)
    value.sum().backward()
    assert value.isfinite().all()
    assert pred.grad.isfinite().all()
    assert pred.grad.abs().max() < 2e3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=8, max_size=8))
def test_siou_is_the_formula_of_the_specification(numbers):
    """Written out with the published sines, in double precision, on boxes with sizes from 0.01."""
    a, b = np.array(numbers[:4]), np.array(numbers[4:])
    p, g = (torch.tensor([[v[0], v[1], v[0] + v[2], v[1] + v[3]]], dtype=torch.float64) for v in (a, b))
    eps, (px, gx) = 1e-7, (p[0].numpy(), g[0].numpy())
    centre = lambda box: (box[:2] + box[2:]) / 2  # noqa: E731
    size = lambda box: box[2:] - box[:2]  # noqa: E731
    d = centre(gx) - centre(px)
    s = abs(d[1]) / (np.hypot(*d) + eps)
    lam = 1 - 2 * np.sin(np.arcsin(s) - np.pi / 4) ** 2
    hull = np.maximum(px[2:], gx[2:]) - np.minimum(px[:2], gx[:2])
    dist = (1 - np.exp(-(2 - lam) * (d / (hull + eps)) ** 2)).sum()
    om = abs(size(px) - size(gx)) / (np.maximum(size(px), size(gx)) + eps)
    shape = ((1 - np.exp(-om)) ** 4).sum()
    overlap = np.clip(np.minimum(px[2:], gx[2:]) - np.maximum(px[:2], gx[:2]), 0, None).prod()
    expected = 1 - overlap / (size(px).prod() + size(gx).prod() - overlap) + (dist + shape) / 2
    assert siou(p, g).item() == pytest.approx(expected, rel=RTOL, abs=1e-9)


def test_targets_are_truncated_and_stay_in_range():
    corners = torch.tensor([[-0.7, -0.5, 1.5, 2.0], [0.0, 0.5, 0.5016, 1.0]])
    assert quantise(corners).tolist() == [[0, 0, LAST_BIN, LAST_BIN], [149, 299, 299, 448]]
    q = torch.arange(BINS)
    assert torch.equal(quantise(target_corners(q) + 1e-4)[:LAST_BIN], q[:LAST_BIN])


def test_decoding_of_both_kinds():
    logits = torch.full((1, 4, 605), -50.0)
    for coordinate, bin_ in enumerate((10, 200, 400, 603)):  # a special class can win the argmax
        logits[0, coordinate, bin_] = 50.0
    plain = decoded_corners(logits, expectation=False)[0]
    torch.testing.assert_close(plain, torch.tensor([10, 200, 400, 603]) / 299 - 0.5)
    mixed = decoded_corners(logits, expectation=True)[0, :3]
    bins = torch.tensor([10.0, 200.0, 400.0])
    torch.testing.assert_close(mixed, ((bins + 0.5) / 299 - 0.5 + bins / 300 - 0.5) / 2)


def test_decoding_is_the_reference_loops(logits):
    from edgetrack.export.loops.fartrack import decode_corners

    for expectation in (False, True):
        expected = decode_corners(logits[10, 0], expectation)
        found = decoded_corners(logits[10, 0], expectation=expectation)
        np.testing.assert_allclose(found.numpy(), np.asarray(expected), rtol=0, atol=1e-6)


def test_soft_labels(logits, q):
    sharp = cross_entropy(logits[10], q)
    assert cross_entropy(logits[10], q, Labels(width=0.05)).item() == pytest.approx(sharp.item(), rel=1e-5)
    log_prob = logits[10].log_softmax(-1)[..., :BINS]
    even = -log_prob.mean()
    smooth = cross_entropy(logits[10], q, Labels(smoothing=0.1))
    assert smooth.item() == pytest.approx((0.9 * sharp + 0.1 * even).item(), rel=1e-5)
    weights = torch.exp(-((torch.arange(BINS) - q[..., None]) / 3.0).square() / 2)
    weights = 0.8 * weights / weights.sum(-1, keepdim=True) + 0.2 / BINS
    expected = -(weights * log_prob).sum(-1).mean()
    assert cross_entropy(logits[10], q, Labels(3.0, 0.2)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_half_precision_logits_are_computed_in_float32(logits, q):
    assert stage2_loss(logits.bfloat16(), q).total.dtype == torch.float32
