"""Distilling from a teacher: the loss by hand, who gets gradients, and that the student learns."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from sparse_case import small_net

from edgetrack.errors import InputError
from edgetrack.export.models import VARIANTS
from edgetrack.export.train.config import DistillConfig, LossConfig, ModelConfig, RunConfig, TrainConfig
from edgetrack.export.train.losses import BINS, quantise, stage2_loss
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.sampler import Batch
from edgetrack.export.train.teacher import Answer, FarTrackTeacher, TeacherSettings, load_teacher
from edgetrack.export.train.teacher_stage import TeacherStage

CONFIG = TrainConfig(
    stage="distill",
    model=ModelConfig(depth=2, drop_path=0),
    distill=DistillConfig((1, 2)),
    run=RunConfig(batch=2, micro_steps=2),
)
CORNERS = torch.tensor([[0.3, 0.35, 0.6, 0.7], [0.4, 0.4, 0.65, 0.6]])


class OneBatch:
    """Gives the same two samples again and again."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(6)
        templates = torch.randn(2, 5, 3, 112, 112, generator=generator)
        search = torch.randn(2, 3, 224, 224, generator=generator)
        self.only = Batch(templates, search, CORNERS, quantise(CORNERS), torch.tensor([0, 1]))

    def batch(self, size):
        assert size == 2
        return self.only

    def names(self, batch):
        return ["first", "second"]

    def state_dict(self):
        return {"drawn": 3}

    def load_state_dict(self, state):
        assert state == {"drawn": 3}


class PointTeacher:
    """Knows the first sample's box and is far off on the second's."""

    name = "points"
    crops = None

    def answer(self, templates, search):
        return Answer(torch.stack([CORNERS[0], torch.tensor([1.0, 1.0, 1.2, 1.2])]))


def stage_of(model: TrainNet, teacher, config: TrainConfig = CONFIG, **settings) -> TeacherStage:
    return TeacherStage(model, OneBatch(), config, teacher, TeacherSettings(**settings))


def test_the_loss_is_stage_2s_and_the_divergence_from_the_teacher():
    student, net = TrainNet(small_net("distill", 2)).train(), small_net("distill", 1, seed=1)
    loss = stage_of(student, FarTrackTeacher(net), kl=0.25).loss(0, 0)
    batch = OneBatch().only
    logits = student(batch.templates, batch.search, exits=[1, 2])
    found = stage2_loss(logits, batch.target)
    with torch.no_grad():
        teacher = TrainNet(net)(batch.templates, batch.search)[0][..., :BINS].double().softmax(-1)
    log_student = logits[..., :BINS].double().log_softmax(-1)
    kl = (teacher * (teacher.log() - log_student)).sum((2, 3)).mean()
    torch.testing.assert_close(loss.total.double(), (found.total + 0.25 * kl) / 2, rtol=1e-5, atol=1e-5)
    assert float(loss.parts["teacher_kl"]) == pytest.approx(kl.item(), rel=1e-4)
    assert loss.where == "first, second"
    loss.total.backward()
    assert student.net.backbone.blocks[0].attn.qkv.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_teacher_of_points_is_followed_only_where_it_is_right():
    student = TrainNet(small_net("distill", 2)).train()
    batch = OneBatch().only
    log_student = student(batch.templates, batch.search, exits=[1, 2])[..., :BINS].log_softmax(-1)
    gauss = (-((torch.arange(BINS) - (CORNERS[0, :, None] + 0.5) * 300) / 2).square() / 2).softmax(-1)
    first = (gauss * (gauss.clamp_min(1e-30).log() - log_student[:, 0])).sum((1, 2)).mean()
    parts = stage_of(student, PointTeacher(), min_iou=0.5).loss(0, 0).parts
    assert float(parts["followed"]) == 0.5
    assert float(parts["teacher_iou"]) == pytest.approx(0.5)
    assert float(parts["teacher_kl"]) == pytest.approx(first.item() / 2, rel=1e-4)
    both = stage_of(student, PointTeacher()).loss(0, 0).parts
    assert float(both["followed"]) == 1
    assert float(both["teacher_kl"]) > float(parts["teacher_kl"])


def test_the_student_comes_to_answer_as_its_teacher():
    """With the teacher alone to learn from."""
    config = TrainConfig(
        stage="distill",
        model=ModelConfig(depth=1, drop_path=0),
        loss=LossConfig(siou=0, ce=0),
        distill=DistillConfig((1,)),
        run=RunConfig(batch=2),
    )
    student = TrainNet(small_net("distill", 1)).train()
    stage = stage_of(student, FarTrackTeacher(small_net("sparse", 1, seed=2)), config)
    optimiser = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=1e-3)
    divergences = []
    for step in range(8):
        loss = stage.loss(step, 0)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        divergences.append(float(loss.parts["teacher_kl"]))
        assert loss.total.item() == pytest.approx(0.5 * divergences[-1], rel=1e-5)
    assert divergences[-1] < 0.7 * divergences[0]
    assert all(math.isfinite(value) for value in divergences)


def test_its_state_is_the_sources():
    stage = stage_of(TrainNet(small_net("distill", 2)), PointTeacher())
    stage.load_state_dict(stage.state_dict())


def test_a_family_without_a_teacher_is_refused(monkeypatch):
    """As that of a tracker that needs a sentence, which training data has not."""
    talker = dataclasses.replace(VARIANTS["ostrack-256"], name="talker-256", family="talker")
    monkeypatch.setitem(VARIANTS, "talker-256", talker)
    with pytest.raises(InputError, match=r"talker-256 cannot teach: .* pictures, .* families fartrack, grm, ostrack;"):
        load_teacher("talker-256", "stand-in")
    with pytest.raises(InputError, match="unknown model 'no-such'"):
        load_teacher("no-such", "stand-in")


def test_a_teacher_is_loaded_by_its_variant():
    assert load_teacher("fartrack-pico-distill", "stand-in").name == "fartrack distill, 6 layers"
