"""A slow, readable port of MVLM's gate and tracking loop (spec sections 3.8, 3.9 and 4), one step after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from reference_centre import place
from reference_numeric import Box, clip_box, crop_window, normalize, padded_patch

F32 = NDArray[np.float32]
Found = tuple[F32, F32, F32]
"""cls (n,), boxes (n, 4), sims (n,)."""


class Networks(Protocol):
    def embed(self, image: F32) -> F32: ...

    def look(self, search: F32, text: F32, templates: F32 | None) -> Found: ...


def overlaps(boxes: F32) -> F32:
    """Return the IoU of every pair of boxes cx, cy, w, h."""
    half = boxes[:, 2:] / np.float32(2)
    first, last = boxes[:, :2] - half, boxes[:, :2] + half
    area = (last[:, 0] - first[:, 0]) * (last[:, 1] - first[:, 1])
    out = np.zeros((len(boxes), len(boxes)), np.float32)
    for i in range(len(boxes)):
        sides = np.maximum(np.minimum(last[i], last) - np.maximum(first[i], first), np.float32(0))
        both = sides[:, 0] * sides[:, 1]
        out[i] = both / (area[i] + area - both + np.float32(1e-12))
    return out


def margins(found: Found, gate: Mapping[str, float]) -> F32:
    """Return kappa: how far each box leads the best one elsewhere."""
    cls, boxes, sims = found
    iou, kappa = overlaps(boxes), np.zeros(len(cls), np.float32)
    for i in range(len(cls)):
        elsewhere = [j for j in range(len(cls)) if j != i and iou[i, j] <= np.float32(gate["psi"])]
        rivals = [values[elsewhere].max() if elsewhere else values.min() for values in (sims, cls)]
        leads = [
            np.float32(np.tanh(float(values[i] - rival))) for values, rival in zip((sims, cls), rivals, strict=True)
        ]
        kappa[i] = np.float32(gate["alpha"]) * leads[0] + np.float32(1 - gate["alpha"]) * leads[1]
    return kappa


def lead(cls: F32, confidences: F32, chosen: int, tau: float) -> float:
    """Return the least change of one score or confidence, or of both of one box, that turns the choice."""
    selected = confidences >= np.float32(tau)
    changes = [float("inf")]
    for i in range(len(cls)):
        if i != chosen:
            higher, trusted = float(cls[chosen] - cls[i]), tau - float(confidences[i])
            changes.append(max(higher, trusted) if selected.any() else min(higher, trusted))
    return min(*changes, float(confidences[chosen]) - tau) if selected.any() else min(changes)


class SlowMvlmLoop:
    """The published loop; frames are RGB."""

    def __init__(self, spec: dict[str, Any], networks: Networks) -> None:
        self.spec, self.networks, self.gate = spec, networks, spec["gate"]
        self.has_templates = spec["template"] is not None

    def set_text(self, text: F32) -> None:
        self.text, self.memory, self.is_global = text, None, not self.has_templates

    def template(self, frame: NDArray[np.uint8]) -> F32:
        part = self.spec["template"]
        x1, y1, side = crop_window(self.state, part["factor"])
        return self.networks.embed(normalize(cv2.resize(padded_patch(frame, x1, y1, side), (part["size"],) * 2)))

    def init(self, frame: NDArray[np.uint8], box: Box | None) -> None:
        self.state = box or (0.0, 0.0, float(frame.shape[1]), float(frame.shape[0]))
        self.templates = [self.template(frame)] * self.spec["template"]["count"] if self.has_templates else []
        self.memory, self.is_global, self.count = None, not self.has_templates, 0

    def search(self, frame: NDArray[np.uint8]) -> tuple[F32, float]:
        """Return the network's input, and the resize factor of a crop; 0 for the whole frame."""
        size = self.spec["search"]["size"]
        if self.is_global:
            return normalize(cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR)), 0.0
        x1, y1, side = crop_window(self.state, self.spec["search"]["factor"])
        patch = cv2.resize(padded_patch(frame, x1, y1, side), (size, size), interpolation=cv2.INTER_LINEAR)
        return normalize(patch), size / side

    def update(self, frame: NDArray[np.uint8]) -> Box:
        search, factor = self.search(frame)
        templates = np.concatenate(self.templates) if self.templates else None
        cls, boxes, sims = self.networks.look(search, self.text, templates)
        self.kappa = margins((cls, boxes, sims), self.gate)
        lam, omega = self.gate["lam"], self.gate["omega"]
        past = self.memory
        fresh = np.float32(1 - lam) * self.kappa
        self.memory = self.kappa if past is None else fresh + np.float32(lam) * past
        self.confidences = np.float32(1 - omega) * self.kappa + np.float32(omega) * self.memory
        trusted = self.confidences >= np.float32(self.gate["tau"])
        self.selected = int(trusted.sum())
        self.chosen = int(np.where(trusted, cls, -np.inf).argmax() if self.selected else cls.argmax())
        self.response, self.lead = cls[self.chosen], lead(cls, self.confidences, self.chosen, self.gate["tau"])
        self.found = boxes[self.chosen]
        self.state = clip_box(self.mapped(frame, factor), *frame.shape[:2], self.spec["clip_margin_px"])
        self.looked_global, self.is_global = self.is_global, self.selected == 0
        self.count += 1
        self.updated = self.is_due()
        if self.updated:
            self.templates = [self.templates[0], *self.templates[2:], self.template(frame)]
        return self.state

    def is_due(self) -> bool:
        if len(self.templates) < 2:
            return False
        rule = self.spec["template"]["update"]
        return self.count % rule["interval"] == 0 and float(self.response) > rule["above"]

    def mapped(self, frame: NDArray[np.uint8], factor: float) -> Box:
        size = self.spec["search"]["size"]
        if factor:
            return place(tuple(self.found), self.state, factor, size)
        cx, cy, w, h = (float(v * np.float32(size)) for v in self.found)
        across, down = size / frame.shape[1], size / frame.shape[0]
        cx, cy, w, h = cx / across, cy / down, w / across, h / down
        return cx - w / 2, cy - h / 2, w, h
