"""MVLM's published tracking loop in eager PyTorch (spec section 4).

A port that keeps the published way of working, except where it cannot be reproduced (pooling noise, oddity O1) or has
no use (a template for a tracker that shows none, O9). It is the reference of the parity gate and the peer of the
benchmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.errors import InputError
from edgetrack.export.loops.centre_head import hann_window
from edgetrack.export.loops.clip import clip_box
from edgetrack.export.loops.crop import IMAGENET_MEAN, IMAGENET_STD, ImageNormaliser, crop
from edgetrack.export.models.base import Box
from edgetrack.export.models.margin import MarginMemory, edges, margins, similarities
from edgetrack.export.models.mvlm_net import MvlmNet, MvlmOutput, candidate_boxes
from edgetrack.export.models.mvlm_variants import GateRule, UpdateRule

__all__ = ["CLIP_MARGIN_PX", "SAFE_EDGE", "MvlmReference", "MvlmStep"]

CLIP_MARGIN_PX = 10
SAFE_EDGE = 1e-4
"""How far from a half an edge must be, in tokens, that float32 rounding cannot move it. The errors that spec section 7
allows of sizes and offsets move an edge by 7e-5."""


@dataclass(frozen=True)
class MvlmStep:
    """What one frame produced, for golden tests and parity.

    output: of the network; boxes (N, 4): the candidates cx, cy, w, h in parts of the network's input; cls, sims, kappa,
    memory, confidence (N,): windowed score, similarity, margin, remembered margin and confidence of each; chosen:
    number of the candidate that was taken; selected: how many were confident; is_global: whether the whole frame was
    searched; next_global: whether the next one will be; updated: whether a template was taken; resize_factor of a local
    crop, 0 in the global view; state: the box before the frame.
    """

    output: MvlmOutput
    boxes: Tensor
    cls: Tensor
    sims: Tensor
    kappa: Tensor
    memory: Tensor
    confidence: Tensor
    chosen: int
    selected: int
    is_global: bool
    next_global: bool
    updated: bool
    resize_factor: float
    state: Box

    @property
    def safe(self) -> bool:
        """Whether every box covers tokens that rounding cannot change."""
        at = edges(self.boxes, round(len(self.boxes) ** 0.5))
        return bool(((at - at.floor() - 0.5).abs() >= SAFE_EDGE).all())

    def lead(self, tau: float) -> float:
        """Return by how much the choice led: the least change of a score or a confidence that would turn it."""
        best = float(self.cls[self.chosen])
        others = torch.arange(len(self.cls)) != self.chosen
        behind, below = (best - self.cls)[others], (tau - self.confidence)[others]
        if not self.selected:  # another one must score higher, or become the only confident one
            return float(torch.minimum(behind, below).min())
        overtaken = torch.maximum(behind, below).min()
        return min(float(self.confidence[self.chosen]) - tau, float(overtaken))


class MvlmReference:
    """The published tracker around one network; frames are uint8 RGB (H, W, 3)."""

    def __init__(self, net: MvlmNet, gate: GateRule, text: Tensor, update: UpdateRule | None = None) -> None:
        """Use a loaded `net` in evaluation mode, and the text features (1, words, C) of the sentence to follow."""
        self.net, self.gate, self.text = net, gate, text
        self.rule = update or UpdateRule()
        self.box: Box = (0.0, 0.0, 0.0, 0.0)
        self.step: MvlmStep | None = None
        self.templates: list[Tensor] = []
        self.memory = MarginMemory(gate)
        self.is_global = False
        self.frame_index = -1
        self._normalise = ImageNormaliser(IMAGENET_MEAN, IMAGENET_STD)
        self._window = hann_window(net.shape.search_grid).flatten()

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """Start on `frame`; forgets everything from before.

        A network without templates follows the sentence alone: `box` is where it is said to be until it is found, and
        nothing depends on it.
        """
        self.box = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        first = [self.template(frame)] if self.net.shape.templates else []
        self.templates = first * self.net.shape.templates
        self.memory, self.step = MarginMemory(self.gate), None
        self.is_global = not self.templates
        self.frame_index = 0

    def template(self, frame: NDArray[np.uint8]) -> Tensor:
        """Return a template (1, 3, Sz, Sz) cut out of a frame at the current state."""
        shape = self.net.shape
        return self._normalise(crop(frame, self.box, shape.template_factor, shape.template_size)[0])

    def search_input(self, frame: NDArray[np.uint8]) -> tuple[Tensor, float]:
        """Return the network's input (1, 3, Sx, Sx) for a frame, and the resize factor; 0 in the global view."""
        shape = self.net.shape
        if self.is_global:  # the aspect is ignored (oddity O5)
            return self._normalise(cv2.resize(frame, (shape.search_size, shape.search_size))), 0.0
        patch, resize_factor, _ = crop(frame, self.box, shape.search_factor, shape.search_size)
        return self._normalise(patch), resize_factor

    @torch.no_grad()
    def update(self, frame: NDArray[np.uint8]) -> Box:
        """Track one frame and return the new state.

        Raises:
            InputError: called before `init`.
        """
        if self.frame_index < 0:
            raise InputError("update was called before init; call init(frame, box) first")
        search, resize_factor = self.search_input(frame)
        output = self.net(search, self.text, self.templates)
        cls = self._window * output.maps.score.flatten()
        boxes = candidate_boxes(output.maps.size, output.maps.offset)
        sims = similarities(boxes, output.features[0], self.text[0])
        kappa = margins(sims, cls, boxes, self.gate)
        confidence = self.memory.confidence(kappa)
        selected = confidence >= self.gate.tau
        chosen = int((cls.masked_fill(~selected, -1.0) if selected.any() else cls).argmax())
        state, was_global = self.box, self.is_global
        self.box = self._place(boxes[chosen], resize_factor, frame.shape[0], frame.shape[1])
        self.is_global = not bool(selected.any())
        self.frame_index += 1
        updated = self._take_template(frame, float(cls[chosen]))
        memory = kappa if self.memory.values is None else self.memory.values
        self.step = MvlmStep(
            output, boxes, cls, sims, kappa, memory, confidence, chosen, int(selected.sum()), was_global,
            self.is_global, updated, resize_factor, state,
        )  # fmt: skip
        return self.box

    def _place(self, found: Tensor, resize_factor: float, height: int, width: int) -> Box:
        """Map cx, cy, w, h (4,) in parts of the input to the frame: to its pixels in float32, the rest in float64."""
        size = self.net.shape.search_size
        if resize_factor == 0.0:
            cx, cy, w, h = (found * size).tolist()
            cx, cy, w, h = cx / (size / width), cy / (size / height), w / (size / width), h / (size / height)
        else:
            cx, cy, w, h = (found * size / resize_factor).tolist()
            half = 0.5 * size / resize_factor
            cx += self.box[0] + 0.5 * self.box[2] - half
            cy += self.box[1] + 0.5 * self.box[3] - half
        return clip_box((cx - 0.5 * w, cy - 0.5 * h, w, h), height, width, CLIP_MARGIN_PX)

    def _take_template(self, frame: NDArray[np.uint8], score: float) -> bool:
        """Replace the newest template by one at the new state, where the rule says so."""
        if len(self.templates) < 2 or self.frame_index % self.rule.interval or not score > self.rule.above:
            return False
        self.templates = [self.templates[0], *self.templates[2:], self.template(frame)]
        return True

    forcible = True

    def set_state(self, box: Box) -> None:
        """Look around `box` next, with no margins remembered; the gate's forced pass."""
        self.box, self.is_global, self.memory = box, False, MarginMemory(self.gate)

    def corners_px(self) -> NDArray[np.float64]:
        """Return the last update's decoded corners (4,) in pixels of the network's input, from its top-left corner.

        Raises:
            InputError: called before `update`.
        """
        cx, cy, w, h = self._last().boxes[self._last().chosen].tolist()
        return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) * self.net.shape.search_size

    def leads(self) -> NDArray[np.float64]:
        """Return how clear the last update's choice was, four times; 0 where rounding may change what a box covers.

        Raises:
            InputError: called before `update`.
        """
        return np.full(4, self._last().lead(self.gate.tau) if self._last().safe else 0.0)

    def kept(self) -> None:
        """Return None: no template tokens are dropped."""

    def raw_score(self) -> float:
        """Return the confidence signal that the product shows: that of the box that was taken, moved into 0 to 1.

        0 where it is not finite.

        Raises:
            InputError: called before `update`.
        """
        confidence = float(self._last().confidence[self._last().chosen])
        return 0.5 * (1 + confidence) if math.isfinite(confidence) else 0.0

    def _last(self) -> MvlmStep:
        if self.step is None:
            raise InputError("the loop has decoded nothing yet; track a frame with update first")
        return self.step
