"""A slow port of FARTrack's published tracking loop."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from fartrack_fakes import F32, FakeNetworks
from numpy.typing import NDArray
from reference_memory import published_slots
from reference_numeric import crop_window, padded_patch

Box = tuple[float, float, float, float]


class SlowLoop:
    """The published loop: every template kept for ever, one step after the other; frames are RGB."""

    def __init__(self, spec: dict[str, Any], networks: FakeNetworks) -> None:
        self.spec, self.networks = spec, networks
        self.mean, self.std = (np.array(spec[key], np.float32)[:, None, None] for key in ("mean", "std"))
        self.history: list[F32] = []
        self.masks: list[NDArray[np.bool_]] = []
        self.frame_index = 0

    def crop(self, frame: NDArray[np.uint8], factor: float, size: int) -> tuple[F32, float]:
        """Return the normalised crop (3, size, size) around the current box, and its resize factor."""
        x1, y1, side = crop_window(self.state, factor)
        patch = cv2.resize(padded_patch(frame, x1, y1, side), (size, size), interpolation=cv2.INTER_LINEAR)
        planes = patch.transpose(2, 0, 1).astype(np.float32)
        return np.ascontiguousarray((planes / np.float32(255) - self.mean) / self.std), size / side

    def append_template(self, frame: NDArray[np.uint8]) -> None:
        shape = self.spec["template"]
        self.history.append(self.networks.embed(self.crop(frame, shape["factor"], shape["size"])[0]))

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        self.state = box
        self.append_template(frame)

    @property
    def slots(self) -> list[int]:
        return published_slots(self.frame_index, self.spec["templates"]["early"])

    def shown(self, k: int) -> F32:
        """Return the tokens of template k that are not masked."""
        return self.history[k][self.masks[k]] if k < len(self.masks) else self.history[k]

    def update(self, frame: NDArray[np.uint8]) -> Box:
        size = self.spec["search"]["size"]
        search, factor = self.crop(frame, self.spec["search"]["factor"], size)
        *old, newest = (self.shown(k) for k in self.slots)
        self.logits, score = self.networks.look(search, np.stack(old), newest)
        self.frame_index += 1
        self.masks.append(np.ones(len(self.history[0]), bool))
        self.masks[-1][np.argsort(score, kind="stable")[: self.spec["templates"]["prune"]]] = False
        self.state = self.clipped(self.mapped(self.corners(), factor), frame.shape[0], frame.shape[1])
        self.append_template(frame)
        return self.state

    def corners(self) -> F32:
        """Return x1, y1, x2, y2 in units of the search crop (4.4), in float32 as the published network."""
        decode = self.spec["decode"]
        bins, used = decode["bins"], decode["bins"] * decode["range"]
        best, half = self.logits.argmax(axis=1).astype(np.float32), np.float32(0.5)
        if not decode["expectation"]:
            return best / np.float32(bins - 1) - half
        weights = np.exp(self.logits[:, :used] - self.logits[:, :used].max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mean = weights @ (np.arange(used, dtype=np.float32) / np.float32(bins) - half)
        return ((best + half) / np.float32(bins - 1) - half + mean) / np.float32(2)

    def mapped(self, corners: F32, factor: float) -> Box:
        """Return the box in frame pixels (4.4): in crop pixels by float32, moved into the frame by float64."""
        x1, y1, x2, y2 = corners
        half, size, scale = np.float32(0.5), np.float32(self.spec["search"]["size"]), np.float32(factor)
        in_crop = (x1 + half * (x2 - x1), y1 + half * (y2 - y1), x2 - x1, y2 - y1)
        cx, cy, w, h = (float(v * size / scale) for v in in_crop)
        sx, sy, sw, sh = self.state
        half_crop = 0.5 * self.spec["search"]["size"] / factor
        cx += sx + 0.5 * sw - half_crop
        cy += sy + 0.5 * sh - half_crop
        return cx - 0.5 * w, cy - 0.5 * h, w, h

    def clipped(self, box: Box, height: int, width: int) -> Box:
        margin = self.spec["clip_margin_px"]

        def axis(start: float, length: float, side: int) -> tuple[float, float]:
            stop = start + length
            start = min(max(0, start), side - margin)
            stop = min(max(margin, stop), side)
            return start, max(margin, stop - start)

        (x, w), (y, h) = axis(box[0], box[2], width), axis(box[1], box[3], height)
        return x, y, w, h
