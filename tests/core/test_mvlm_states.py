"""MVLM's loop: scores and states, the guards, its errors, and who may use it when."""

from __future__ import annotations

import re

import numpy as np
import pytest
from fartrack_fakes import START, textured_frame
from mvlm_fakes import OTHER_TEXT, TEXT, MvlmNetworks, mvlm_spec, mvlm_started, mvlm_tracker, one_candidate
from thread_case import frame_in_another_thread

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError
from edgetrack.export.models.mvlm import MVLM
from edgetrack.export.models.mvlm_variants import MVLM_VARIANTS, gate_of

TRACKING, UNCERTAIN, LOST = _core.State.TRACKING, _core.State.UNCERTAIN, _core.State.LOST


def snapshot(tracker: _core.MvlmTracker) -> tuple[object, ...]:
    """What a frame that counts as not seen must leave alone."""
    return tracker.box, tracker.raw_box, tracker.frame_index, tracker.mode


@pytest.mark.parametrize("variant", [variant.name for variant in MVLM_VARIANTS])
@pytest.mark.parametrize("steps", [-3, -1, 0, 1, 3])
def test_lost_is_just_when_no_box_is_trusted(variant: str, steps: int) -> None:
    """The published limits and the gate's own float32 threshold agree to the last bit."""
    tau = np.float32(gate_of(variant).tau)
    for _ in range(abs(steps)):
        tau = np.nextafter(tau, np.float32(np.sign(steps)))
    gate = {"alpha": 1.0, "tau": gate_of(variant).tau, "omega": 0.0, "lam": 0.0, "psi": 0.0}
    limits = MVLM.tracker_spec(variant)["score"]
    spec = mvlm_spec(gate=gate, score=limits)
    tracker, networks = mvlm_started(spec)
    # Similarities near it, until the hyperbolic tangent gives it.
    centre = np.float32(np.arctanh(float(tau)))
    for offset in range(-40, 41):
        sim = centre if offset == 0 else np.float32(centre + offset * np.spacing(max(abs(centre), np.float32(1e-8))))
        networks.found = one_candidate(spec, 5, sim=float(sim))
        ok, _ = tracker.update(textured_frame(1), "rgb")
        assert (tracker.state == LOST) == (not ok) == (tracker.selected == 0) == (tracker.mode == "global")


@pytest.mark.parametrize("tau", [0.5, 0.3, 0.077, 0.013])
@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_lost_moves_with_tau(tau: float, steps: int) -> None:
    """With another tau a frame without a trusted box is still a lost one, and uncertain lies as far above it."""
    spec = mvlm_spec(
        gate={"alpha": 1.0, "tau": 0.1, "omega": 0.0, "lam": 0.0, "psi": 0.0},
        score=MVLM.tracker_spec("mvlm-tf")["score"],
    )
    tracker, networks = mvlm_started(spec)
    tracker.set_thresholds({"tau": tau})
    edge = np.float32(tau)
    for _ in range(abs(steps)):
        edge = np.nextafter(edge, np.float32(np.sign(steps)))
    centre, seen = np.float32(np.arctanh(float(edge))), set()
    for offset in range(-40, 41):
        sim = centre + offset * np.spacing(max(abs(centre), np.float32(1e-8)))
        networks.found = one_candidate(spec, 5, sim=float(np.float32(sim)))
        tracker.update(textured_frame(1), "rgb")
        assert (tracker.state == LOST) == (tracker.selected == 0) == (tracker.mode == "global")
        seen.add(tracker.state)
    assert seen == {LOST, UNCERTAIN}
    limits = spec["score"]
    above = tau + 2 * (limits["uncertain_below"] - limits["lost_below"])
    for confidence, state in ((above - 1e-3, UNCERTAIN), (above + 1e-3, TRACKING)):
        networks.found = one_candidate(spec, 5, sim=float(np.arctanh(confidence)))
        tracker.update(textured_frame(1), "rgb")
        assert tracker.state == state


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tau": 1.5}, "tau is 1.5, must be a number from -1 to 1"),
        ({"psi": -0.1}, "psi is -0.1, must be a number from 0 to 1"),
        ({"omega": float("nan")}, "omega is nan"),
        ({"lambda": True}, "lambda is True"),
        ({"tau": "0.1"}, "tau is '0.1'"),
        ({"tau": -(10**400)}, "tau is -1000"),
        ({"tau": 0.2, "alpha": 0.5}, "there is no threshold 'alpha'; known: tau, omega, lambda, psi"),
        ({7: 0.5}, "there is no threshold 7"),
    ],
)
def test_impossible_thresholds_change_nothing(values: dict, message: str) -> None:
    tracker, _ = mvlm_started()
    before = tracker.thresholds
    with pytest.raises(InputError, match=re.escape(message)):
        tracker.set_thresholds(values)
    assert tracker.thresholds == before == {"tau": 0.0, "omega": 0.4, "lambda": 0.4, "psi": 0.1}
    assert set(before) == set(tracker.threshold_ranges)
    tracker.set_thresholds({name: most for name, (_, most) in tracker.threshold_ranges.items()})
    assert set(tracker.thresholds.values()) == {1.0}


def test_states_follow_the_confidence_and_lost_keeps_the_last_box() -> None:
    spec = mvlm_spec(
        gate={"alpha": 1.0, "tau": 0.1, "omega": 0.0, "lam": 0.0, "psi": 0.0},
        score=MVLM.tracker_spec("mvlm-tf")["score"],
    )
    tracker, networks = mvlm_started(spec)
    seen, modes = [], []
    for n, sim in enumerate([0.5, 0.15, 0.05, 0.5], start=1):
        networks.found = one_candidate(spec, 5, sim=sim)
        before = tracker.box
        ok, box = tracker.update(textured_frame(n), "rgb")
        assert tracker.confidence == pytest.approx(np.tanh(sim), abs=1e-7)
        assert tracker.score == tracker.raw_score == pytest.approx(0.5 + 0.5 * np.tanh(sim), abs=1e-7)
        assert box == tracker.box == (tracker.raw_box if ok else before)
        assert tracker.frame_index == n  # the published loop goes on
        seen.append(tracker.state)
        modes.append(tracker.last_mode)
    assert seen == [TRACKING, UNCERTAIN, LOST, TRACKING]
    assert modes == ["global", "local", "local", "global"]


def test_the_memory_is_per_cell_and_goes_through_changes_of_view() -> None:
    gate = {"alpha": 1.0, "tau": 0.2, "omega": 0.5, "lam": 0.5, "psi": 0.0}
    spec = mvlm_spec(gate=gate)
    tracker, networks = mvlm_started(spec)
    for sim in (0.1, 0.6, 0.6):
        networks.found = one_candidate(spec, 6, sim=sim)
        tracker.update(textured_frame(1), "rgb")
    a, b = np.tanh(0.1), np.tanh(0.6)
    second = 0.5 * b + 0.5 * a
    third = 0.5 * b + 0.5 * second
    assert tracker.gate["memory"][6] == pytest.approx(third, abs=1e-6)
    assert tracker.confidence == pytest.approx(0.5 * b + 0.5 * third, abs=1e-6)


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("value", [0, 128])
def test_a_blank_frame_counts_as_not_seen(box: bool, value: int) -> None:
    tracker, networks = mvlm_started(mvlm_spec(box=box))
    for n in range(4):
        before, calls = snapshot(tracker), len(networks.calls)
        ok, shown = tracker.update(np.full((96, 128, 3), value, np.uint8))
        assert (ok, shown, tracker.state, tracker.score) == (False, before[0], LOST, 0.0)
        assert (snapshot(tracker), tracker.gate, len(networks.calls)) == (before, None, calls)
        tracker.update(textured_frame(n), "rgb")
    assert tracker.frame_index == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_candidates_that_are_not_finite_count_as_not_seen(bad: float, which: int) -> None:
    tracker, networks = mvlm_started()
    twin, _ = mvlm_started()
    assert tracker.update(textured_frame(1)) == twin.update(textured_frame(1))
    before = snapshot(tracker)
    networks.found = one_candidate(networks.spec, 5)
    networks.found[which].flat[-1] = bad
    assert tracker.update(textured_frame(2)) == (False, before[0])
    assert (tracker.state, tracker.selected, tracker.gate, snapshot(tracker)) == (LOST, 0, None, before)
    assert np.isnan([tracker.confidence, tracker.response, *tracker.corners, *tracker.leads]).all()
    networks.found = None
    for n in range(3, 9):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))


@pytest.mark.parametrize("failing", ["look", "embed"])
def test_an_engine_error_leaves_the_tracker_as_it_was(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is the new template that fails: neither memory nor box moves."""
    spec = mvlm_spec(box=True, template__update={"interval": 1, "above": 0.0})
    (tracker, networks), (twin, _) = mvlm_started(spec), mvlm_started(spec)
    assert tracker.update(textured_frame(1)) == twin.update(textured_frame(1))
    before, failure = snapshot(tracker), KeyError("device gone")

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(networks, failing, fail)
        calls = [lambda: tracker.update(textured_frame(2)), lambda: tracker.init(textured_frame(0), START)]
        for call in calls[: 1 if failing == "look" else 2]:
            with pytest.raises(KeyError) as caught:
                call()
            assert caught.value is failure
            assert snapshot(tracker) == before
    for n in range(3, 9):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))


def test_a_new_template_that_is_not_finite_counts_as_not_seen() -> None:
    spec = mvlm_spec(box=True, template__update={"interval": 1, "above": 0.0})
    (tracker, networks), (twin, _) = mvlm_started(spec), mvlm_started(spec)
    before = snapshot(tracker)
    networks.embedded = np.full((2, 4), np.nan, np.float32)
    assert tracker.update(textured_frame(1)) == (False, START)
    assert (snapshot(tracker), tracker.state, tracker.updated) == (before, LOST, False)
    with pytest.raises(ArtifactError, match="not finite for the init frame"):
        tracker.init(textured_frame(0), (20.0, 20.0, 30.0, 30.0))
    networks.embedded = None
    for n in range(1, 6):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))


def test_a_sentence_is_needed_and_checked() -> None:
    tracker, _ = mvlm_started()
    fresh = mvlm_tracker(mvlm_spec())
    assert (fresh.has_text, tracker.has_text) == (False, True)
    fresh.init(textured_frame(0))
    with pytest.raises(InputError, match=r"has no sentence to follow; give it one with set_text, or init"):
        fresh.update(textured_frame(1))
    tracker.update(textured_frame(1))
    before = (*snapshot(tracker), tracker.confidence)
    with pytest.raises(InputError, match="the sentence has 8 values; this tracker takes 12: 3 tokens of 4"):
        tracker.set_text(TEXT[:2])
    broken = OTHER_TEXT.copy()
    broken[1, 1] = np.inf
    with pytest.raises(InputError, match="features are not finite"):
        tracker.set_text(broken)
    assert (*snapshot(tracker), tracker.confidence) == before
    tracker.set_text(OTHER_TEXT[None])
    assert tracker.mode == "global"


def test_only_a_tracker_without_templates_needs_no_box() -> None:
    tracker, _ = mvlm_started(mvlm_spec(box=True))
    before = snapshot(tracker)
    with pytest.raises(InputError, match=r"this tracker needs the target's box; call init\(frame, box\)"):
        tracker.init(textured_frame(0))
    assert snapshot(tracker) == before
    for frame in (np.zeros((96, 128), np.uint8), None):
        with pytest.raises(InputError):
            mvlm_tracker(mvlm_spec()).init(frame)  # type: ignore[arg-type]


def test_reset_keeps_the_sentence() -> None:
    tracker, _ = mvlm_started()
    tracker.update(textured_frame(1))
    tracker.reset()
    assert (tracker.state, tracker.box, tracker.frame_index, tracker.has_text) == (LOST, (0.0,) * 4, 0, True)
    with pytest.raises(InputError, match="before init"):
        tracker.update(textured_frame(1))


def test_other_threads_may_not_use_it() -> None:
    networks = MvlmNetworks(mvlm_spec())
    tracker = mvlm_tracker(networks.spec, networks)
    tracker.init(textured_frame(0), START)
    tracker.set_text(TEXT)
    with frame_in_another_thread(tracker, networks) as results:
        for call in (
            lambda: tracker.update(textured_frame(1)),
            lambda: tracker.set_text(TEXT),
            lambda: tracker.gate,
        ):
            with pytest.raises(InputError, match="used from two threads at once"):
                call()
        assert (tracker.box, tracker.mode, tracker.selected) == (START, "global", 0)
    assert results[0][0]
