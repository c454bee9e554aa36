"""What a description gives a centre-head tracker's search graph, and decoding with another divisor than the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from centre_fakes import CentreNetworks, Scripted, centre_graphs, centre_spec, centre_started, one_peak, textured_frame
from fartrack_fakes import START

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError

TOLD = {"words": np.arange(5, dtype=np.float16)}


def told_tracker() -> tuple[_core.CentreHeadTracker, Scripted]:
    """A tracker whose networks' input "words" is told, not given by the template graph."""
    spec = {**centre_spec(), "told": ["words"]}
    networks = Scripted(spec)
    graphs = centre_graphs(spec, networks)
    image = np.zeros((1, 3, 16, 16), np.float32)
    tokens = np.ones((1, 4, 3), np.float32)
    template = _core.Graph({"image": image}, {"tokens": tokens}, lambda: None)
    return _core.CentreHeadTracker(spec, template, graphs["search"]), networks


def test_what_is_told_moves_the_box_and_stays() -> None:
    tracker, _ = told_tracker()
    tracker.init(textured_frame(0), START, "rgb")
    with pytest.raises(InputError, match=r"not told what to follow; give it all of 'words' with set_told"):
        tracker.update(textured_frame(1), "rgb")
    assert not tracker.is_told
    boxes = []
    for factor in (1, -1, 1):
        tracker.set_told("words", factor * TOLD["words"][None])
        assert tracker.is_told
        tracker.init(textured_frame(0), START, "rgb")
        tracker.update(textured_frame(1), "rgb")
        boxes.append(tracker.raw_box)
    assert boxes[0] == boxes[2] != boxes[1]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("tokens", np.zeros(12), "told nothing called 'tokens', only 'words'"),
        ("words", np.zeros(4), "'words' has 4 values; this tracker takes 5"),
        ("words", np.full(5, np.nan), "'words' has values that are not finite"),
    ],
)
def test_what_cannot_be_told(name: str, values: Any, message: str) -> None:
    tracker, _ = told_tracker()
    with pytest.raises(InputError, match=message):
        tracker.set_told(name, values)
    assert not tracker.is_told


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("words", "told is 'words' where a list of different names is expected"),
        (["words", "words"], "a list of different names"),
        ([3], "a list of different names"),
        (["absent"], "no input 'absent'"),
        (["search"], "'search' cannot be told"),
        (["words"], "the search graph's inputs beside 'search' and what is told are 'tokens'; they must be"),
    ],
)
def test_wrong_lists_are_refused(told: Any, message: str) -> None:
    spec = {**centre_spec(), "told": told}
    with pytest.raises(ArtifactError, match=message):
        _core.CentreHeadTracker(spec, **centre_graphs(spec, CentreNetworks(spec)))


@pytest.mark.parametrize(("divisor", "column", "row"), [(8, 3, 1), (9, 2, 1), (5, 1, 2)])
def test_a_cell_is_split_by_the_divisor(divisor: int, column: int, row: int) -> None:
    """GLAD-L384's oddity: index 11 of a grid of 8 is another place where it is divided by 9."""
    spec = centre_spec()
    spec["decode"]["divisor"] = divisor
    tracker, networks = centre_started(spec)
    networks.maps = one_peak(spec, 11)
    tracker.update(textured_frame(1), "rgb")
    centre = (tracker.corners[:2] + tracker.corners[2:]) / 2
    np.testing.assert_allclose(centre, [(column + 0.5) / divisor, (row + 0.5) / divisor], rtol=0, atol=1e-6)


@pytest.mark.parametrize("divisor", [0, -1, 1025, 8.0])
def test_divisors_that_cannot_be(divisor: Any) -> None:
    spec = centre_spec()
    spec["decode"]["divisor"] = divisor
    with pytest.raises(ArtifactError, match=r"decode\.divisor is"):
        centre_started(spec)
