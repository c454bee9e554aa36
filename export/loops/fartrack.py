"""FARTrack's published tracking loop in eager PyTorch (spec section 4).

A port that keeps the published way of working: five template images embedded anew in every frame, all 445 tokens
computed under a key mask, a history that grows with the video. It is the reference of the parity gate and the peer of
the benchmarks, so it is neither sped up nor slowed down. Left out is only what the published code prepares and does not
use, and the spec does not describe exactly: the trajectory numbers and the attention of the command tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack._core import bin_mass
from edgetrack.errors import InputError
from edgetrack.export.loops.clip import clip_box
from edgetrack.export.loops.crop import IMAGENET_MEAN, IMAGENET_STD, ImageNormaliser, crop
from edgetrack.export.models.base import Box
from edgetrack.export.models.fartrack_net import SEARCH_TOKENS, SLOTS, TEMPLATE_TOKENS, FarTrackNet
from edgetrack.export.parity.bins import bin_reach

__all__ = ["FarTrackReference", "FarTrackStep", "decode_box", "decode_corners", "template_slots"]

TEMPLATE_SIZE, TEMPLATE_FACTOR = 112, 2.0
SEARCH_SIZE, SEARCH_FACTOR = 224, 4.0
BINS, RANGE = 300, 2
CLIP_MARGIN_PX = 10
DECAY = 0.7
PRUNED_SHARES = (0.25, 0.5, 0.75, 0.9)  # masks for all four are made, only the first is used


@dataclass(frozen=True)
class FarTrackStep:
    """What one frame produced, for golden tests and parity.

    logits (4, 605) float32; prob (4,) largest softmax value per coordinate; keep (49,) bool or None: the mask made for
    the template that sat in slot 4; tokens: how many took part; resize_factor of the search crop; corners (4,) float32
    x1, y1, x2, y2 as decoded, in crop units (0 to 1 spans the search crop), before mapping and clipping.
    """

    logits: Tensor
    prob: Tensor
    keep: Tensor | None
    tokens: int
    resize_factor: float
    corners: Tensor


def template_slots(frame: int, flavour: str) -> list[int]:
    """Return the history indices of slots 0..4 for frame `frame` + 1 ("exponential" sampling, spec section 4.5)."""
    if frame >= 4:
        return [int(frame * (1 - DECAY**power)) for power in range(SLOTS - 1)] + [frame]
    if flavour == "distill":
        return {0: [0] * 5, 1: [0, 0, 1, 0, 0], 2: [0, 0, 1, 2, 0], 3: [0, 0, 1, 2, 3]}[frame]
    return [max(0, slot - 4 + frame) for slot in range(SLOTS)]


def decode_corners(logits: Tensor, expectation: bool) -> Tensor:
    """Turn logits (4, 605) into x1, y1, x2, y2 (4,) in crop units (spec section 4.4)."""
    bins = BINS * RANGE
    prob = logits.softmax(-1)
    coords = prob.argmax(-1) / (BINS - 1) - 0.5
    if expectation:
        grid = torch.arange(bins, dtype=torch.float32) / BINS - 0.5
        mean = (logits[:, :bins].softmax(-1) * grid).sum(-1)
        coords = ((prob.argmax(-1) + 0.5) / (BINS - 1) - 0.5 + mean) / 2
    return coords


def decode_box(logits: Tensor, state: Box, resize_factor: float, frame_hw: tuple[int, int], expectation: bool) -> Box:
    """Turn logits (4, 605) into the next state: decode, map back, clip (spec section 4.4)."""
    return _place(decode_corners(logits, expectation), state, resize_factor, frame_hw)


def _place(corners: Tensor, state: Box, resize_factor: float, frame_hw: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = corners
    centre_form = torch.stack([x1 + (x2 - x1) / 2, y1 + (y2 - y1) / 2, x2 - x1, y2 - y1])
    cx, cy, w, h = (centre_form * SEARCH_SIZE / resize_factor).tolist()
    half = 0.5 * SEARCH_SIZE / resize_factor
    cx += state[0] + 0.5 * state[2] - half
    cy += state[1] + 0.5 * state[3] - half
    return clip_box((cx - 0.5 * w, cy - 0.5 * h, w, h), *frame_hw, CLIP_MARGIN_PX)


class FarTrackReference:
    """The published tracker of one flavour and depth; frames are uint8 RGB (H, W, 3)."""

    def __init__(self, net: FarTrackNet, pruned: int | None = None) -> None:
        """Use a loaded `net` in evaluation mode; `pruned` tokens of an old template are masked, None: as published."""
        self.net = net
        self._pruned = int(TEMPLATE_TOKENS * PRUNED_SHARES[0]) if pruned is None else pruned
        self.box: Box = (0.0, 0.0, 0.0, 0.0)
        self.step: FarTrackStep | None = None
        self.slots: list[int] = [0] * SLOTS
        self.frame_index = -1
        self.templates: list[Tensor] = []
        self._masks: list[list[Tensor]] = []
        self._normalise = ImageNormaliser(IMAGENET_MEAN, IMAGENET_STD)

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """Start on `frame` at `box`; forgets everything from before."""
        self.box = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        self.templates = [self._template(frame)]
        self._masks, self.step, self.slots, self.frame_index = [], None, [0] * SLOTS, 0

    @torch.no_grad()
    def update(self, frame: NDArray[np.uint8]) -> Box:
        """Track one frame and return the new state.

        Raises:
            InputError: called before `init`.
        """
        if self.frame_index < 0:
            raise InputError("update was called before init; call init(frame, box) first")
        patch, resize_factor, _ = crop(frame, self.box, SEARCH_FACTOR, SEARCH_SIZE)
        keep = self.key_mask()
        out = self.net([self.templates[k] for k in self.slots], self._normalise(patch), keep)
        if out.score is not None and self._pruned:
            self._masks.append(_pruning_masks(out.score, self._pruned))
        corners = decode_corners(out.logits, self.net.sparse)
        self.box = _place(corners, self.box, resize_factor, frame.shape[:2])
        self.step = FarTrackStep(
            logits=out.logits,
            prob=out.logits.softmax(-1).max(-1).values,
            keep=self._masks[-1][0] if self._masks else None,
            tokens=SLOTS * TEMPLATE_TOKENS + SEARCH_TOKENS + 4 if keep is None else int(keep.sum()),
            resize_factor=resize_factor,
            corners=corners,
        )
        self.templates.append(self._template(frame))
        self.frame_index += 1
        self.slots = template_slots(self.frame_index, self.net.flavour)
        return self.box

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
        found: NDArray[np.float64] = self.step.corners.double().numpy() * SEARCH_SIZE
        return found

    def leads(self) -> NDArray[np.float32]:
        """Return by how much the best bin of each coordinate (4,) led the second best in the last update.

        Raises:
            InputError: called before `update`.
        """
        if self.step is None:
            raise InputError("leads was called before update; track a frame first")
        best = self.step.logits.topk(2, dim=-1).values
        found: NDArray[np.float32] = (best[:, 0] - best[:, 1]).numpy()
        return found

    def reach_px(self, margin: float) -> NDArray[np.float64]:
        """See `BinTracker.reach_px`.

        Raises:
            InputError: called before `update`.
        """
        if self.step is None:
            raise InputError("reach_px was called before update; track a frame first")
        logits = self.step.logits.numpy()
        return bin_reach(logits, margin, bins=BINS, span=RANGE, expectation=self.net.sparse) * SEARCH_SIZE

    def kept(self) -> NDArray[np.bool_] | None:
        """Return which tokens (49,) of the template in slot 4 the last update kept; None without pruning."""
        if self.step is None or self.step.keep is None:
            return None
        found: NDArray[np.bool_] = self.step.keep.numpy()
        return found

    def raw_score(self, radius: int) -> float:
        """Return the confidence signal that the product computes from the last update's logits, before calibration.

        It is the probability within `radius` bins of the best one, as in `edgetrack._core.bin_mass`; 0 where the logits
        are not finite. The published code has no such signal, and nothing of the loop depends on it.

        Raises:
            InputError: called before `update`.
        """
        if self.step is None:
            raise InputError("raw_score was called before update; track a frame first")
        logits = self.step.logits.numpy()
        return bin_mass(logits, BINS * RANGE, radius) if np.isfinite(logits).all() else 0.0

    def key_mask(self) -> Tensor | None:
        """Return the 445 keys that take part in the next frame, True = kept (None: the flavour has no mask)."""
        if not self.net.sparse:
            return None
        whole = torch.ones(TEMPLATE_TOKENS, dtype=torch.bool)
        parts = [self._masks[k][0] if k < len(self._masks) else whole for k in self.slots]
        return torch.cat([*parts, torch.ones(SEARCH_TOKENS + 4, dtype=torch.bool)])

    def _template(self, frame: NDArray[np.uint8]) -> Tensor:
        patch, _, _ = crop(frame, self.box, TEMPLATE_FACTOR, TEMPLATE_SIZE)
        return self._normalise(patch)


def _pruning_masks(score: Tensor, pruned: int) -> list[Tensor]:
    """Return the masks that drop `pruned` tokens, and 50, 75 and 90 % of a template's, by ascending score (49,)."""
    order = score.argsort()
    masks = []
    for count in (pruned, *(int(TEMPLATE_TOKENS * share) for share in PRUNED_SHARES[1:])):
        keep = torch.ones(TEMPLATE_TOKENS, dtype=torch.bool)
        keep[order[:count]] = False
        masks.append(keep)
    return masks
