"""Stage 3's update: what is replayed, the loss, the gradients, and that it learns (spec section 5.3)."""

from __future__ import annotations

import pytest
import torch
from sparse_case import small_net, synth_bank

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.train.losses import expected_corners, siou
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.sections import parse_section
from edgetrack.export.train.sequence import ClipSettings
from edgetrack.export.train.sparse_stage import SparseSettings, SparseStage

SETTINGS = SparseSettings(clips=2, clip=ClipSettings(frames=3, gap=3, min_visible=5))


def stage_of(model: TrainNet, settings: SparseSettings = SETTINGS, seed: int = 5, **where) -> SparseStage:
    bank, track = synth_bank()
    return SparseStage(model, bank, [track], settings, seed, **where)


def gradients(model: TrainNet) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_published_settings_are_the_defaults():
    assert SparseSettings() == SparseSettings(clips=8, clip=ClipSettings(32, 300, 74), pruned=12, siou=2.0)


def test_the_loss_is_twice_siou_of_the_recorded_frames():
    model = TrainNet(small_net(depth=1)).train()
    stage = stage_of(model)
    loss = stage.loss(0, 1)
    episode = stage._episodes[1][1]  # the only way to what was recorded
    logits = torch.stack(
        [
            model.net(list(episode.templates[:, None]), search[None], keep).logits
            for search, keep in zip(episode.search, episode.keep, strict=True)
        ]
    )
    bins = ((episode.corners + 0.5) * 299).clamp(0, 600 - 1e-4)
    expected = 2 * siou(expected_corners(logits), bins / 299 - 0.5).mean()
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-5)
    assert float(loss.parts["siou"]) == pytest.approx(expected.item() / 2, rel=1e-5)
    assert 0 <= float(loss.iou) <= 1
    assert loss.where.startswith("synthetic from frame ")


def test_gradients_of_the_clips_add_up_to_one_step():
    """Clip by clip the gradients become those of the sum of the clips' mean losses, here of all frames in one batch."""
    model = TrainNet(small_net(depth=1)).train()
    stage = stage_of(model)
    for micro in range(stage.micro_steps):
        stage.loss(0, micro).total.backward()
    summed = gradients(model)
    model.zero_grad()
    episodes = stage._episodes[1]
    templates = torch.cat([episode.templates[None].expand(2, -1, -1, -1, -1) for episode in episodes])
    search, keep, corners = (torch.cat(parts) for parts in list(zip(*episodes, strict=True))[2:])
    boxes = expected_corners(model(templates, search, keep)[-1])
    target = ((corners + 0.5) * 299).clamp(0, 600 - 1e-4) / 299 - 0.5
    (2 * siou(boxes, target).sum() / 2).backward()  # two frames a clip
    together = gradients(model)
    assert summed.keys() == together.keys()
    for name, value in summed.items():
        torch.testing.assert_close(value, together[name], rtol=1e-3, atol=1e-3 * float(value.abs().max()) + 1e-8)


def test_mixed_precision_keeps_all_gradients():
    """Exploration has none, and must not leave its converted weights to the update under the same autocast."""
    model = TrainNet(small_net(depth=1)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = stage_of(model).loss(0, 0)
    loss.total.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def watch(stage: SparseStage) -> list[list[tuple]]:
    """Lists from now on which clips the stage explores, and explores none of them: every episode is the same."""
    explored, made = [], stage._explorer([stage._sampler.clip(0)])

    def explore(clips):
        explored.append([(*clip.images.tolist(), *clip.template_images.tolist()) for clip in clips])
        return made * len(clips)

    stage._explorer = explore
    return explored


def test_a_step_explores_once_and_all_its_clips():
    stage = stage_of(TrainNet(small_net(depth=1)))
    explored = watch(stage)
    for step in range(2):
        for micro in range(2):
            stage.loss(step, micro)
    assert [len(clips) for clips in explored] == [2, 2]


def test_processes_and_steps_get_clips_of_their_own_and_a_resumed_run_the_same():
    model = TrainNet(small_net(depth=1))
    stages = [stage_of(model, rank=rank, world=2) for rank in range(2)]
    explored = [watch(stage) for stage in stages]
    for stage in stages:
        stage.loss(0, 0)
        stage.loss(1, 0)
    assert len({clip for lists in explored for clips in lists for clip in clips}) == 8
    resumed = stage_of(model, rank=1, world=2)
    resumed.load_state_dict(stages[1].state_dict())
    again = watch(resumed)
    resumed.loss(1, 0)
    assert again == explored[1][1:]


def test_the_command_rows_are_renormalised_before_exploring():
    net = small_net(depth=1)
    with torch.no_grad():
        net.backbone.word_embeddings.weight[600:604] *= 5
    stage_of(TrainNet(net))._explore(0)
    assert (net.backbone.word_embeddings.weight[600:604].norm(dim=1) <= 1 + 1e-6).all()


def test_resuming_with_another_seed_is_refused():
    model = TrainNet(small_net(depth=1))
    with pytest.raises(CheckpointError, match="seed 5, this one with 6"):
        stage_of(model, seed=6).load_state_dict(stage_of(model, seed=5).state_dict())


def test_only_the_sparse_flavour_is_trained():
    with pytest.raises(InputError, match="not 'distill'"):
        stage_of(TrainNet(small_net("distill", 1)))


@pytest.mark.parametrize("table", [{"clips": 0}, {"pruned": 49}, {"pruned": -1}, {"siou": -1.0}, {"clip": {"gap": 0}}])
def test_impossible_settings_are_refused(table):
    with pytest.raises(InputError, match=rf"recipe.toml: sparse\.{next(iter(table))}\S* is "):
        parse_section(SparseSettings, table, "recipe.toml", "sparse")


def test_a_repeated_clip_is_learnt():
    model = TrainNet(small_net(depth=1)).train()
    stage = stage_of(model, SparseSettings(clips=1, clip=SETTINGS.clip))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-4)
    losses = []
    for _ in range(10):
        stage._episodes = None  # explore step 0's clip anew, with the weights as they are
        loss = stage.loss(0, 0)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.8 * losses[0]
