"""Measures the resident memory of long videos; a program of its own, so that nothing else frees or takes memory.

`python memory_growth_case.py small|published` prints what it read as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import psutil
from fartrack_fakes import START, spec_with, textured_frame

from edgetrack import _core


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


def measure_small() -> dict[str, Any]:
    """Return the readings of 100,000 updates from the frame on at which the history is full."""
    # 48 bytes a template: 10922 templates, about 15600 frames until the history is full.
    tracker = stub_tracker(spec_with(memory__limit_mib=0.5))
    readings = [follow(tracker, tracker.memory["exact_frames"] + 1)]
    while tracker.frame_index < 100_000:
        readings.append(follow(tracker, min(10_000, 100_000 - tracker.frame_index)))
    return {"readings": readings, "memory": tracker.memory}


def measure_published() -> dict[str, Any]:
    """Return readings with templates of the published size, half way to the default bound, at it and beyond."""
    spec = spec_with(template__tokens=49, template__channels=192, templates__prune=12, memory__limit_mib=60)
    follow(stub_tracker(spec), 50)  # what is loaded at first use is no part of a tracker's memory
    before = resident_bytes()
    tracker = stub_tracker(spec)
    follow(tracker, 50)
    start = resident_bytes()
    half = follow(tracker, 1500)
    exact_frames = tracker.memory["exact_frames"]
    full = follow(tracker, 2500)
    stride = tracker.memory["stride"]
    late = follow(tracker, 6000)
    return {
        "before": before,
        "start": start,
        "half": half,
        "full": full,
        "late": late,
        "exact_frames": exact_frames,
        "stride": stride,
        "used_bytes": tracker.memory["used_bytes"],
    }


if __name__ == "__main__":
    print(json.dumps({"small": measure_small, "published": measure_published}[sys.argv[1]]()))
