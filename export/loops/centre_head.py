"""The published tracking loop of the centre-head trackers in eager PyTorch (OSTrack, GRM and GLAD, spec sections 4).

A port that keeps the published way of working: the template is embedded anew in every frame, every row of every block
is computed, a box is decoded without the window and thrown away. It is the reference of the parity gate and the peer of
the benchmarks, so it is neither sped up nor slowed down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.errors import InputError
from edgetrack.export.loops.clip import clip_box
from edgetrack.export.loops.crop import IMAGENET_MEAN, IMAGENET_STD, ImageNormaliser, crop
from edgetrack.export.models.base import Box
from edgetrack.export.models.centre_head import best_box
from edgetrack.export.models.centre_net import CentreOutput

__all__ = ["CLIP_MARGIN_PX", "CentreReference", "CentreStep", "LoopNet", "LoopShape", "hann_window"]

CLIP_MARGIN_PX = 10


class LoopShape(Protocol):
    """What the loop reads of a network's sizes; see `CentreShape`."""

    @property
    def template_size(self) -> int:
        """Side of the template's crop in pixels."""

    @property
    def template_factor(self) -> float:
        """That side over the square root of the box's area."""

    @property
    def search_size(self) -> int:
        """Side of the search crop in pixels."""

    @property
    def search_factor(self) -> float:
        """That side over the square root of the box's area."""

    @property
    def search_grid(self) -> int:
        """Cells along a side of the maps."""


class LoopNet(Protocol):
    """A network in the loop."""

    @property
    def shape(self) -> LoopShape:
        """Its sizes."""

    def __call__(self, template: Tensor, search: Tensor) -> CentreOutput:
        """Run one frame on normalised RGB (1, 3, Tz, Tz) and (1, 3, Sx, Sx)."""


@dataclass(frozen=True)
class CentreStep:
    """What one frame produced, for golden tests and parity.

    output: of the network; response (1, 1, f, f): score times window; found (4,): cx, cy, w, h as decoded, in parts of
    the search crop, before mapping and clipping; resize_factor of the search crop; state: the box that the crop was
    taken around.
    """

    output: CentreOutput
    response: Tensor
    found: Tensor
    resize_factor: float
    state: Box

    @property
    def argmax(self) -> int:
        """The flat index of the best cell."""
        return int(self.response.argmax())

    @property
    def gap(self) -> float:
        """By how much the best windowed score leads the second best."""
        best = self.response.flatten().topk(2).values
        return float(best[0] - best[1])


def hann_window(side: int) -> Tensor:
    """Return the window (1, 1, side, side) with no cell at 0, every step in float32 as published."""
    steps = torch.arange(1, side + 1).float()
    line = 0.5 * (1 - torch.cos((2 * math.pi / (side + 1)) * steps))
    return line.view(1, 1, -1, 1) * line.view(1, 1, 1, -1)


class CentreReference:
    """The published tracker around one network; frames are uint8 RGB (H, W, 3)."""

    def __init__(self, net: LoopNet, divisor: int | None = None) -> None:
        """Use a loaded `net` in evaluation mode; `divisor` is that of `best_box`."""
        self.net = net
        self.divisor = divisor
        self.box: Box = (0.0, 0.0, 0.0, 0.0)
        self.step: CentreStep | None = None
        self.template: Tensor | None = None
        self._normalise = ImageNormaliser(IMAGENET_MEAN, IMAGENET_STD)
        self._window = hann_window(net.shape.search_grid)

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """Start on `frame` at `box`; forgets everything from before."""
        shape = self.net.shape
        self.box = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        patch, _, _ = crop(frame, self.box, shape.template_factor, shape.template_size)
        self.template, self.step = self._normalise(patch), None

    def search_input(self, frame: NDArray[np.uint8]) -> tuple[Tensor, float]:
        """Return the network's input (1, 3, Sx, Sx) for a frame at the current state, and the resize factor."""
        shape = self.net.shape
        patch, resize_factor, _ = crop(frame, self.box, shape.search_factor, shape.search_size)
        return self._normalise(patch), resize_factor

    @torch.no_grad()
    def update(self, frame: NDArray[np.uint8]) -> Box:
        """Track one frame and return the new state.

        Raises:
            InputError: called before `init`.
        """
        if self.template is None:
            raise InputError("update was called before init; call init(frame, box) first")
        search, resize_factor = self.search_input(frame)
        output = self.net(self.template, search)
        response = self._window * output.maps.score
        found = best_box(response, output.maps.size, output.maps.offset, self.divisor)[0]
        self.step = CentreStep(output, response, found, resize_factor, self.box)
        self.box = self._place(found, resize_factor, frame.shape[0], frame.shape[1])
        return self.box

    def _place(self, found: Tensor, resize_factor: float, height: int, width: int) -> Box:
        """Map cx, cy, w, h (4,) in parts of the crop to the frame: pixels in float32, the rest in float64."""
        size = self.net.shape.search_size
        cx, cy, w, h = (found * size / resize_factor).tolist()
        half = 0.5 * size / resize_factor
        x, y = self.box[0] + 0.5 * self.box[2], self.box[1] + 0.5 * self.box[3]
        return clip_box((cx + (x - half) - 0.5 * w, cy + (y - half) - 0.5 * h, w, h), height, width, CLIP_MARGIN_PX)

    forcible = True

    def set_state(self, box: Box) -> None:
        """Replace the state before the next update; the gate's forced pass."""
        self.box = box

    def corners_px(self) -> NDArray[np.float64]:
        """Return the last update's decoded corners (4,) in pixels of the network's input, from its top-left corner.

        Raises:
            InputError: called before `update`.
        """
        if self.step is None:
            raise InputError("corners_px was called before update; track a frame first")
        cx, cy, w, h = self.step.found.tolist()
        return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) * self.net.shape.search_size

    def leads(self) -> NDArray[np.float64]:
        """Return by how much the best cell led the second best in the last update, four times (one cell decides all).

        0 where a decision inside the network was so close that rounding may turn it.

        Raises:
            InputError: called before `update`.
        """
        if self.step is None:
            raise InputError("leads was called before update; track a frame first")
        return np.full(4, self.step.gap if self.step.output.safe else 0.0)

    def kept(self) -> None:
        """Return None: no template tokens are dropped."""

    def raw_score(self) -> float:
        """Return the confidence signal that the product shows: the score, without window, of the cell that was chosen.

        The published code has none, and nothing of the loop depends on it. 0 where it is not finite.

        Raises:
            InputError: called before `update`.
        """
        if self.step is None:
            raise InputError("raw_score was called before update; track a frame first")
        score = float(self.step.output.maps.score.flatten()[self.step.argmax])
        return score if math.isfinite(score) else 0.0
