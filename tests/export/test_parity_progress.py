"""The gate on a slow device: it says how far it is, seldom, and in every long stage."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import toy_family
from drawn_clip import TOY_SIZE, drawn_clip

from edgetrack.export.models.base import ForcedTracker
from edgetrack.export.parity import gate
from edgetrack.export.pipeline import export_tracker

BOX = (40.0, 30.0, 20.0, 20.0)


class Stages:
    def __init__(self):
        self.told = []

    def stage(self, label):
        self.told.append(label)

    def advance(self, steps=1):
        pass


def test_it_says_so_every_ten_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(gate.time, "monotonic", lambda: now[0])
    stages = Stages()
    one_more = gate._now_and_then(stages, "verify: x", "frame", 64)
    for _ in range(10):
        now[0] += 4.0
        one_more()
    assert stages.told == [f"verify: x: frame {n} of 64, 4.0 s each" for n in (3, 6, 9)]
    quick = gate._now_and_then(stages, "verify: y", "input")
    for _ in range(100):
        quick()
    assert len(stages.told) == 3


class Loop:
    """A loop that can be forced and always finds the same."""

    forcible = True
    box = BOX

    def init(self, frame, box):
        pass

    def update(self, frame):
        return BOX

    def set_state(self, box):
        pass

    def corners_px(self):
        return np.array([1.0, 2.0, 3.0, 4.0])

    def leads(self):
        return np.ones(4)

    def kept(self):
        return None


def test_the_forced_pass_tells(monkeypatch):
    monkeypatch.setattr(gate, "_SILENCE_S", 0.0)
    frames = [np.zeros((90, 120, 3), np.uint8)] * 5
    clip = SimpleNamespace(frames=lambda: iter(frames), box=BOX, name="c", truth=(), count=5)
    stages, candidate = Stages(), Loop()
    assert isinstance(candidate, ForcedTracker)
    limits = SimpleNamespace(margin=0.0, near_px=0.0, box_px=1.0)
    gate._boxes(Loop(), candidate, SimpleNamespace(tracker={}), clip, limits, stages)
    told = [label for label in stages.told if "forced states: " in label]
    assert [label.split(",")[0] for label in told] == [
        f"verify: decoding from forced states: frame {n} of 4" for n in range(1, 5)
    ]


def test_the_comparison_of_tensors_tells(tmp_path, monkeypatch):
    toy_family.install(monkeypatch)
    monkeypatch.setattr(gate, "_SILENCE_S", 0.0)
    (tmp_path / "clip").mkdir()
    clip = drawn_clip(tmp_path / "clip", 10, TOY_SIZE)
    stages = Stages()
    export_tracker("toy-one", "stand-in", output=tmp_path / "toy", clip=clip, threads=1, progress=stages)
    found = [int(m[1]) for label in stages.told if (m := re.fullmatch(r"verify: tensors: input (\d+), .* each", label))]
    assert found == list(range(1, 17))
