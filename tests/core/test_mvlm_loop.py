"""MVLM's loop in C++ against a slow port: boxes, views, memory, templates, sentences."""

from __future__ import annotations

import numpy as np
import pytest
from fartrack_fakes import START, textured_frame
from golden_files import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from mvlm_fakes import OTHER_TEXT, TEXT, MvlmNetworks, mvlm_graphs, mvlm_spec, mvlm_started, mvlm_tracker, one_candidate
from reference_mvlm import SlowMvlmLoop, margins

from edgetrack import _core

SPECS = {
    "sentence": mvlm_spec(),
    "box": mvlm_spec(box=True, gate__alpha=0.9, gate__tau=-0.01, gate__omega=0.5, gate__lam=0.5, gate__psi=0.3),
    "three templates": mvlm_spec(box=True, template__count=3, template__update={"interval": 1, "above": 0.2}),
    "agreement alone": mvlm_spec(gate__alpha=1.0, gate__psi=0.0, gate__tau=0.0),
    "no memory": mvlm_spec(gate__omega=0.0, gate__lam=0.0, search__size=40, search__factor=3.0),
}


def same_step(tracker: _core.MvlmTracker, slow: SlowMvlmLoop) -> None:
    gate = tracker.gate
    assert gate is not None
    np.testing.assert_allclose(gate["margins"], slow.kappa, rtol=0, atol=2e-7)
    np.testing.assert_allclose(gate["memory"], slow.memory, rtol=0, atol=2e-7)
    np.testing.assert_allclose(gate["confidences"], slow.confidences, rtol=0, atol=2e-7)
    assert (gate["chosen"], tracker.selected, tracker.updated) == (slow.chosen, slow.selected, slow.updated)
    assert (tracker.mode == "global", tracker.last_mode == "global") == (slow.is_global, slow.looked_global)
    assert tracker.response == slow.response
    assert tracker.confidence == pytest.approx(float(slow.confidences[slow.chosen]), abs=2e-7)
    assert tracker.raw_score == 0.5 * (1 + tracker.confidence)
    x, y, w, h = map(float, slow.found)
    np.testing.assert_allclose(tracker.corners, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rtol=0, atol=1e-15)
    np.testing.assert_allclose(tracker.leads, slow.lead, rtol=0, atol=4e-7)


@pytest.mark.parametrize("name", SPECS)
def test_loop_equals_the_slow_port(name: str) -> None:
    spec = SPECS[name]
    tracker, slow = mvlm_tracker(spec), SlowMvlmLoop(spec, MvlmNetworks(spec))
    for each, colour in ((tracker, ("rgb",)), (slow, ())):
        each.init(textured_frame(0), START, *colour)
        each.set_text(TEXT)
    turns = updates = 0
    for n in range(1, 81):
        box = tracker.update(textured_frame(n), "rgb")[1]
        assert box == tracker.raw_box == slow.update(textured_frame(n))
        same_step(tracker, slow)
        turns += slow.is_global != slow.looked_global
        updates += slow.updated
        assert tracker.frame_index == n
    assert turns > 3  # the comparison is of a gate that opens and closes
    assert (updates > 1) == (spec["template"] is not None)


def test_without_a_box() -> None:
    """The first frame that is tracked is searched as a whole, as after a box: nothing depends on it."""
    spec = mvlm_spec()
    tracker, slow = mvlm_tracker(spec), SlowMvlmLoop(spec, MvlmNetworks(spec))
    tracker.set_text(TEXT)
    tracker.init(textured_frame(0), None, "rgb")
    assert (tracker.state, tracker.score, tracker.box) == (_core.State.LOST, 0.0, (0.0, 0.0, 128.0, 96.0))
    boxed, _ = mvlm_started(spec)
    slow.init(textured_frame(0), None)
    slow.set_text(TEXT)
    for n in range(1, 10):
        found = tracker.update(textured_frame(n), "rgb")
        assert found == boxed.update(textured_frame(n), "rgb")
        assert found == (True, slow.update(textured_frame(n)))


@pytest.mark.parametrize("box", [False, True])
def test_another_sentence_in_the_middle(box: bool) -> None:
    spec = mvlm_spec(box=box)
    tracker, slow = mvlm_tracker(spec), SlowMvlmLoop(spec, MvlmNetworks(spec))
    tracker.init(textured_frame(0), START, "rgb")
    slow.init(textured_frame(0), START)
    for n in range(1, 25):
        if n % 6 == 1:
            for each in (tracker, slow):
                each.set_text(OTHER_TEXT if n % 12 == 1 else TEXT)
            assert tracker.mode == ("local" if box else "global")
        assert tracker.update(textured_frame(n), "rgb")[1] == slow.update(textured_frame(n))
        same_step(tracker, slow)


def test_other_thresholds_in_the_middle() -> None:
    """They hold from the next frame on; margins stay remembered."""
    spec = mvlm_spec(gate={"alpha": 0.6, "tau": 0.0, "omega": 0.4, "lam": 0.4, "psi": 0.1})
    tracker, slow = mvlm_tracker(spec), SlowMvlmLoop(spec, MvlmNetworks(spec))
    for each, colour in ((tracker, ("rgb",)), (slow, ())):
        each.init(textured_frame(0), START, *colour)
        each.set_text(TEXT)
    changes = {5: {"tau": 0.4}, 9: {"psi": 0.9, "tau": -0.1}, 14: {"omega": 1.0, "lambda": 0.95}, 20: {"tau": -1}}
    selected = set()
    for n in range(1, 26):
        if n in changes:
            tracker.set_thresholds(changes[n])
            slow.gate = slow.gate | {key.replace("lambda", "lam"): value for key, value in changes[n].items()}
        assert tracker.update(textured_frame(n), "rgb")[1] == slow.update(textured_frame(n))
        same_step(tracker, slow)
        selected.add(slow.selected)
    assert tracker.thresholds == {"tau": -1.0, "omega": 1.0, "lambda": 0.95, "psi": 0.9}
    tracker.reset()
    assert tracker.thresholds["tau"] == -1.0
    assert {0, 16} < selected


def test_the_sentence_stays_and_everything_else_goes_at_init() -> None:
    used, fresh = (mvlm_started(mvlm_spec(box=True))[0] for _ in range(2))
    for n in range(1, 10):
        used.update(textured_frame(50 + n), "rgb")
    used.init(textured_frame(0), START, "rgb")
    assert (used.frame_index, used.gate, used.selected, used.mode, used.updated) == (0, None, 0, "local", False)
    assert np.isnan([used.confidence, used.response, *used.corners, *used.leads]).all()
    for n in range(1, 10):
        assert used.update(textured_frame(n), "rgb") == fresh.update(textured_frame(n), "rgb")


def test_forced_states_look_around_the_box_with_no_past() -> None:
    spec = mvlm_spec()
    tracker, networks = mvlm_started(spec)
    slow = SlowMvlmLoop(spec, MvlmNetworks(spec))
    slow.init(textured_frame(0), START)
    slow.set_text(TEXT)
    for n in range(1, 12):
        tracker.set_state((30.0 + n, 30.0, 20.0, 10.0))
        slow.state, slow.memory, slow.is_global = (30.0 + n, 30.0, 20.0, 10.0), None, False
        assert tracker.update(textured_frame(n), "rgb")[1] == slow.update(textured_frame(n))
        same_step(tracker, slow)
    assert networks.calls == ["search"] * 11


@settings(max_examples=80, deadline=None)
@given(data=st.data(), rule=st.tuples(*[st.floats(0, 1)] * 4), tau=st.floats(-0.5, 0.5))
def test_any_candidates_equal_the_slow_port(data: st.DataObject, rule: tuple[float, ...], tau: float) -> None:
    """Equal scores, boxes that overlap all others, empty and huge ones."""
    gate = dict(zip(("alpha", "omega", "lam", "psi"), rule, strict=True)) | {"tau": tau}
    spec = mvlm_spec(decode__grid=3, gate=gate)
    tracker, networks = mvlm_started(spec)
    slow = SlowMvlmLoop(spec, networks)
    slow.init(textured_frame(0), START)
    slow.set_text(TEXT)
    share, number = st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(-1, 1, width=32)
    for n in range(1, 4):
        networks.found = (
            np.array(data.draw(st.lists(share | number, min_size=9, max_size=9)), np.float32),
            np.array(data.draw(st.lists(share | number, min_size=36, max_size=36)), np.float32).reshape(9, 4),
            np.array(data.draw(st.lists(share | number, min_size=9, max_size=9)), np.float32),
        )
        slow_box = slow.update(textured_frame(n))
        if np.abs(slow.confidences - np.float32(tau)).min() < 1e-6:
            return  # a tie in the last bits of a hyperbolic tangent
        tracker.update(textured_frame(n), "rgb")
        assert tracker.raw_box == slow_box
        same_step(tracker, slow)
        x, y, w, h = tracker.raw_box
        assert 0 <= x <= 118
        assert 0 <= y <= 86
        assert w >= 10
        assert h >= 10


def test_the_first_of_equals_counts() -> None:
    spec = mvlm_spec(gate__tau=-1.0)
    tracker, networks = mvlm_started(spec)
    networks.found = one_candidate(spec, 5)
    networks.found[0][[9, 12]] = networks.found[0][5]
    tracker.update(textured_frame(1), "rgb")
    assert (tracker.gate["chosen"], tracker.selected, tracker.leads[0]) == (5, 16, 0.0)


@pytest.mark.parametrize("psi", ["0", "0.1", "0.3"])
def test_recorded_distractors(psi: str) -> None:
    """The gate's own vectors: which boxes are elsewhere, and the best of them."""
    vectors = golden("mvlm_tf")
    sims, cls = vectors["conf_sims"], vectors["conf_cls"]
    for alpha, values, key in ((1.0, sims, "dcorr"), (0.0, cls, "dcls")):
        gate = {"alpha": alpha, "tau": 0.0, "omega": 0.0, "lam": 0.0, "psi": float(psi)}
        spec = mvlm_spec(decode__grid=14, gate=gate)
        tracker, networks = mvlm_started(spec)
        networks.found = (cls, vectors["conf_boxes"], sims)
        tracker.update(textured_frame(1), "rgb")
        expected = np.tanh(values.astype(np.float64) - vectors[f"conf_{key}_psi{psi}"])
        np.testing.assert_allclose(tracker.gate["margins"], expected, rtol=0, atol=1e-7)
        np.testing.assert_allclose(margins(networks.found, gate), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (300, 7), (9, 9), (10, 10), (720, 1280)])
def test_frames_of_any_size(height: int, width: int) -> None:
    spec = mvlm_spec()
    networks = MvlmNetworks(spec)
    tracker = mvlm_tracker(spec, networks)
    frame = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tracker.init(frame)
    tracker.set_text(TEXT)
    for n in range(8):
        networks.found = one_candidate(spec, 5 * n % 16, sim=0.5 * (n % 3))
        tracker.update(frame)
        x, y, w, h = tracker.raw_box
        if tracker.frame_index:
            assert min(10, width) <= w <= width
            assert min(10, height) <= h <= height
            assert 0 <= x <= width - min(10, width)
            assert 0 <= y <= height - min(10, height)
    assert tracker.frame_index == 8 or (height, width) == (1, 1)


def test_graphs_outlive_whoever_made_them() -> None:
    spec = mvlm_spec(box=True)
    tracker = _core.MvlmTracker(spec, **mvlm_graphs(spec, MvlmNetworks(spec)))
    tracker.init(textured_frame(0), START)
    tracker.set_text(TEXT)
    rubbish = [np.full(1000, np.nan, np.float32) for _ in range(200)]
    assert all(tracker.update(textured_frame(n))[0] for n in range(1, 5))
    assert len(rubbish) == 200
