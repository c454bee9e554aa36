"""What teachers say and how a student is compared with it, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from sparse_case import small_net

from edgetrack.errors import InputError
from edgetrack.export.train.losses import expected_corners
from edgetrack.export.train.teacher import FarTrackTeacher, blur_corners, divergence


def batch(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    templates = torch.randn(count, 5, 3, 112, 112, generator=generator)
    return templates, torch.randn(count, 3, 224, 224, generator=generator)


def as_logits(bins: torch.Tensor) -> torch.Tensor:
    """Logits (B, 4, 605) whose softmax over the bins is `bins`; the special ones are high and must not matter."""
    return torch.cat([bins.clamp_min(1e-30).log(), torch.full((*bins.shape[:2], 5), 7.0)], dim=-1)


def test_blurred_corners_are_gaussians_around_their_place():
    corners = torch.tensor([[0.1, 0.2, 0.9, 1.1]])
    bins = blur_corners(corners, width=3.0)
    torch.testing.assert_close(expected_corners(as_logits(bins)), corners, atol=1e-5, rtol=0)
    place = torch.arange(600, dtype=torch.float32)
    mean = (bins * place).sum(-1, keepdim=True)
    torch.testing.assert_close((bins * (place - mean).square()).sum(-1), torch.full((1, 4), 9.0), atol=1e-2, rtol=0)


def test_divergence_by_hand():
    """Teacher: sure of bin 7, or torn between 7 and 8; student: even over the 600 bins, or equal to the teacher."""
    teacher = torch.zeros(2, 4, 600)
    teacher[0, :, 7] = 1
    teacher[1, :, 7:9] = 0.5
    even = torch.zeros(2, 4, 605)
    even[..., 600:] = 50  # no part of the divergence
    found = divergence(torch.stack([even, as_logits(teacher)]), teacher)
    expected = torch.tensor([[4 * math.log(600), 4 * math.log(300)], [0.0, 0.0]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_divergence_drives_the_student_to_the_teacher():
    """Its gradient by the logits is softmax - teacher."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 4, 605, generator=generator, requires_grad=True)
    teacher = torch.randn(3, 4, 600, generator=generator).softmax(-1)
    divergence(logits, teacher).sum().backward()
    expected = logits.detach()[..., :600].softmax(-1) - teacher
    torch.testing.assert_close(logits.grad[..., :600], expected)
    assert not logits.grad[..., 600:].any()


@pytest.mark.parametrize("flavour", ["distill", "sparse"])
def test_a_fartrack_teacher_answers_as_its_network(flavour):
    net = small_net(flavour, 2)
    templates, search = batch()
    with torch.no_grad():
        logits = torch.stack([net(list(t[:, None]), s[None]).logits for t, s in zip(templates, search, strict=True)])
    teacher = FarTrackTeacher(net)
    answer = teacher.answer(templates, search)
    assert teacher.name == f"fartrack {flavour}, 2 layers"
    torch.testing.assert_close(answer.bins, logits[..., :600].softmax(-1), atol=2e-5, rtol=1e-3)
    torch.testing.assert_close(answer.corners, expected_corners(logits), atol=2e-5, rtol=0)
    assert not answer.bins.requires_grad
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_temperature_softens_the_answer_but_moves_no_corner():
    net = small_net("distill", 1)
    sharp, soft = (FarTrackTeacher(net, temperature=t).answer(*batch(1)) for t in (1.0, 4.0))
    assert soft.bins.max() < sharp.bins.max()
    torch.testing.assert_close(soft.corners, sharp.corners)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(InputError, match="temperature is 0"):
        FarTrackTeacher(small_net("distill", 1), temperature=0)
