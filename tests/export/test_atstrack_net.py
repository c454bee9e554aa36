"""ATSTrack's network against OSTrack's and ODTrack's forward pass, whose weights it starts from (spec section 8)."""

from __future__ import annotations

import pytest
import torch
from small_atstrack import SMALL, filled, small_inputs, small_net, small_told
from small_centre import SMALL as SMALL_CENTRE
from small_centre import small_net as small_ostrack

from edgetrack.errors import CheckpointError
from edgetrack.export.models.atstrack_net import AtsNet, head_gain
from edgetrack.export.models.atstrack_variants import AtsShape
from edgetrack.export.models.centre_head import CentreMaps


def twin_of(ostrack) -> AtsNet:
    """An ATSTrack with the weights of an OSTrack of its sizes; the rest is made up."""
    shape = ostrack.shape
    net = filled(AtsNet(AtsShape(48, 2.0, 96, 4.0, channels=64, depth=shape.depth, heads=4, text_width=24)), seed=5)
    missing, unexpected = net.load_state_dict(ostrack.state_dict(), strict=False)
    assert unexpected == []
    assert not any(name.startswith(("backbone.blocks", "box_head")) for name in missing)
    return net.requires_grad_(False)


def assert_same(found: CentreMaps, expected: CentreMaps) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_without_its_own_tokens_it_is_ostrack():
    """Template and search alone, and a gain of 1: bit for bit the published maps, elimination switched off."""
    assert SMALL_CENTRE["ostrack"].eliminates == ()
    ostrack = small_ostrack("ostrack")
    net, generator = twin_of(ostrack), torch.Generator().manual_seed(1)
    net.vl_gain.copy_(torch.tensor([1.0, 0.0, 0.0]))
    template, search = (torch.randn(1, 3, side, side, generator=generator) for side in (48, 96))
    out = net.backbone.run(
        torch.cat([net.backbone.template_tokens(template), net.backbone.search_tokens(search)], dim=1)
    )
    told = torch.randn(1, 1, 64, generator=generator)
    assert_same(net.maps(out[:, 9:], out[:, :1], told), ostrack(template, search).maps)


class OdTrack:
    """ODTrack's forward pass, written from its description: a class token before templates and search crop.

    The token of the frame before is added to the trained one, and the head reads the search tokens weighted by their
    product with the class token.
    """

    def __init__(self, net: AtsNet) -> None:
        self.net, self.token = net, None

    def __call__(self, templates: list[torch.Tensor], search: torch.Tensor) -> CentreMaps:
        backbone = self.net.backbone
        token = backbone.cls_token if self.token is None else self.token + backbone.cls_token
        x = [token + backbone.cls_pos_embed]
        x += [backbone.patch_embed(image) + backbone.pos_embed_z for image in templates]
        x += [backbone.patch_embed(search) + backbone.pos_embed_x]
        tokens = torch.cat(x, dim=1)
        for block in backbone.blocks:
            tokens = block(tokens)[0]
        tokens = backbone.norm(tokens)
        self.token, found = tokens[:, :1], tokens[:, -backbone.pos_embed_x.shape[1] :]
        weighted = found * torch.matmul(found, self.token.transpose(1, 2))
        side = self.net.shape.search_grid
        return self.net.box_head(weighted.transpose(1, 2).reshape(1, -1, side, side))


def test_without_its_language_token_it_is_odtrack_over_two_frames():
    net = filled(AtsNet(SMALL[3])).requires_grad_(False)
    net.vl_gain.copy_(torch.tensor([0.0, 1.0, 0.0]))
    generator = torch.Generator().manual_seed(2)
    images = [torch.randn(1, 3, 32, 32, generator=generator) for _ in range(3)]
    template = torch.cat([net.backbone.template_tokens(image) for image in images], dim=1)
    published, state = OdTrack(net), torch.zeros(1, 2, 64)
    for _ in range(2):
        search = torch.randn(1, 3, 64, 64, generator=generator)
        first = net.backbone.first_tokens(state)[:, :1]
        out = net.backbone.run(torch.cat([first, template, net.backbone.search_tokens(search)], dim=1))
        assert_same(net.maps(out[:, 13:], out[:, :1], torch.ones(1, 1, 64)), published(images, search))
        state = torch.cat([out[:, :1], torch.zeros(1, 1, 64)], dim=1)


def test_the_gain_is_the_formula():
    generator = torch.Generator().manual_seed(4)
    x, seen, told = (torch.randn(1, n, 8, generator=generator) for n in (5, 1, 1))
    gain = torch.tensor([0.3, -0.2, 0.7])
    found = head_gain(x, seen, told, gain)
    for index in range(5):
        row, c, t = x[0, index].double(), seen[0, 0].double(), told[0, 0].double()
        cosine = (row @ t) / ((row @ row + 1e-6).sqrt() * (t @ t + 1e-6).sqrt())
        expected = (0.3 - 0.2 * (row @ c)) * (1 + 0.7 * cosine)
        assert float(found[0, index, 0]) == pytest.approx(float(expected), abs=1e-5)


def test_the_state_carries_class_token_and_words():
    """Each half of the state changes the next frame, and the language half does not add up over frames."""
    net, (search, template) = small_net(), small_inputs()
    told = small_told(net)
    base = net(search, template, told.state, told.lang, told.mask)
    assert base.state.shape == (1, 2, 64)
    assert torch.equal(told.state[:, 0], torch.zeros(1, 64))
    for half in (0, 1):
        state = told.state.clone()
        state[:, half] += 1
        other = net(search, template, state, told.lang, told.mask)
        assert not torch.equal(other.maps.score, base.maps.score)
        assert other.safe


def test_language_reaches_the_maps():
    net, (search, template) = small_net(), small_inputs()
    told, other = small_told(net), small_told(net, seed=1)
    one = net(search, template, told.state, told.lang, told.mask)
    two = net(search, template, told.state, other.lang, told.mask)
    assert float((one.maps.score - two.maps.score).abs().max()) > 1e-3
    silent = net(search, template, told.state, told.lang, torch.zeros_like(told.mask))
    assert torch.equal(silent.state[:, 1:], net.fgm.norm(net.fgm.null_token))
    assert all(value.isfinite().all() for value in (*silent.maps, silent.state, silent.gate))


def test_every_template_count_runs():
    for count in SMALL:
        net, (search, template) = small_net(count), small_inputs(count)
        told = small_told(net)
        maps = net(search, template, told.state, told.lang, told.mask).maps
        assert maps.score.shape == (1, 1, 4, 4)


def test_a_short_context_gives_the_same_features():
    """16 tokens instead of CLIP's 77: a token sees those before it alone (sections 3.1 and 8)."""
    clip = small_net(clip=True).text_encoder
    ids = torch.randint(0, 600, (4, 16), generator=torch.Generator().manual_seed(0))
    whole = torch.cat([ids, torch.zeros(4, 61, dtype=ids.dtype)], dim=1)
    torch.testing.assert_close(clip(ids), clip(whole)[:, :16], rtol=0, atol=1e-6)


def test_describe_is_tell_behind_clip():
    net = small_net(clip=True)
    ids, mask = torch.tensor([[[598, 5, 599, 0, 0, 0]] * 4]), small_told(net).mask
    told = net.describe(ids, mask)
    features = net.text_encoder(ids[0]).unsqueeze(0)
    assert torch.equal(told.lang, net.tell(features, mask).lang)
    with pytest.raises(CheckpointError, match="no text encoder; load CLIP ViT-B/32's weights"):
        small_net().describe(ids, mask)


def test_gradients_reach_all_of_the_language_modules():
    """In a clip of two frames, the token not detached; with a gain of 0 for words only through the next frame."""
    net = filled(AtsNet(SMALL[3])).train()
    with torch.no_grad():
        net.vl_gain.copy_(torch.tensor([0.5, 0.05, 0.0]))
    told, state = small_told(net), None
    loss = torch.zeros(())
    for seed in (0, 1):
        search, template = small_inputs(seed=seed)
        out = net(search, template, told.state if state is None else state, told.lang, told.mask)
        state = out.state
        loss = loss + sum(value.square().sum() for value in out.maps)
    loss.backward()
    silent = {name for name, value in net.fgm.named_parameters() if value.grad is None or not value.grad.abs().sum()}
    assert silent == {"null_token"}
    net.zero_grad()
    empty = small_told(net, 0, 0, 0, 0)
    search, template = small_inputs()
    out = net(search, template, empty.state, empty.lang, empty.mask)
    sum(value.square().sum() for value in out.maps).backward()
    assert net.fgm.null_token.grad.abs().sum() > 0


def test_a_toy_training_run_learns():
    """Two blocks, a clip of two frames with the token handed on: the loss of score and box falls (section 8)."""
    torch.manual_seed(0)
    net = filled(AtsNet(SMALL[3])).train()
    told, clip = small_told(net), [small_inputs(seed=seed) for seed in (0, 1)]
    lang, mask, start = told.lang.detach(), told.mask, told.state.detach()
    cells, wanted = (5, 10), torch.tensor([[0.4, 0.3], [0.25, 0.5]])
    groups = [
        {"params": net.backbone.parameters(), "lr": 1e-4},
        {"params": [value for name, value in net.named_parameters() if not name.startswith("backbone.")], "lr": 1e-3},
    ]
    optimiser, losses = torch.optim.AdamW(groups, weight_decay=1e-4), []
    for _ in range(25):
        state, loss = start, torch.zeros(())
        for (search, template), cell, size in zip(clip, cells, wanted, strict=True):
            out = net(search, template, state, lang, mask)
            state = out.state
            goal = torch.zeros(16)
            goal[cell] = 1
            loss = loss + torch.nn.functional.binary_cross_entropy(out.maps.score.flatten(), goal)
            loss = loss + 5 * (out.maps.size.flatten(2)[0, :, cell] - size).abs().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(value.isfinite().all() for value in net.parameters())
