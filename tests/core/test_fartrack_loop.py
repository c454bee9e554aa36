"""FARTrack's loop in C++ against a slow port and against recorded runs."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from fartrack_fakes import (
    FLAVOURS,
    START,
    FakeNetworks,
    Scripted,
    engine_graphs,
    spec_with,
    started,
    textured_frame,
    tracker_for,
)
from golden_files import golden
from reference_loop import SlowLoop
from reference_memory import BoundedHistory, published_slots

from edgetrack import _core


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_loop_equals_the_slow_port(flavour: str) -> None:
    spec = FLAVOURS[flavour]
    tracker, slow = tracker_for(spec), SlowLoop(spec, FakeNetworks(spec))
    tracker.init(textured_frame(0), START, "rgb")
    slow.init(textured_frame(0), START)
    moved = 0.0
    for n in range(1, 61):
        assert tracker.slots == slow.slots
        before = tracker.box
        ok, box = tracker.update(textured_frame(n), "rgb")
        expected = slow.update(textured_frame(n))
        assert ok
        assert box == tracker.box == tracker.raw_box
        np.testing.assert_array_equal(tracker.logits, slow.logits)
        assert box == pytest.approx(expected, abs=1e-3)
        if spec["templates"]["prune"]:
            np.testing.assert_array_equal(tracker.mask, slow.masks[-1])
        else:
            assert tracker.mask is None
        moved = max(moved, abs(box[0] - before[0]))
        assert tracker.frame_index == n
    assert moved > 0.5  # the comparison is of a loop that moves


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_corners_and_leads_are_those_of_the_last_logits(flavour: str) -> None:
    tracker, networks = started(FLAVOURS[flavour])
    assert np.isnan([tracker.corners, tracker.leads]).all()
    for n in range(1, 5):
        tracker.update(textured_frame(n))
        decoded = _core.decode_bins(tracker.logits, 20, 2, FLAVOURS[flavour]["decode"]["expectation"])
        np.testing.assert_array_equal(tracker.corners, decoded.astype(np.float64))
        best = np.sort(tracker.logits, axis=-1)
        np.testing.assert_array_equal(tracker.leads, best[:, -1] - best[:, -2])
    networks.logits = np.full((4, 45), np.nan, np.float32)
    tracker.update(textured_frame(5))
    assert np.isnan([tracker.corners, tracker.leads]).all()


def test_first_frame_uses_the_unpruned_graph() -> None:
    tracker, networks = started()
    for n in (1, 2, 3):
        tracker.update(textured_frame(n))
    assert networks.calls == ["template", "first", "template", "search", "template", "search", "template"]


def test_unpruned_flavours_may_share_one_search_graph() -> None:
    spec = FLAVOURS["distill"]
    graphs = engine_graphs(spec, FakeNetworks(spec))
    graphs["first"] = graphs["search"]
    shared, apart = _core.FarTracker(spec, **graphs), tracker_for(spec)
    for tracker in (shared, apart):
        tracker.init(textured_frame(0), START)
    for n in range(1, 12):
        assert shared.update(textured_frame(n)) == apart.update(textured_frame(n))


GOLDEN_SPECS = {
    "fartrack_tiny": {},
    "fartrack_nano": {},
    "fartrack_pico": {},
    "fartrack_frame_tiny": {"templates__prune": 0, "decode__expectation": False},
    "fartrack_distill_tiny": {
        "templates__prune": 0,
        "decode__expectation": False,
        "templates__early": "distill",
    },
}


def synth_box(index: int) -> tuple[float, float, float, float]:
    """Return the box that the recorded forced runs are centred on before frame index + 1 (480x360)."""
    w, h = 64 * (1 + 0.15 * math.sin(index / 9)), 48 * (1 + 0.15 * math.sin(index / 7))
    cx, cy = 480 * (0.5 + 0.22 * math.sin(index / 11)), 360 * (0.5 + 0.22 * math.cos(index / 13))
    return cx - w / 2, cy - h / 2, w, h


@pytest.mark.parametrize("name", GOLDEN_SPECS)
def test_recorded_outputs_give_the_recorded_run(name: str) -> None:
    """The network is replaced by its recorded logits and masks; boxes, masks and slots must follow."""
    recorded = golden(name)
    spec = spec_with(
        template__tokens=49,
        search__size=224,
        decode__bins=300,
        decode__classes=605,
        **{"templates__prune": 12, **GOLDEN_SPECS[name]},
    )
    networks = Scripted(spec)
    tracker = tracker_for(spec, networks)
    frame = np.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    tracker.init(frame, synth_box(0))
    for n in range(1, len(recorded["forced_boxes"]) + 1):
        tracker.set_state(synth_box(n - 1))
        networks.logits = recorded["forced_logits"][n - 1]
        if spec["templates"]["prune"]:
            networks.score = recorded["forced_mask25"][n - 1].astype(np.float32) + np.linspace(
                0, 0.5, 49, dtype=np.float32
            )
        tracker.update(frame)
        np.testing.assert_allclose(tracker.raw_box, recorded["forced_boxes"][n - 1], atol=1e-4)
        assert tracker.slots == recorded["forced_template_index"][n - 1].tolist()
        if spec["templates"]["prune"]:
            np.testing.assert_array_equal(tracker.mask, recorded["forced_mask25"][n - 1])


class Numbered(FakeNetworks):
    """Networks that write a template's index into its tokens, and note which templates they are shown."""

    embedded = 0
    shown: list[int]

    def embed(self, image: np.ndarray) -> np.ndarray:
        self.embedded += 1
        return np.full((6, 3), self.embedded - 1, np.float32)

    def look(self, search: np.ndarray, old: np.ndarray, newest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert np.ptp(old, axis=(1, 2)).max() == np.ptp(newest) == 0
        self.shown = [*(int(k) for k in old[:, 0, 0]), int(newest[0, 0])]
        return super().look(search, old, newest)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_past_the_bound_slots_show_what_the_slow_history_keeps(flavour: str) -> None:
    capacity = 20
    bytes_each = (6 - FLAVOURS[flavour]["templates"]["prune"]) * 3 * 4
    spec = copy.deepcopy(FLAVOURS[flavour])
    spec["memory"]["limit_mib"] = capacity * bytes_each / 2**20
    networks = Numbered(spec)
    tracker, history = tracker_for(spec, networks), BoundedHistory[int](capacity)
    tracker.init(textured_frame(0), START)
    frames = [textured_frame(n) for n in range(8)]
    for n in range(1, 400):
        promised = tracker.slots
        tracker.update(frames[n % 8])
        wanted = published_slots(n - 1, spec["templates"]["early"])
        assert networks.shown == promised == [history.get(k) if k < n - 1 else k for k in wanted]
        history.put(n - 1)
        assert tracker.memory["stride"] == history.stride
    assert tracker.memory["stride"] == 16


def test_a_second_init_starts_afresh() -> None:
    """Unlike the published class, which keeps the first clip's templates."""
    used, fresh = started()[0], started()[0]
    for n in range(1, 30):
        used.update(textured_frame(100 + n))
    used.init(textured_frame(0), START, "rgb")
    assert (used.frame_index, used.slots, used.memory["templates"], used.mask) == (0, [0] * 5, 0, None)
    for n in range(1, 20):
        assert used.update(textured_frame(n), "rgb") == fresh.update(textured_frame(n), "rgb")


def test_format_may_change_from_frame_to_frame() -> None:
    plain, mixed = started()[0], started()[0]
    for n in range(1, 7):
        frame = textured_frame(n)
        colour, view = [
            ("bgr", frame[..., ::-1]),
            ("rgba", np.dstack([frame, frame[..., 0]])),
            ("rgb", frame.transpose(1, 0, 2).copy().transpose(1, 0, 2)),
        ][n % 3]
        assert plain.update(frame, "rgb") == mixed.update(view, colour)
