"""What FarTracker does with unusable frames and boxes, calls out of order, and engines that fail."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fartrack_fakes import START, snapshot, spec_with, started, textured_frame, tracker_for

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError


class EngineFailure(Exception):
    """Stands for an exception of an engine."""


@pytest.mark.parametrize("failing", ["look", "embed"])
def test_an_engine_error_passes_through_and_the_frame_counts_as_not_seen(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, networks = started()
    twin, _ = started()
    tracker.update(textured_frame(1))
    twin.update(textured_frame(1))
    before, failure = snapshot(tracker), EngineFailure("device gone")

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(networks, failing, fail)
        with pytest.raises(EngineFailure) as caught:
            tracker.update(textured_frame(2))
        assert caught.value is failure
        assert snapshot(tracker) == before
    for n in range(3, 12):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))


def test_a_failing_init_leaves_the_tracker_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, networks = started()
    twin, _ = started()
    for n in (1, 2):
        tracker.update(textured_frame(n))
        twin.update(textured_frame(n))
    with pytest.raises(InputError):
        tracker.init(textured_frame(0), (500.0, 0.0, 10.0, 10.0))
    with pytest.raises(InputError):
        tracker.init(textured_frame(0).astype(np.float32), START)
    networks.tokens = np.full((6, 3), np.nan, np.float32)
    with pytest.raises(ArtifactError, match="not finite for the init frame; export the artifact again"):
        tracker.init(textured_frame(0), START)
    networks.tokens = None
    for n in range(3, 9):
        assert tracker.update(textured_frame(n)) == twin.update(textured_frame(n))


def test_update_and_set_state_need_init() -> None:
    tracker = tracker_for(spec_with())
    for call in (lambda: tracker.update(textured_frame(0)), lambda: tracker.set_state(START)):
        with pytest.raises(InputError, match="before init; call init"):
            call()
    tracker.init(textured_frame(0), START)
    tracker.update(textured_frame(1))
    tracker.reset()
    assert (tracker.state, tracker.box, tracker.frame_index) == (_core.State.LOST, (0.0, 0.0, 0.0, 0.0), 0)
    with pytest.raises(InputError, match="before init"):
        tracker.update(textured_frame(1))


def test_a_frame_of_another_size_is_refused() -> None:
    tracker, _ = started()
    with pytest.raises(InputError, match="the frame is 64x48 but the init frame was 128x96; call init again"):
        tracker.update(textured_frame(1, 48, 64))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((96, 128, 3), np.float32),
        np.zeros((96, 128), np.uint8),
        np.zeros((96, 128, 4), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        None,
        "frame",
    ],
)
def test_unusable_frames_are_refused(frame: Any) -> None:
    tracker, _ = started()
    before = snapshot(tracker)
    with pytest.raises(InputError):
        tracker.update(frame)
    assert snapshot(tracker) == before


@pytest.mark.parametrize(
    "box",
    [
        (math.nan, 0, 10, 10),
        (0, 0, math.inf, 10),
        (0, 0, 0, 10),
        (0, 0, 10, -1),
        (128, 0, 10, 10),
        (0, -20, 10, 10),
        (0, 0, 1e12, 1e12),
        (0, 0, 10),
        "0,0,10,10",
        None,
    ],
)
def test_unusable_boxes_are_refused(box: Any) -> None:
    tracker = tracker_for(spec_with())
    with pytest.raises(InputError):
        tracker.init(textured_frame(0), box)
    assert tracker.frame_index == 0


@pytest.mark.parametrize("box", [[50, 40, 24, 20], np.array(START), np.array(START, np.float32)])
def test_any_four_numbers_make_a_box(box: Any) -> None:
    tracker = tracker_for(spec_with())
    tracker.init(textured_frame(0), box)
    assert tracker.box == START
