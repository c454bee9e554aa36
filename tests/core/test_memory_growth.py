"""Resident memory over long videos: flat once the stated bound of the template history is reached."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil
from fartrack_fakes import START, spec_with, textured_frame

from edgetrack import _core

MIB = 1 << 20


def resident_bytes() -> int:
    return psutil.Process().memory_info().rss


def stub_tracker(spec: dict[str, Any]) -> _core.FarTracker:
    """Return a tracker whose engine does nothing: its outputs hold still, whatever the input."""
    shape, kept = spec["template"], spec["template"]["tokens"] - spec["templates"]["prune"]
    size, channels, tokens = spec["search"]["size"], shape["channels"], shape["tokens"]
    bins = spec["decode"]["bins"]
    centres = (np.array([0.375, 0.375, 0.625, 0.625])[:, None] + 0.5) * (bins - 1)
    logits = -0.2 * (np.arange(spec["decode"]["classes"]) - centres) ** 2

    def search_graph(rows: int) -> _core.Graph:
        inputs = {
            "search": np.zeros((1, 3, size, size), np.float32),
            "old": np.zeros((1, 4, rows, channels), np.float32),
            "newest": np.zeros((1, tokens, channels), np.float32),
        }
        outputs = {
            "logits": np.ascontiguousarray(logits[None], np.float32),
            "score": np.arange(tokens, dtype=np.float32)[None].copy(),
        }
        return _core.Graph(inputs, outputs, lambda: None)

    template = _core.Graph(
        {"image": np.zeros((1, 3, shape["size"], shape["size"]), np.float32)},
        {"tokens": np.ones((1, tokens, channels), np.float32)},
        lambda: None,
    )
    tracker = _core.FarTracker(spec, template, search_graph(tokens), search_graph(kept))
    tracker.init(textured_frame(0), START)
    return tracker


def follow(tracker: _core.FarTracker, frames: int) -> int:
    """Update so many times; return the resident memory after it, in bytes."""
    views = [textured_frame(n) for n in range(4)]
    for n in range(frames):
        assert tracker.update(views[n % 4])[0]
    return resident_bytes()


def test_100000_updates_are_flat_after_the_bound() -> None:
    # 48 bytes a template: 10922 templates, about 15600 frames until the history is full.
    tracker = stub_tracker(spec_with(memory__limit_mib=0.5))
    full = tracker.memory["exact_frames"] + 1
    readings = [follow(tracker, full)]
    while tracker.frame_index < 100_000:
        readings.append(follow(tracker, min(10_000, 100_000 - tracker.frame_index)))
    assert max(readings) - min(readings) < 2_000_000
    assert tracker.memory["stride"] == 8
    assert tracker.memory["used_bytes"] <= tracker.memory["limit_bytes"] == MIB // 2


def test_the_default_bound_holds_for_published_sizes() -> None:
    spec = spec_with(template__tokens=49, template__channels=192, templates__prune=12, memory__limit_mib=60)
    before = resident_bytes()
    tracker = stub_tracker(spec)
    follow(tracker, 50)
    start = resident_bytes()
    assert start - before < 8 * MIB  # nothing of the pool is resident before it is used
    half = follow(tracker, 1500) - start
    assert 25 * MIB < half < 33 * MIB  # 0.7 templates a frame
    assert tracker.memory["exact_frames"] == 3161
    full = follow(tracker, 2500)
    assert full - before < 64_000_000
    assert tracker.memory["stride"] == 2
    assert abs(follow(tracker, 6000) - full) < 2_000_000
    assert tracker.memory["used_bytes"] <= 60 * MIB
