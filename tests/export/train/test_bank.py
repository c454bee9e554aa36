"""The images on the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampler_data import MemorySource, noise

from edgetrack.errors import InputError
from edgetrack.export.train import bank as bank_module
from edgetrack.export.train.bank import ImageBank


def test_holds_every_image_bit_for_bit(monkeypatch):
    monkeypatch.setattr(bank_module, "_CHUNK", 3)
    generator = np.random.default_rng(0)
    images = [noise(generator, 3 + index, 11 - index) for index in range(8)]
    images[2] = images[2][::-1, ::-1]  # not contiguous
    done = []
    bank = ImageBank(MemorySource(images), "cpu", done.append)
    assert done == [3, 3, 2]
    assert len(bank) == 8
    assert bank.words.dtype == torch.int32
    assert len(bank.words) == sum(image.shape[0] * image.shape[1] for image in images)
    for index, image in enumerate(images):
        assert (bank.heights[index], bank.widths[index]) == image.shape[:2]
        np.testing.assert_array_equal(bank.image(index).numpy(), image)
    assert not bank.pixels[:, 3].any()


def test_refuses_no_images():
    with pytest.raises(InputError, match="no training images"):
        ImageBank(MemorySource([]))


@pytest.mark.parametrize("wrong", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), np.zeros((5, 4, 3), np.uint8)])
def test_refuses_an_image_unlike_announced(wrong):
    source = MemorySource([np.zeros((4, 5, 3), np.uint8)] * 2)
    source.read = lambda index: wrong if index else source.images[0]
    with pytest.raises(InputError, match=r"training image 1 is .* announced as uint8 \(4, 5, 3\)"):
        ImageBank(source)


def test_says_when_the_memory_does_not_suffice():
    source = MemorySource([np.zeros((4, 5, 3), np.uint8)])
    source.shape = lambda index: (2**30, 2**30)
    with pytest.raises(InputError, match="GiB, more than cpu has"):
        ImageBank(source)
