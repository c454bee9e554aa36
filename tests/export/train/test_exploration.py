"""Stage 3's exploration against the published network and a slow tracker (spec sections 3.5 and 5.3)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from golden_files import golden, golden_seed
from sparse_case import HEIGHT, WIDTH, small_net, synth_bank

from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.standin import synth_state
from edgetrack.export.train.exploration import Episode, Explorer, first_forward, kept_tokens
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.sequence import Clip, ClipSampler, ClipSettings

KEYS = 445
SETTINGS = ClipSettings(frames=4, gap=3, min_visible=5)
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def normalised(patch: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(patch).permute(2, 0, 1)[None].float() / 255 - MEAN) / STD


@pytest.fixture(scope="module")
def net() -> FarTrackNet:
    return small_net()


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    sampler = ClipSampler([synth_bank()[1]], SETTINGS, seed=3)
    return [sampler.clip(number) for number in range(2)]


@pytest.fixture(scope="module")
def episodes(net, clips) -> list[Episode]:
    return Explorer(TrainNet(net), synth_bank()[0], pruned=12)(clips)


def test_the_score_of_the_newest_slot_equals_the_published_one():
    vectors = golden("fartrack_pico")
    net = FarTrackNet("sparse", int(vectors["depth"]))
    shapes = {
        str(key): tuple(int(size) for size in str(shape).split(",") if size)
        for key, shape in zip(vectors["keys"], vectors["shapes"], strict=True)
    }
    net.load_state_dict({k: torch.from_numpy(v) for k, v in synth_state(shapes, golden_seed(vectors)).items()})
    net.renormalise_commands()
    templates = [normalised(patch) for patch in vectors["net_template_u8"]]
    with torch.no_grad():
        logits, scores = first_forward(net, net.embed(templates, normalised(vectors["net_search_u8"])))
    np.testing.assert_allclose(scores[0, 4].numpy(), vectors["net_full_attn_row"], atol=1e-6)
    np.testing.assert_allclose(logits[0].numpy(), vectors["net_full_logits"], atol=2e-5)


@torch.no_grad()
def test_the_scores_of_all_slots_equal_the_whole_attention(net):
    """The row of search token (7, 7), summed over layers, mean over heads, from attention that is written out."""
    tokens = torch.randn(2, KEYS, 192, generator=torch.Generator().manual_seed(1))
    _, scores = first_forward(net, tokens)
    total, x = torch.zeros(2, 3, KEYS, KEYS), tokens
    for layer in net.layers():
        x, weights = layer(x, None)
        total += weights
    row = total.mean(1)[:, 245 + 7 * 14 + 7]
    for slot in range(5):
        torch.testing.assert_close(scores[:, slot], row[:, 49 * slot : 49 * slot + 49], atol=1e-6, rtol=0)


def test_every_old_template_loses_its_lowest_tokens_and_the_newest_none():
    generator = torch.Generator().manual_seed(0)
    scores = torch.stack([torch.randperm(49, generator=generator) for _ in range(10)]).view(2, 5, 49).float()
    keep = kept_tokens(scores, 12)
    assert keep.shape == (2, KEYS)
    for sample in range(2):
        for slot in range(4):
            assert torch.equal(keep[sample, 49 * slot : 49 * slot + 49], scores[sample, slot] >= 12)
        assert keep[sample, 4 * 49 :].all()
        assert keep[sample].sum() == 397


def test_recorded_shapes_and_masks(episodes):
    for episode in episodes:
        assert episode.templates.shape == (5, 3, 112, 112)
        assert episode.search.shape == (3, 3, 224, 224)
        assert episode.corners.shape == (3, 4)
        assert episode.corners.dtype == torch.float32
        assert episode.keep[0].all()
        assert torch.equal(episode.keep[1], episode.keep[2])
        per_slot = episode.keep[1, :245].view(5, 49).sum(1)
        assert per_slot.tolist() == [37, 37, 37, 37, 49]
        assert episode.keep[1, 245:].all()


@torch.no_grad()
def test_exploration_follows_the_rules_of_a_slow_tracker(net, clips, episodes):
    """The published network decides on the recorded crops; plain arithmetic says where the next crop lies."""
    for clip, episode in zip(clips, episodes, strict=True):
        x, y, w, h = clip.boxes[0]
        cx, cy = x + w / 2, y + h / 2
        for frame in range(3):
            side = math.ceil(math.sqrt(w * h) * 4)
            tx, ty, tw, th = clip.boxes[frame + 1]
            left, top = cx - side / 2, cy - side / 2
            truth = np.array([tx - left, ty - top, tx + tw - left, ty + th - top]) / side
            np.testing.assert_allclose(episode.corners[frame].numpy(), truth, atol=1e-6)
            templates = [template[None] for template in episode.templates]
            logits = net(templates, episode.search[frame : frame + 1], episode.keep[frame]).logits
            x1, y1, x2, y2 = ((int(value) / 299 - 0.5) * side for value in logits.argmax(-1))
            cx = min(max(left + (x1 + x2) / 2, 0), WIDTH)
            cy = min(max(top + (y1 + y2) / 2, 0), HEIGHT)
            w, h = max(10, min(x2 - x1, WIDTH)), max(10, min(y2 - y1, HEIGHT))


@torch.no_grad()
def test_the_masks_come_from_the_first_tracked_frame(net, episodes):
    for episode in episodes:
        templates = [template[None] for template in episode.templates]
        _, scores = first_forward(net, net.embed(templates, episode.search[:1]))
        assert torch.equal(kept_tokens(scores, 12)[0], episode.keep[1])


def test_lockstep_changes_nothing(net, clips, episodes):
    explorer = Explorer(TrainNet(net), synth_bank()[0], pruned=12)
    for clip, together in zip(clips, episodes, strict=True):
        (alone,) = explorer([clip])
        assert alone.name == together.name
        for first, second in zip(alone[1:], together[1:], strict=True):
            torch.testing.assert_close(first, second)


def test_exploration_has_no_gradient_and_no_drop_path_and_leaves_the_mode(net, clips, episodes):
    model = TrainNet(net, drop_path=0.9).train()
    again = Explorer(model, synth_bank()[0], pruned=12)(clips)
    assert model.training
    assert all(module.training for module in model.modules())
    for first, second in zip(again, episodes, strict=True):
        assert not first.search.requires_grad
        assert not first.corners.requires_grad
        torch.testing.assert_close(first.corners, second.corners)


def test_templates_are_cut_at_their_own_boxes(clips, episodes):
    """Slots hold the templates in the clip's order, each with its box in the middle half."""
    bank, _ = synth_bank()
    for clip, episode in zip(clips, episodes, strict=True):
        for number, box, template in zip(clip.template_images, clip.template_boxes, episode.templates, strict=True):
            x, y, w, h = box
            shown = bank.image(int(number))[int(y + h / 2), int(x + w / 2)].float()
            levels = (template[:, 56, 56] * STD.flatten() + MEAN.flatten()) * 255
            assert (levels - shown).abs().max() < 12  # neighbouring pixels of a smooth picture
