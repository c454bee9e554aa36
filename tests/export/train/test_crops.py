"""Crops on the device against the tracker's own, and the target's place in them against the formula."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sampler_data import MemorySource, noise

from edgetrack import _core
from edgetrack.export.loops.crop import crop as published_crop
from edgetrack.export.train import crops as crops_module
from edgetrack.export.train.bank import ImageBank
from edgetrack.export.train.crops import cut, unpack
from edgetrack.export.train.geometry import (
    Windows,
    blank,
    corners,
    crop_windows,
    jitter,
    mirror,
    quantise,
    stretch,
)


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(1)
    return [noise(generator, *shape) for shape in ((120, 160), (90, 70), (48, 200))]


@pytest.fixture(scope="module")
def bank(images):
    return ImageBank(MemorySource(images))


def _boxes(images, count, reach):
    """Boxes whose middle is in the image (reach 0) or up to `reach` image sizes beside it."""
    generator = np.random.default_rng(7)
    chosen = generator.integers(0, len(images), count)
    extent = np.array([images[index].shape[1::-1] for index in chosen], float)
    sides = extent * generator.uniform(0.03, 0.9, (count, 2))
    middle = extent * generator.uniform(-reach, 1 + reach, (count, 2))
    return chosen, np.concatenate([middle - sides / 2, sides], 1), extent


def _pixels(words):
    return unpack(words).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(("factor", "size"), [(4.0, 224), (2.0, 112)])
def test_equals_the_trackers_crop(images, bank, factor, size, monkeypatch):
    monkeypatch.setattr(crops_module, "_CPU_WORDS", 5 * size * size)  # more than one part
    chosen, boxes, _ = _boxes(images, 12, 0.0)
    found = _pixels(cut(bank, chosen, crop_windows(boxes, factor), np.zeros(12, bool), size))
    for crop, index, box in zip(found, chosen, boxes, strict=True):
        wanted, _ = _core.crop(images[index], tuple(box), factor, size, "rgb")
        difference = np.abs(crop - wanted)
        assert difference.max() <= 2
        assert difference.mean() < 0.5


def test_mirrors(images, bank):
    chosen, boxes, _ = _boxes(images, 6, 0.0)
    windows = crop_windows(boxes, 4.0)
    plain = _pixels(cut(bank, chosen, windows, np.zeros(6, bool), 64))
    mirrored = np.array([True, False] * 3)
    turned = _pixels(cut(bank, chosen, windows, mirrored, 64))
    np.testing.assert_array_equal(turned[mirrored], plain[mirrored, :, ::-1])
    np.testing.assert_array_equal(turned[~mirrored], plain[~mirrored])


def test_stretched_windows_are_bilinear_samples(images, bank):
    window = Windows(np.array([[31.3, 20.6]]), np.array([[60.7, 40.2]]))
    found = _pixels(cut(bank, np.array([0]), window, np.array([False]), 32))[0]
    steps = (np.arange(32) + 0.5)[None] * (np.array([[60.7], [40.2]]) / 32) - 0.5 + np.array([[31.3], [20.6]])
    columns, rows = np.meshgrid(*steps.astype(np.float32))
    wanted = cv2.remap(images[0], columns, rows, cv2.INTER_LINEAR)
    assert np.abs(found - wanted.astype(float))[1:-1, 1:-1].max() <= 8  # remap rounds positions to 1/32 pixel


def test_a_window_beside_the_image_is_black(bank):
    window = Windows(np.array([[500.0, 0.0], [0.0, -90.0]]), np.full((2, 2), 40.0))
    assert not cut(bank, np.array([0, 0]), window, np.zeros(2, bool), 32).any()


@pytest.mark.parametrize(("factor", "size"), [(4.0, 224), (2.0, 112)])
def test_blank_is_the_published_rule(images, factor, size):
    chosen, boxes, extent = _boxes(images, 400, 1.0)
    windows = crop_windows(boxes, factor)
    found = blank(windows, extent, size)
    assert 20 < found.sum() < 380
    checked = 0
    for index, (number, box) in enumerate(zip(chosen, boxes, strict=True)):
        start, stop = windows.start[index], windows.start[index] + windows.side[index]
        if (stop <= 0).any() or (start >= extent[index] - 1).any():
            assert found[index]  # the published crop has no pixel of the image and fails or wraps round
            continue
        _, _, padding = published_crop(images[number], tuple(box), factor, size)
        assert found[index] == (padding.all() or padding[::16, ::16].all())
        checked += 1
    assert checked > 100


def test_a_window_without_side_is_blank():
    windows = crop_windows(np.array([[5.0, 5.0, 0.0, 3.0], [5, 5, 3, 3]]), 4.0)
    np.testing.assert_array_equal(blank(windows, np.full((2, 2), 100.0), 224), [True, False])


def test_corners_follow_the_formula():
    box, around = np.array([30.0, 40, 20, 10]), np.array([22.0, 31, 25, 18])
    window = crop_windows(around, 4.0)
    side = np.ceil(np.sqrt(25 * 18) * 4)
    scale = 224 / side
    middle_x = (223 / 2 + (40 - 34.5) * scale) / 224
    middle_y = (223 / 2 + (45 - 40) * scale) / 224
    half_w, half_h = 20 * scale / 448, 10 * scale / 448
    wanted = [middle_x - half_w, middle_y - half_h, middle_x + half_w, middle_y + half_h]
    found = corners(box, around[:2] + around[2:] / 2, window, 224, np.array(False))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    turned = corners(box, around[:2] + around[2:] / 2, window, 224, np.array(True))
    np.testing.assert_allclose(turned[0] + turned[2], 223 / 224 - (40 - 34.5) * scale * 2 / 224, rtol=1e-12)
    np.testing.assert_allclose(mirror(found, np.array(True))[[0, 2]], [1 - wanted[2], 1 - wanted[0]], rtol=1e-12)


@pytest.mark.parametrize("mirrored", [False, True])
def test_exact_corners_lie_on_the_pixels(mirrored):
    picture = np.ones((100, 120, 3), np.uint8)
    picture[40:60, 30:70] = 255
    bank = ImageBank(MemorySource([picture]))
    box, around = np.array([[30.0, 40, 40, 20]]), np.array([[26.3, 38.2, 37.0, 25.0]])
    windows = stretch(crop_windows(around, 2.0), np.array([[1.1, 0.9]]))
    flags = np.array([mirrored])
    crop = _pixels(cut(bank, np.array([0]), windows, flags, 224))[0, :, :, 0] > 128
    found = corners(box, around[:, :2], windows, 224, flags, exact=True)[0] * 224
    columns, rows = np.flatnonzero(crop.any(0)), np.flatnonzero(crop.any(1))
    np.testing.assert_allclose(found, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=1)


def test_quantise_clamps_and_truncates():
    found = quantise(np.array([[-3.0, -0.5, 0.0, 0.5], [1.4999, 1.5, 9, 0.00334]]))
    np.testing.assert_array_equal(found, [[0, 0, 149, 299], [597, 598, 598, 150]])


def test_jitter_has_the_published_spread():
    generator = np.random.default_rng(0)
    box = np.array([50.0, 60, 30, 20])
    found = jitter(np.tile(box, (20_000, 1)), 3.5, 0.5, generator)
    logarithms = np.log(found[:, 2:] / box[2:])
    np.testing.assert_allclose(logarithms.std(0), 0.5, rtol=0.03)
    np.testing.assert_allclose(logarithms.mean(0), 0, atol=0.02)
    moved = found[:, :2] + found[:, 2:] / 2 - box[:2] - box[2:] / 2
    moved /= np.sqrt(found[:, 2:].prod(1, keepdims=True))
    assert np.abs(moved).max() <= 1.75
    np.testing.assert_allclose(moved.std(0), 3.5 / np.sqrt(12), rtol=0.03)
    np.testing.assert_allclose(jitter(box, 0, 0, generator), box, rtol=1e-12)
