"""Changes of the pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from edgetrack.export.train.augment import MEAN, STD, Effects, draw_effects, normalise
from edgetrack.export.train.paste import Pieces, draw_distractors, draw_occlusions, paste
from edgetrack.export.train.sampler import SamplerSettings


def _crops(count=3, size=40):
    return np.random.default_rng(2).integers(1, 256, (count, 3, size, size)).astype(np.float32)


def _effects(count=3, **changes):
    plain = {
        "brightness": np.ones(count),
        "contrast": np.ones(count),
        "colour": np.tile(np.eye(3), (count, 1, 1)),
        "blur": np.zeros((count, 2)),
    }
    return Effects(**{**plain, **changes})


def _changed(crops, effects):
    """Return what `normalise` shows, back on the scale 0 to 255."""
    values = normalise(torch.from_numpy(crops.copy()), effects).numpy()
    return (values * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))) * 255


def test_brightness_multiplies_clamps_and_normalises():
    crops, factors = _crops(), np.array([0.8, 1.0, 1.2])
    found = normalise(torch.from_numpy(crops.copy()), _effects(brightness=factors)).numpy()
    bright = np.clip(crops / 255 * factors[:, None, None, None], 0, 1)
    wanted = (bright - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_drawn_effects_have_the_published_spread():
    effects = draw_effects(SamplerSettings(), 5000, 6, np.random.default_rng(0))
    assert 0.8 <= effects.brightness.min() < 0.801 < 1.199 < effects.brightness.max() <= 1.2
    assert np.ptp(effects.brightness, axis=1).min() > 0  # drawn for each view
    assert (effects.contrast == 1).all()
    assert not effects.blur.any()
    gray = (effects.colour[..., 0, 1] > 0).reshape(5000, 6)
    assert (gray == gray[:, :1]).all()
    np.testing.assert_allclose(gray[:, 0].mean(), 0.05, atol=0.012)
    np.testing.assert_allclose(
        effects.colour[~gray], np.broadcast_to(np.eye(3), (int((~gray).sum()), 3, 3)), atol=1e-12
    )


def test_gray_is_that_of_opencv():
    effects = draw_effects(SamplerSettings(gray=1, brightness=0), 3, 1, np.random.default_rng(0)).views(slice(0, 1))
    crops = _crops()
    found = _changed(crops, effects)
    wanted = [cv2.cvtColor(crop.transpose(1, 2, 0).astype(np.uint8), cv2.COLOR_RGB2GRAY) for crop in crops]
    assert np.abs(found - np.array(wanted)[:, None]).max() < 0.6


def test_hue_and_saturation_keep_gray_and_black():
    settings = SamplerSettings(hue=90, saturation=0.8, gray=0, brightness=0)
    effects = draw_effects(settings, 3, 1, np.random.default_rng(0)).views(slice(0, 1))
    gray = np.repeat(_crops()[:, :1], 3, 1)
    gray[:, :, :5] = 0
    np.testing.assert_allclose(_changed(gray, effects), gray, atol=1e-3)
    assert np.abs(_changed(_crops(), effects) - _crops()).mean() > 5


def test_contrast_keeps_the_mean_and_the_padding():
    crops = _crops() / 4 + 96
    crops[:, :, :, :10] = 0
    factors = np.array([0.7, 1.0, 1.3])
    found = _changed(crops, _effects(contrast=factors))
    assert np.abs(found[..., :10]).max() < 1e-3
    shown, before = found[..., 10:], crops[..., 10:]
    np.testing.assert_allclose(shown.mean((1, 2, 3)), before.mean((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(shown.std((1, 2, 3)), before.std((1, 2, 3)) * factors, rtol=1e-4)


def test_blur_is_a_gaussian():
    crops = _crops()
    sigma = np.array([[1.5, 0.0], [0.0, 0.0], [0.8, 2.0]])
    found = _changed(crops, _effects(blur=sigma))
    np.testing.assert_allclose(found[1], crops[1], atol=1e-3)
    for index in (0, 2):
        across, down = np.maximum(sigma[index], 1e-6)
        blurred = cv2.GaussianBlur(
            crops[index].transpose(1, 2, 0), (15, 15), across, sigmaY=down, borderType=cv2.BORDER_REPLICATE
        )
        np.testing.assert_allclose(found[index], blurred.transpose(2, 0, 1), atol=0.01)


def test_mixed_precision_around_it_changes_nothing():
    settings = SamplerSettings(hue=90, saturation=0.8, blur=1, contrast=0.2)
    effects = draw_effects(settings, 3, 1, np.random.default_rng(0)).views(slice(0, 1))
    plain = normalise(torch.from_numpy(_crops()), effects)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(normalise(torch.from_numpy(_crops()), effects), plain)


def test_paste_copies_rectangles():
    words = torch.arange(3 * 20 * 20, dtype=torch.int32).view(3, 20, 20)
    before = words.clone()
    pieces = Pieces(
        np.array([0, 1]), np.array([1, 0]), np.array([[2, 3, 7, 9], [0, 0, 4, 5]]), np.array([[5, -1], [0, 9]])
    )
    paste(words, pieces)
    wanted = before.clone()
    wanted[0, 3:9, 2:7] = before[1, 2:8, 7:12]
    wanted[1, 0:5, 0:4] = before[0, 9:14, 0:4]
    assert torch.equal(words, wanted)


@pytest.fixture
def targets():
    generator = np.random.default_rng(5)
    start = generator.uniform(-0.1, 0.8, (400, 2))
    return np.concatenate([start, start + generator.uniform(0.05, 0.4, (400, 2))], 1)


def _common(places, targets):
    return np.clip(np.minimum(places[:, 2:], targets[:, 2:]) - np.maximum(places[:, :2], targets[:, :2]), 0, None).prod(
        1
    )


def test_occlusions_cover_a_part_of_their_target(targets):
    pieces = draw_occlusions(targets, 224, 0.5, np.random.default_rng(0))
    assert 150 < len(pieces.to) < 250
    assert (pieces.to != pieces.donor).all()
    target = targets[pieces.to] * 224
    assert (_common(pieces.place, target) > 0).mean() > 0.9  # a middle outside the crop is cut off
    sides = (pieces.place[:, 2:] - pieces.place[:, :2]) / (target[:, 2:] - target[:, :2])
    assert sides.max() < 0.8
    _assert_within(pieces)


def test_distractors_leave_their_target_free(targets):
    pieces = draw_distractors(targets, 224, 1.0, np.random.default_rng(0))
    assert len(pieces.to) > 300
    target = np.clip(targets[pieces.to] * 224, 0, 224)
    area = (target[:, 2:] - target[:, :2]).prod(1)
    assert (_common(pieces.place, target) <= 0.1 * area + 20).all()  # rounded to pixels
    donor = np.clip(np.rint(targets[pieces.donor] * 224), 0, 224)
    np.testing.assert_array_equal(pieces.place + np.tile(pieces.shift, 2), donor)
    _assert_within(pieces)


def _assert_within(pieces):
    for rectangles in (pieces.place, pieces.place + np.tile(pieces.shift, 2)):
        assert rectangles.min() >= 0
        assert rectangles.max() <= 224


def test_a_batch_of_one_has_no_donor(targets):
    for draw in (draw_occlusions, draw_distractors):
        assert not len(draw(targets[:1], 224, 1.0, np.random.default_rng(0)).to)
