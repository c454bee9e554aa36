"""Batches, their repeatability, and what prepares them ahead."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from sampler_data import MemorySource, made_source, noise

from edgetrack import _core
from edgetrack.data.sources import IndexedTrack
from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.train.augment import MEAN, STD
from edgetrack.export.train.bank import ImageBank
from edgetrack.export.train.geometry import quantise
from edgetrack.export.train.prefetch import Prefetcher
from edgetrack.export.train.preview import contact_sheet, write_contact_sheet
from edgetrack.export.train.sampler import Sampler, SamplerSettings

EVERYTHING = SamplerSettings(
    templates=2,
    template_size=32,
    search_size=64,
    template_scale_jitter=0.1,
    contrast=0.2,
    saturation=0.3,
    hue=10,
    blur=0.5,
    occlusion=0.5,
    distractor=0.5,
    motion=0.2,
)
PLAIN = SamplerSettings(
    template_size=48, search_size=96, joint_flip=0, flip=0, gray=0, brightness=0, centre_jitter=0, scale_jitter=0
)


@pytest.fixture(scope="module")
def source():
    return made_source()


@pytest.fixture(scope="module")
def bank(source):
    return ImageBank(source)


def _same(one, other):
    pairs = zip((*one[:-1], *(one.shown or ())), (*other[:-1], *(other.shown or ())), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def _pixels(images):
    return (images.movedim(-3, -1).numpy() * STD + MEAN) * 255


def test_shapes_and_types(source, bank):
    batch = Sampler(bank, source.tracks, SamplerSettings(templates=3), 0).batch(4)
    assert batch.templates.shape == (4, 3, 3, 112, 112)
    assert batch.search.shape == (4, 3, 224, 224)
    assert batch.templates.dtype == batch.search.dtype == batch.corners.dtype == torch.float32
    assert batch.templates.is_contiguous()
    assert batch.target.dtype == torch.int64
    assert torch.isfinite(batch.search).all()


def test_target_is_the_bins_of_the_corners(source, bank):
    batch = Sampler(bank, source.tracks, SamplerSettings(template_size=32, search_size=64, templates=1), 0).batch(300)
    assert batch.corners.min() >= -0.5
    assert batch.corners.max() <= 1.5
    assert (batch.corners[:, 2:] > batch.corners[:, :2]).all()
    again = quantise(batch.corners.double().numpy())
    assert np.abs(again - batch.target.numpy()).max() <= 1  # the bins come from float64
    assert (again == batch.target.numpy()).mean() > 0.99


def test_views_are_the_trackers_crops(source, bank):
    sampler = Sampler(bank, source.tracks, PLAIN, 4)
    batch = sampler.batch(6)
    for sample, name in enumerate(sampler.names(batch)):
        track = next(track for track in source.tracks if track.name == name)
        for views, factor in ((batch.templates[sample], 2.0), (batch.search[sample][None], 4.0)):
            for view in _pixels(views):
                crops = [
                    _core.crop(source.images[image], tuple(box), factor, len(view), "rgb")[0]
                    for image, box in zip(track.images, track.boxes, strict=True)
                    if np.isfinite(box).all()
                ]
                assert min(np.abs(view - crop).max() for crop in crops) < 2.01


def test_published_flips_and_brightness(source, bank):
    settings = SamplerSettings(template_size=48, search_size=96, gray=0, centre_jitter=0, scale_jitter=0)
    stills = [track for track in source.tracks if track.still]
    plain = {
        track.name: _core.crop(source.images[track.images[0]], tuple(track.boxes[0]), 2.0, 48, "rgb")[0]
        for track in stills
    }
    sampler = Sampler(bank, stills, settings, 4)
    batch = sampler.batch(60)
    turned, factors = [], []
    for name, templates in zip(sampler.names(batch), _pixels(batch.templates), strict=True):
        for view in templates:
            dark = plain[name] < 200  # not clamped
            fits = []
            for crop, shown in ((plain[name], dark), (plain[name][:, ::-1], dark[:, ::-1])):
                factor = (view[shown] * crop[shown]).sum() / (crop[shown].astype(float) ** 2).sum()
                fits.append((np.abs(view - crop * factor)[shown].max(), factor))
            turned.append(fits[1][0] < fits[0][0])
            assert min(fits)[0] < 3.5
            factors.append(min(fits)[1])
    np.testing.assert_allclose(np.mean(turned), 0.5, atol=0.1)
    assert 0.79 < min(factors) < 0.83 < 1.17 < max(factors) < 1.21


def test_the_box_follows_the_pixels_through_everything_geometric():
    generator = np.random.default_rng(0)
    images, tracks = [], []
    for number in range(8):
        picture = np.full((90, 120, 3), 60, np.uint8)
        x, y, w, h = (int(value) for value in generator.integers([30, 25, 16, 16], [60, 45, 36, 30]))
        picture[y : y + h, x : x + w] = 250
        images.append(picture)
        tracks.append(IndexedTrack(str(number), "s", np.array([number]), np.array([[x, y, w, h]], float)))
    settings = SamplerSettings(templates=1, template_size=32, brightness=0, motion=0.2, exact_centre=True)
    batch = Sampler(ImageBank(MemorySource(images)), tracks, settings, 0).batch(40)
    checked = 0
    for picture, corners in zip(_pixels(batch.search)[..., 0], batch.corners.numpy() * 224, strict=True):
        if corners.min() < 0 or corners.max() > 224:
            continue
        white = picture > 155
        columns, rows = np.flatnonzero(white.any(0)), np.flatnonzero(white.any(1))
        np.testing.assert_allclose(corners, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=1.01)
        checked += 1
    assert checked > 20


def test_views_of_a_still_move_apart_only_when_asked(source, bank):
    stills = [track for track in source.tracks if track.still]
    settings = {"template_size": 48, "search_size": 96, "joint_flip": 0, "flip": 0, "brightness": 0, "gray": 0}
    still = Sampler(bank, stills, SamplerSettings(**settings), 0).batch(4).templates
    assert torch.equal(still, still[:, :1].expand_as(still))
    moved = Sampler(bank, stills, SamplerSettings(**settings, motion=0.2), 0).batch(4).templates
    assert (moved[:, 1:] != moved[:, :-1]).flatten(2).any(2).all()


def test_the_same_seed_gives_the_same_batches(source, bank):
    one, other = (Sampler(bank, source.tracks, EVERYTHING, 7) for _ in range(2))
    assert all(_same(one.batch(5), other.batch(5)) for _ in range(3))
    assert not _same(one.batch(5), Sampler(bank, source.tracks, EVERYTHING, 8).batch(5))


def test_processes_draw_different_samples(source, bank):
    first, second, third = (
        Sampler(bank, source.tracks, EVERYTHING, seed, rank=rank, world=2).batch(5)
        for seed, rank in ((7, 0), (7, 1), (8, 0))
    )
    assert not torch.equal(first.search, second.search)
    assert not torch.equal(second.search, third.search)


def test_resumes_exactly(source, bank, tmp_path):
    sampler = Sampler(bank, source.tracks, EVERYTHING, 7)
    sampler.batch(5)
    torch.save(sampler.state_dict(), tmp_path / "state.pt")
    wanted = [sampler.batch(5), sampler.batch(3)]
    again = Sampler(bank, source.tracks, EVERYTHING, 7)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert _same(wanted[0], again.batch(5))
    assert _same(wanted[1], again.batch(3))
    assert again.state_dict() == sampler.state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 8}, "the saved sampler has seed 8, this run 7"),
        ({"world": 4}, "the saved sampler has world 4, this run 1"),
        ({"generator": {"bit_generator": "MT19937"}}, "damaged"),
        ({"generator": None}, "damaged"),
        ({"drawn": "x"}, "damaged"),
    ],
)
def test_refuses_a_foreign_state(source, bank, change, message):
    sampler = Sampler(bank, source.tracks, EVERYTHING, 7)
    before = sampler.state_dict()
    with pytest.raises(CheckpointError, match=message):
        sampler.load_state_dict({**before, **change})
    assert sampler.state_dict() == before


def test_redraws_samples_that_show_nothing():
    generator = np.random.default_rng(0)
    images = [noise(generator, 60, 80) for _ in range(2)]
    outside = IndexedTrack("outside", "s", np.array([0]), np.array([[300.0, 300, 10, 10]]))
    inside = IndexedTrack("inside", "s", np.array([1]), np.array([[30.0, 20, 20, 20]]))
    bank = ImageBank(MemorySource(images))
    sampler = Sampler(bank, [outside, inside], EVERYTHING, 0)
    assert set(sampler.names(sampler.batch(40))) == {"inside"}
    with pytest.raises(InputError, match="show nothing"):
        Sampler(bank, [outside], EVERYTHING, 0).batch(1)


def test_refuses_bad_arguments(source, bank):
    for arguments in ({"seed": -1}, {"seed": 0, "rank": 2, "world": 2}):
        with pytest.raises(InputError, match="processes"):
            Sampler(bank, source.tracks, EVERYTHING, **arguments)
    with pytest.raises(InputError, match="track far names image 999"):
        Sampler(bank, [IndexedTrack("far", "s", np.array([999]), np.ones((1, 4)))], EVERYTHING, 0)
    with pytest.raises(InputError, match="a batch of 0"):
        Sampler(bank, source.tracks, EVERYTHING, 0).batch(0)
    for ratios in ("walk", "walk=x", "=2", "walk=-1", "walk=inf", "walk=nan"):
        with pytest.raises(InputError, match="write name=number"):
            SamplerSettings(ratios=ratios)
    assert SamplerSettings(ratios="a=2, b c = 0.5,").ratio_of_dataset() == {"a": 2.0, "b c": 0.5}


def test_prefetched_batches_are_the_samplers(source, bank):
    plain = Sampler(bank, source.tracks, EVERYTHING, 7)
    with Prefetcher(Sampler(bank, source.tracks, EVERYTHING, 7), 5) as ahead:
        for _ in range(4):
            batch = ahead.batch(5)
            assert _same(batch, plain.batch(5))
            assert ahead.state_dict() == plain.state_dict()
            assert ahead.names(batch) == plain.names(batch)
        with pytest.raises(InputError, match="from a prefetcher of 5"):
            ahead.batch(4)
        state = ahead.state_dict()
        wanted = ahead.batch(5)
        ahead.load_state_dict(state)
        assert _same(ahead.batch(5), wanted)


def test_closing_puts_the_sampler_back_behind_the_last_batch(source, bank):
    plain, sampler = (Sampler(bank, source.tracks, EVERYTHING, 7) for _ in range(2))
    ahead = Prefetcher(sampler, 5, depth=1)
    plain.batch(5)
    ahead.batch(5)
    ahead.close()
    assert _same(sampler.batch(5), plain.batch(5))


def test_the_prefetcher_raises_what_the_sampler_raises():
    bank = ImageBank(MemorySource([noise(np.random.default_rng(0), 60, 80)]))
    outside = IndexedTrack("outside", "s", np.array([0]), np.array([[300.0, 300, 10, 10]]))
    with (
        Prefetcher(Sampler(bank, [outside], EVERYTHING, 0), 2) as ahead,
        pytest.raises(InputError, match="show nothing"),
    ):
        ahead.batch(2)
    with pytest.raises(InputError, match="at least 1"):
        Prefetcher(Sampler(bank, [outside], EVERYTHING, 0), 0)


def test_contact_sheet(source, bank, tmp_path):
    batch = Sampler(bank, source.tracks, PLAIN, 0).batch(3)
    sheet = contact_sheet(batch)
    assert sheet.shape == (2 * (96 + 4), 2 * (5 * 52 + 100 + 4), 3)
    drawn = np.abs(sheet[:96, 5 * 52 : 5 * 52 + 96] - _pixels(batch.search[0])).max(-1) > 40
    left, top, right, bottom = batch.corners[0].numpy() * 96 - 0.5
    columns, rows = np.flatnonzero(drawn.any(0)), np.flatnonzero(drawn.any(1))
    np.testing.assert_allclose([columns[0], rows[0], columns[-1], rows[-1]], [left, top, right, bottom], atol=1.5)
    assert not drawn[round(top) + 3 : round(bottom) - 2, round(left) + 3 : round(right) - 2].any()
    np.testing.assert_allclose(sheet[:48, :48], _pixels(batch.templates[0, 0]), atol=0.51)
    write_contact_sheet(batch, tmp_path / "sheet.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1], sheet)
    with pytest.raises(InputError, match="cannot write the preview"):
        write_contact_sheet(batch, tmp_path / "missing" / "sheet.png")
