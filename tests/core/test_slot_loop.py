"""A centre head with template slots, a description and a state: C++ against a slow port, guards, errors, specs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from centre_fakes import START
from fartrack_fakes import textured_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from slot_fakes import GIVEN, KEPT, STATE, SlotNetworks, SlowSlotLoop, slot_spec, slot_tracker

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError

FIRST = np.linspace(-1, 1, 6, dtype=np.float32).reshape(STATE)
OTHER = np.full(STATE, 0.5, np.float32)


class Pair:
    """The compiled loop and the slow one, told the same."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.networks = SlotNetworks(spec)
        self.fast, self.inputs = slot_tracker(spec, self.networks)
        self.slow = SlowSlotLoop(spec, SlotNetworks(spec))

    def start(self) -> None:
        self.tell((0.3, -0.2), FIRST, midway=False)
        self.fast.init(textured_frame(0), START, "rgb")
        self.fast.set_told("carried", FIRST)
        self.slow.init(textured_frame(0), START)

    def tell(self, words: tuple[float, float], first: np.ndarray, *, midway: bool) -> None:
        told = np.array([words], np.float32)
        self.fast.set_told("told", told)
        self.fast.set_told("carried", first)
        self.slow.describe(told, first, midway=midway)

    def step(self, n: int) -> None:
        ok, box = self.fast.update(textured_frame(n), "rgb")
        assert ok
        assert box == self.slow.update(textured_frame(n))
        assert self.fast.slots == self.slow.shown
        assert self.fast.stored_templates == len(self.slow.history) <= self.slow.rule["history"]
        np.testing.assert_array_equal(self.fast.network_state, self.slow.carried.ravel())


@settings(max_examples=12, deadline=None)
@given(
    count=st.integers(1, 4),
    interval=st.integers(1, 4),
    at_least=st.sampled_from([0.0, 0.85, 1.0]),
    history=st.integers(2, 6),
)
def test_the_loop_equals_the_slow_port(count: int, interval: int, at_least: float, history: int) -> None:
    pair = Pair(slot_spec(count, interval, at_least, history))
    if count < 3:
        pair.slow.renew = keeping_no_history(pair.slow)  # type: ignore[method-assign]
    pair.start()
    for n in range(1, 40):
        if n == 20:
            pair.tell((-0.5, 0.4), OTHER, midway=True)
        pair.step(n)


def keeping_no_history(slow: SlowSlotLoop) -> Any:
    """With no slot between the first and the newest, a history has no use."""
    real = slow.renew

    def renew(frame: np.ndarray, surest: float) -> None:
        real(frame, surest)
        slow.history.clear()

    return renew


def test_it_really_moves_through_templates() -> None:
    pair = Pair(slot_spec())
    pair.start()
    shown = set()
    for n in range(1, 60):
        pair.step(n)
        shown.add(tuple(pair.fast.slots))
    assert len({middle for _, middle, _ in shown}) > 4
    assert len({last for *_, last in shown}) > 10
    assert {first for first, *_ in shown} == {0}
    runs = pair.networks.calls.count("template")
    assert runs < 1 + len({last for *_, last in shown}) + len({middle for _, middle, _ in shown})


def test_every_part_counts() -> None:
    """Another description, another state and another first template give another run."""
    runs = []
    for words, first, box in (
        ((0.3, -0.2), FIRST, START),
        ((0.9, -0.2), FIRST, START),
        ((0.3, -0.2), OTHER, START),
        ((0.3, -0.2), FIRST, (30.0, 30.0, 30.0, 30.0)),
    ):
        pair = Pair(slot_spec())
        pair.tell(words, first, midway=False)
        pair.fast.init(textured_frame(0), box, "rgb")
        pair.fast.set_state(START)
        pair.fast.update(textured_frame(1), "rgb")
        runs.append(pair.fast.raw_box)
    assert len(set(runs)) == 4


def test_init_starts_the_state_and_the_slots_afresh() -> None:
    pair = Pair(slot_spec())
    pair.start()
    first = []
    for n in range(1, 12):
        pair.step(n)
        first.append(pair.fast.raw_box)
    pair.fast.init(textured_frame(0), START, "rgb")  # the description stays
    assert pair.fast.slots == [0, 0, 0]
    np.testing.assert_array_equal(pair.fast.network_state, FIRST.ravel())
    assert [pair.fast.update(textured_frame(n), "rgb")[1] for n in range(1, 12)] == first


def test_without_a_description_update_says_so() -> None:
    tracker, _ = slot_tracker(slot_spec(), SlotNetworks(slot_spec()))
    tracker.init(textured_frame(0), START)
    tracker.set_told("told", np.zeros((1, 2), np.float32))
    with pytest.raises(InputError, match="was not told what to follow; give it all of 'carried', 'told'"):
        tracker.update(textured_frame(1))
    for wrong in (np.zeros(5, np.float32), np.full(STATE, np.nan, np.float32)):
        with pytest.raises(InputError, match=r"takes 6|not finite"):
            tracker.set_told("carried", wrong)
    assert not tracker.is_told
    tracker.set_told("carried", FIRST)
    assert tracker.update(textured_frame(1))[0]


def snapshot(pair: Pair) -> tuple[Any, ...]:
    fast = pair.fast
    held = {name: array.copy() for name, array in pair.inputs.items() if name in GIVEN}
    return (
        fast.raw_box,
        fast.frame_index,
        fast.slots,
        fast.stored_templates,
        fast.network_state.tolist(),
        {name: array.tolist() for name, array in held.items()},
    )


@pytest.mark.parametrize("failing", ["state", "template", "engine"])
def test_a_frame_that_comes_to_nothing_leaves_no_trace(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state or a template that is not finite, or an engine that fails while templates are renewed."""
    pair = Pair(slot_spec(at_least=0.0))
    pair.start()
    for n in range(1, 10):
        pair.step(n)
    before, real = snapshot(pair), pair.networks.look_with

    def bad_state(*fed: Any) -> Any:
        maps, following = real(*fed)
        following[0, 5] = np.inf
        return maps, following

    def bad_template(_: object) -> dict[str, np.ndarray]:
        return {name: np.full(shape, np.nan, np.float32) for name, shape in GIVEN.items()}

    def broken(_: object) -> None:
        raise OSError("device gone")

    with monkeypatch.context() as patch:
        patch.setattr(pair.networks, *{
            "state": ("look_with", bad_state),
            "template": ("embed", bad_template),
            "engine": ("embed", broken),
        }[failing])  # fmt: skip
        if failing == "engine":
            with pytest.raises(OSError, match="device gone"):
                pair.fast.update(textured_frame(10), "rgb")
        else:
            ok, _ = pair.fast.update(textured_frame(10), "rgb")
            assert (ok, pair.fast.state) == (False, _core.State.LOST)
    assert snapshot(pair) == before
    for n in range(10, 30):
        pair.step(n)


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("slots", "count", 0, "template.slots.count is 0; it must be 1 to 64"),
        ("slots", "history", 1, "template.slots.history is 1; it must be 2 to 4096"),
        ("slots", "interval", 0, "template.slots.interval is 0"),
        ("slots", "at_least", 2, "template.slots.at_least is 2"),
        ("slots", "more", 2, "template.slots.more is not known"),
        ("slots", "count", 2, r"input 'tokens' has shape \[1, 12, 3\].* asks for \[1, 8, 3\]"),
        ("told", "", ["carried"], "and what is told are 'tokens', 'told', 'words'"),
        ("state", "output", "", "state.output is '' where a name"),
        ("state", "output", "score", r"input 'carried' has shape \[1, 6\] where its output asks for \[1, 1, 8, 8\]"),
        ("state", "input", "carry", "no input 'carry'"),
        ("state", "kept", 7, "state.kept is 7, the state has 6 values"),
        ("state", "kept", -1, "state.kept is -1; it must be 0 or more"),
    ],
)
def test_wrong_specs_are_refused(section: str, key: str, value: Any, words: str) -> None:
    spec, networks = slot_spec(), SlotNetworks(slot_spec())
    _, inputs = slot_tracker(spec, networks)
    grid = {n: np.zeros((1, c, 8, 8), np.float32) for n, c in (("score", 1), ("size", 2), ("offset", 2))}
    outputs = grid | {"carried_next": np.zeros(STATE, np.float32)}
    gives = {name: np.zeros(shape, np.float32) for name, shape in GIVEN.items()}
    image = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    if section == "told":
        spec["told"] = value
    else:
        (spec["template"]["slots"] if section == "slots" else spec[section])[key] = value
    with pytest.raises(ArtifactError, match=words):
        _core.CentreHeadTracker(
            spec, _core.Graph(image, gives, lambda: None), _core.Graph(inputs, outputs, lambda: None)
        )


def test_frames_in_a_devices_memory_are_refused_at_once() -> None:
    """Not only in the frame in which a template is due."""
    pair = Pair(slot_spec(interval=400))
    pair.start()
    frame = textured_frame(1)
    with pytest.raises(InputError, match=r"this tracker keeps crops of frames, so pass it in host memory"):
        pair.fast.update(_core.DeviceArray(frame.ctypes.data, frame.shape, frame.strides, frame), "rgb")
    assert pair.fast.frame_index == 0
    pair.fast.update(frame, "rgb")
    assert pair.fast.frame_index == 1


def test_kept_is_what_was_seen() -> None:
    pair = Pair(slot_spec())
    pair.start()
    pair.tell((1.0, 1.0), OTHER, midway=False)  # before the first frame nothing was seen
    np.testing.assert_array_equal(pair.fast.network_state, OTHER.ravel())
    pair.fast.update(textured_frame(1), "rgb")
    seen = pair.fast.network_state
    pair.fast.set_told("carried", FIRST)
    np.testing.assert_array_equal(pair.fast.network_state, [*seen[:KEPT], *FIRST.ravel()[KEPT:]])
