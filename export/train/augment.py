"""Changes of the pixels of many crops at once, on the device; what is changed how is drawn on the host.

Crops are float32 (N, 3, H, W), RGB, 0 to 255.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgetrack.export.train.sampler_settings import SamplerSettings

__all__ = ["MEAN", "STD", "Effects", "draw_effects", "normalise"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_LUMA = np.array([0.299, 0.587, 0.114])  # of gray, as in OpenCV
_BLUR_RADIUS = 7  # pixels

Floats = NDArray[np.float64]


class Effects(NamedTuple):
    """What happens to the pixels of views, each (..., more) of the views' shape (...)."""

    brightness: Floats  # (...) factors
    contrast: Floats  # (...) factors of the distance to the view's mean
    colour: Floats  # (..., 3, 3) output channel from input channels
    blur: Floats  # (..., 2) standard deviations across and down, pixels; 0 = none

    def views(self, which: slice) -> Effects:
        """Return the effects of some views of each sample, flat."""
        return Effects(*(table[:, which].reshape(-1, *table.shape[2:]) for table in self))


def draw_effects(settings: SamplerSettings, samples: int, views: int, generator: np.random.Generator) -> Effects:
    """Draw effects for (samples, views): gray once for all views of a sample, the rest for each view."""
    shape = (samples, views)
    gray = np.broadcast_to(generator.random((samples, 1)) < settings.gray, shape)
    factors = [
        1 + spread * generator.uniform(-1, 1, shape)
        for spread in (settings.brightness, settings.contrast, settings.saturation)
    ]
    angle = np.deg2rad(settings.hue) * generator.uniform(-1, 1, shape)
    blurred = generator.random(shape) < settings.blur
    sigma = generator.uniform(0, settings.blur_sigma, (*shape, 2)) * blurred[..., None]
    return Effects(factors[0], factors[1], _colour(np.where(gray, 0.0, factors[2]), angle), sigma)


def _colour(saturation: Floats, angle: Floats) -> Floats:
    """Return (..., 3, 3): a turn about the gray axis by `angle`, then `saturation` times the distance to gray."""
    cos, sin = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    third = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = cos * np.eye(3) + sin * cross + (1 - cos) * third
    weight = saturation[..., None, None]
    return np.asarray((weight * np.eye(3) + (1 - weight) * np.tile(_LUMA, (3, 1))) @ turn)


def normalise(crops: Tensor, effects: Effects) -> Tensor:
    """Apply effects to crops, in place where that is possible, and bring them to the network's scale.

    Args:
        crops: float32 (N, 3, H, W), 0 to 255; overwritten.
        effects: of N views.

    Returns:
        float32 (N, 3, H, W): `(v / 255 - MEAN) / STD`, v clamped to 0 to 255.
    """
    # Pictures keep float32 even inside a training step of mixed precision.
    with torch.autocast(crops.device.type, enabled=False):
        _blur(crops, effects.blur)
        _recolour(crops, effects.colour)
    _change_contrast(crops, effects.contrast)
    # One multiplication and one addition from 0..255 to the network's scale; the clamp moves behind them.
    scale = torch.tensor(STD, device=crops.device).view(1, 3, 1, 1) * 255
    offset = torch.tensor(MEAN, device=crops.device).view(1, 3, 1, 1) * 255
    low, high = -offset / scale, (255 - offset) / scale
    crops.mul_(_column(effects.brightness, crops) / scale).add_(low)
    return torch.maximum(torch.minimum(crops, high, out=crops), low, out=crops)


def _change_contrast(crops: Tensor, contrast: Floats) -> None:
    """Multiply the distance of each crop to its mean by `contrast` (N,), in place; padding counts for nothing."""
    if (contrast == 1).all():
        return
    shown = crops.amax(1, keepdim=True) > 0  # padding must stay black: that is what the tracker sees there
    middle = crops.sum((1, 2, 3), keepdim=True) / (3 * shown.sum((1, 2, 3), keepdim=True)).clamp_(min=1)
    crops.sub_(middle).mul_(_column(contrast, crops)).add_(middle).mul_(shown)


def _column(values: Floats, crops: Tensor) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(crops.device, non_blocking=True).view(-1, 1, 1, 1)


def _chosen(rows: NDArray[np.int64], crops: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(crops.device, non_blocking=True)


def _recolour(crops: Tensor, colour: Floats) -> None:
    """Multiply the channels of the crops by (N, 3, 3) where that is not the identity, in place."""
    rows = np.flatnonzero((np.abs(colour - np.eye(3)) > 1e-9).any((1, 2)))
    if len(rows):
        at = _chosen(rows, crops)
        matrix = torch.from_numpy(colour[rows].astype(np.float32)).to(crops.device, non_blocking=True)
        # The result is a photograph again: no channel leaves the range before the next change.
        crops[at] = (matrix @ crops[at].flatten(2)).clamp_(0, 255).view(len(rows), *crops.shape[1:])


def _blur(crops: Tensor, sigma: Floats) -> None:
    """Blur the crops whose (N, 2) standard deviations are above 0, in place; the border is repeated."""
    rows = np.flatnonzero((sigma > 0).any(1))
    if not len(rows):
        return
    at = _chosen(rows, crops)
    steps = np.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1)
    kernels = np.exp(-0.5 * (steps / np.maximum(sigma[rows][..., None], 1e-3)) ** 2)
    kernels /= kernels.sum(-1, keepdims=True)
    weights = torch.from_numpy(np.repeat(kernels, 3, 0).astype(np.float32)).to(crops.device, non_blocking=True)
    planes = crops[at].flatten(0, 1)[None]  # one image of 3 n channels, each with a kernel of its own
    planes = functional.pad(planes, [_BLUR_RADIUS] * 4, mode="replicate")
    planes = functional.conv2d(planes, weights[:, 0, None, None, :], groups=planes.shape[1])
    planes = functional.conv2d(planes, weights[:, 1, None, :, None], groups=planes.shape[1])
    crops[at] = planes.view(len(rows), *crops.shape[1:])
