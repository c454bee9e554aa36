"""The measuring loop, on contenders that write down what they are asked."""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from edgetrack.benchmarks import loop
from edgetrack.benchmarks.contenders import STAGES
from edgetrack.benchmarks.frames import Footage
from edgetrack.benchmarks.loop import Plan, measure, turns
from edgetrack.errors import InputError

BOX = (1.0, 2.0, 3.0, 4.0)


class Silent:
    def __init__(self) -> None:
        self.steps = 0

    def advance(self, steps: int = 1) -> None:
        self.steps += steps

    def stage(self, label: str) -> None:
        pass


class Fake:
    """Frames carry their number in their first pixel; `log` is shared by all contenders of a run."""

    state = "TRACKING"

    def __init__(self, name: str, log: list[tuple[str, str, int]], seconds: float = 0.0) -> None:
        self.name, self.log, self.seconds = name, log, seconds
        self.box = BOX

    def place(self, frames):
        self.placed = len(self.log)
        return frames

    def init(self, frame, box):
        assert box == BOX
        self.log.append((self.name, "init", int(frame[0, 0, 0])))

    def update(self, frame):
        time.sleep(self.seconds)
        number = int(frame[0, 0, 0])
        self.log.append((self.name, "update", number))
        self.box = (float(number), 0.0, 1.0, 1.0)

    def stages_ms(self):
        return {"crop": 0.25, "run": 0.5}


def footage(frames: int) -> Footage:
    return Footage("numbers", [np.full((2, 2, 3), number, np.uint8) for number in range(frames)], BOX)


def run(contenders: int, frames: int, **plan) -> tuple[list[loop.Series], list[tuple[str, str, int]]]:
    log: list[tuple[str, str, int]] = []
    fakes = [Fake(chr(ord("a") + index), log) for index in range(contenders)]
    series = measure(fakes, footage(frames), Plan(**{"warmup": 0, **plan}), Silent())
    return series, log


def test_turns_put_everyone_everywhere():
    orders = list(islice(turns(3), 6))
    assert orders == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 2, 1], [1, 0, 2]]
    for place in range(3):
        assert Counter(order[place] for order in orders) == {0: 2, 1: 2, 2: 2}
    followers = Counter((a, b) for order in orders for a, b in pairwise(order))
    assert set(followers.values()) == {2}
    assert list(islice(turns(1), 3)) == [[0], [0], [0]]


def test_contenders_take_turns_over_the_same_frames():
    series, log = run(2, 100, updates=48, block=16, settle=1)
    names = "".join(name for name, _, _ in log)
    # One turn is 17 updates, the first one with an init before it.
    assert names == "a" * 18 + "b" * 18 + "b" * 17 + "a" * 17 + "b" * 17 + "a" * 17
    for name in "ab":
        assert [step for who, _, step in log if who == name] == list(range(52))
    assert [item.boxes for item in series] == [series[0].boxes] * 2
    assert [item.blocks for item in series] == [[0] * 16 + [1] * 16 + [2] * 16] * 2


def test_the_first_update_of_a_turn_is_not_measured():
    series, log = run(2, 100, updates=8, block=4, settle=1)
    assert [len(item.ms) for item in series] == [8, 8]
    assert [box[0] for box in series[0].boxes] == [2, 3, 4, 5, 7, 8, 9, 10]
    assert sum(kind == "update" for _, kind, _ in log) == 2 * 10


def test_a_turn_begins_after_a_pause():
    began = time.perf_counter()
    series, _ = run(2, 100, updates=8, block=4, settle=1, pause_s=0.02)
    assert time.perf_counter() - began >= 4 * 0.02
    assert max(max(item.ms) for item in series) < 20  # the pause is not part of any update


def test_a_clip_that_ends_starts_again_and_init_is_no_update():
    (series,), log = run(1, 4, updates=7, block=3)
    assert [(kind, step) for _, kind, step in log] == [
        *(("init", 0), ("update", 1), ("update", 2), ("update", 3)),
        *(("init", 0), ("update", 1), ("update", 2), ("update", 3)),
        *(("init", 0), ("update", 1)),
    ]
    assert (len(series.ms), len(series.init_ms)) == (7, 3)
    assert sum(series.states.values()) == 7


def test_stages_add_up_to_the_total():
    (series,), _ = run(1, 10, updates=5)
    assert set(series.stages) == set(STAGES)
    assert series.stages["crop"] == [0.25] * 5
    assert series.stages["to_device"] == [0.0] * 5
    assert all(rest >= 0 for rest in series.stages["rest"])


def test_warm_up_ends_when_times_settle(monkeypatch):
    monkeypatch.setattr(loop, "has_settled", lambda times: len(times) >= 32)
    (series,), log = run(1, 100, updates=4, warmup=320)
    assert (series.warmup_updates, series.settled) == (32, True)
    assert [step for _, kind, step in log if kind == "init"] == [0, 0]  # the measured run starts at the first frame
    assert series.boxes[0][0] == 1


def test_warm_up_has_a_limit(monkeypatch):
    monkeypatch.setattr(loop, "has_settled", lambda times: False)
    (series,), _ = run(1, 100, updates=4, warmup=40)
    assert (series.warmup_updates, series.settled) == (40, False)


def test_duration_ends_a_run_after_a_block():
    log: list[tuple[str, str, int]] = []
    plan = Plan(updates=None, duration_s=0.02, warmup=0, block=4)
    (series,) = measure([Fake("a", log, 0.01)], footage(50), plan, Silent())
    assert len(series.ms) == 4


def test_pace_hands_over_frames_at_a_rate():
    log: list[tuple[str, str, int]] = []
    plan = Plan(updates=6, warmup=0, pace_fps=100.0)
    began = time.perf_counter()
    (series,) = measure([Fake("a", log)], footage(50), plan, Silent())
    assert time.perf_counter() - began >= 0.059
    (late,) = measure([Fake("a", log, 0.012)], footage(50), plan, Silent())
    assert late.over_budget == 6
    assert max(series.ms) < 10 or series.over_budget


def test_progress_counts_measured_updates():
    progress = Silent()
    measure([Fake("a", []), Fake("b", [])], footage(50), Plan(updates=40, warmup=20, settle=1), progress)
    assert progress.steps == 80


def test_plans():
    assert Plan.of(1) == Plan(updates=320, settle=0)
    assert Plan.of(3, duration_s=2.0) == Plan(updates=None, duration_s=2.0, settle=1, pause_s=0.05)
    assert Plan.of(1, updates=5, duration_s=2.0).updates == 5


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"duration_s": 0.0}, {"pace_fps": float("nan")}, {"warmup": -1}])
def test_impossible_plans(wrong):
    with pytest.raises(InputError, match="must be"):
        Plan.of(1, **wrong)
