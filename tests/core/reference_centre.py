"""A slow, readable port of the published centre-head trackers: window, decoding, loop, and what candidates are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from reference_numeric import Box, clip_box, crop_window, normalize, padded_patch

F32 = NDArray[np.float32]
Maps = tuple[F32, F32, F32]
"""score (1, f, f), size (2, f, f), offset (2, f, f)."""


class Networks(Protocol):
    def embed(self, image: F32) -> Mapping[str, F32]: ...

    def look(self, search: F32, given: Mapping[str, F32]) -> Maps: ...


def hann_window(grid: int) -> F32:
    """Return the window (grid, grid), each step rounded to float32."""
    angles = np.float32(2 * np.pi / (grid + 1)) * np.arange(1, grid + 1, dtype=np.float32)
    h = np.float32(0.5) * (np.float32(1) - np.cos(angles.astype(np.float64)).astype(np.float32))
    return np.outer(h, h)


def target(cell: int, size: F32, offset: F32) -> tuple[np.float32, ...]:
    """Return cx, cy, w, h in units of the crop, of the target whose centre lies in `cell`."""
    grid = size.shape[-1]
    y, x = divmod(cell, grid)
    cx, cy = ((np.float32(n) + offset[axis, y, x]) / np.float32(grid) for axis, n in enumerate((x, y)))
    return cx, cy, size[0, y, x], size[1, y, x]


def place(centre_size: tuple[np.float32, ...], state: Box, resize_factor: float, size: int) -> Box:
    """Return the box in frame pixels: scaled in float32, moved in float64."""
    cx, cy, w, h = (float(v * np.float32(size) / np.float32(resize_factor)) for v in centre_size)
    px, py = state[0] + 0.5 * state[2], state[1] + 0.5 * state[3]
    half = 0.5 * size / resize_factor
    return cx + (px - half) - 0.5 * w, cy + (py - half) - 0.5 * h, w, h


def peaks(response: F32) -> list[int]:
    """Return the cells that beat their neighbours, best first; among equals the first in rows, then columns."""
    grid = len(response)
    rank = {(y, x): (-float(response[y, x]), y * grid + x) for y in range(grid) for x in range(grid)}
    found = []
    for (y, x), mine in rank.items():
        around = [rank[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (y + dy, x + dx) in rank]
        if mine == min(around):
            found.append(mine)
    return [cell for _, cell in sorted(found)]


class SlowCentreLoop:
    """The published loop, one step after the other; frames are RGB."""

    def __init__(self, spec: dict[str, Any], networks: Networks) -> None:
        self.spec, self.networks = spec, networks
        self.window = hann_window(spec["decode"]["grid"])

    def crop(self, frame: NDArray[np.uint8], part: str) -> tuple[F32, float]:
        """Return the normalised crop (3, size, size) around the current box, and its resize factor."""
        size = self.spec[part]["size"]
        x1, y1, side = crop_window(self.state, self.spec[part]["factor"])
        patch = cv2.resize(padded_patch(frame, x1, y1, side), (size, size), interpolation=cv2.INTER_LINEAR)
        return normalize(patch), size / side

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        self.state = box
        self.given = self.networks.embed(self.crop(frame, "template")[0])

    def update(self, frame: NDArray[np.uint8]) -> Box:
        search, factor = self.crop(frame, "search")
        self.score, size, offset = self.networks.look(search, self.given)
        response = self.window * self.score[0]
        second, first = np.sort(np.append(response, -np.inf))[-2:]
        self.lead = float(first - second)
        size_px, margin = self.spec["search"]["size"], self.spec["clip_margin_px"]
        boxes = [place(target(cell, size, offset), self.state, factor, size_px) for cell in peaks(response)]
        boxes = [clip_box(box, frame.shape[0], frame.shape[1], margin) for box in boxes]
        self.candidates = list(zip(boxes, (float(self.score.flat[cell]) for cell in peaks(response)), strict=True))
        best = int(response.argmax())
        self.corners = np.array(target(best, size, offset), np.float64) @ [
            [1, 0, 1, 0],
            [0, 1, 0, 1],
            [-0.5, 0, 0.5, 0],
            [0, -0.5, 0, 0.5],
        ]
        mapped = place(target(best, size, offset), self.state, factor, size_px)
        self.state = clip_box(mapped, frame.shape[0], frame.shape[1], margin)
        return self.state
