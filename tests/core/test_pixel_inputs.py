"""Graphs that normalise by themselves: the loop hands them the crop's pixels, and follows the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from centre_fakes import CentreNetworks, centre_graphs, centre_spec, centre_tracker
from fartrack_fakes import START, textured_frame
from mvlm_fakes import TEXT, MvlmNetworks, mvlm_graphs, mvlm_spec

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError


def table(spec: dict[str, Any]) -> np.ndarray:
    """(3, 256) float32: what the core makes of every grey level, seen in crops of one pixel."""
    rows = [
        _core.crop_normalized(np.full((8, 8, 3), v, np.uint8), (2, 2, 4, 4), 1.0, 1, spec["mean"], spec["std"])[0]
        for v in range(256)
    ]
    return np.stack(rows, axis=-1).reshape(3, 256)


class PixelGraph:
    """Wraps what `Graph` is given for a float32 image: takes pixels, and normalises them before the network runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any]) -> None:
        self.seen: dict[str, np.ndarray] = {}
        self._table, self._plain = table(spec), _core.Graph
        monkeypatch.setattr(_core, "Graph", self)

    def __call__(self, inputs, outputs, run, *rest):
        (name,) = set(inputs) & {"image", "search"}
        planes = inputs[name]
        pixels = np.zeros((1, *planes.shape[2:], 3), np.uint8)
        self.seen[name] = pixels

        def run_pixels() -> None:
            for channel in range(3):
                planes[0, channel] = self._table[channel][pixels[0, ..., channel]]
            run()

        return self._plain({**inputs, name: pixels}, outputs, run_pixels, *rest)


def test_a_centre_head_follows_the_same_boxes(monkeypatch) -> None:
    spec = centre_spec()
    twin = centre_tracker(spec)
    pixel = PixelGraph(monkeypatch, spec)
    tracker = centre_tracker(spec)
    for each in (twin, tracker):
        each.init(textured_frame(0), START, "rgb")
    assert pixel.seen["image"].std() > 10
    for n in range(1, 20):
        state = tracker.raw_box
        assert tracker.update(textured_frame(n), "rgb") == twin.update(textured_frame(n), "rgb")
        size, factor = spec["search"]["size"], spec["search"]["factor"]
        crop, _ = _core.crop(textured_frame(n), state, factor, size, "rgb")
        assert np.array_equal(pixel.seen["search"][0], crop)
    assert tracker.raw_box != START


def test_squeezed_frames_are_pixels_too(monkeypatch) -> None:
    spec = mvlm_spec(gate__alpha=0.9, gate__tau=-0.01, gate__omega=0.5, gate__lam=0.5, gate__psi=0.3)
    twin = _core.MvlmTracker(spec, **mvlm_graphs(spec, MvlmNetworks(spec)))
    PixelGraph(monkeypatch, spec)
    tracker = _core.MvlmTracker(spec, **mvlm_graphs(spec, MvlmNetworks(spec)))
    modes = set()
    for each in (twin, tracker):
        each.init(textured_frame(0), START, "rgb")
        each.set_text(TEXT)
    for n in range(1, 16):
        assert tracker.update(textured_frame(n), "rgb") == twin.update(textured_frame(n), "rgb")
        assert tracker.raw_box == twin.raw_box
        modes.add(tracker.last_mode)
    assert modes == {"global", "local"}


def test_what_does_not_fit_is_refused(monkeypatch) -> None:
    spec = centre_spec()
    graphs = centre_graphs(spec, CentreNetworks(spec))
    maps = {name: np.zeros((1, n, 8, 8), np.float32) for name, n in (("score", 1), ("size", 2), ("offset", 2))}
    told = {"tokens": np.zeros((1, 4, 3), np.float32), "words": np.zeros((1, 5), np.float32)}

    def search(**changed):
        given = {"search": np.zeros((1, 32, 32, 3), np.uint8), **told, **changed}
        return _core.CentreHeadTracker(spec, graphs["template"], _core.Graph(given, maps, lambda: None))

    search()
    with pytest.raises(ArtifactError, match=r"'search' has shape \[1, 3, 32, 32\].* asks for \[1, 32, 32, 3\]"):
        search(search=np.zeros((1, 3, 32, 32), np.uint8))
    with pytest.raises(ArtifactError, match=r"input 'words' takes uint8 pixels, which is for images"):
        search(words=np.zeros((1, 5), np.uint8))
    with pytest.raises(InputError, match=r"output 'score' is an array of uint8; pass .* of float32"):
        _core.Graph({}, {"score": np.zeros(1, np.uint8)}, lambda: None)
    with pytest.raises(InputError, match=r"input 'search' is an array of int8; pass"):
        _core.Graph({"search": np.zeros(1, np.int8)}, {}, lambda: None)


def test_frames_in_a_devices_memory_are_refused(monkeypatch) -> None:
    spec = centre_spec()
    PixelGraph(monkeypatch, spec)
    tracker = centre_tracker(spec)
    tracker.init(textured_frame(0), START, "rgb")
    frame = textured_frame(1)
    with pytest.raises(InputError, match=r"input 'search' takes uint8 pixels, which are cropped in host memory"):
        tracker.update(_core.DeviceArray(frame.ctypes.data, frame.shape, frame.strides, frame), "rgb")
    tracker.update(frame, "rgb")
    assert tracker.frame_index == 1
