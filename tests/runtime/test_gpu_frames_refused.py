"""Trackers that need a frame in host memory say so in one line, and stand as they were."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from gpu_case import BOX, SPECS, Packed, install, write_engines

from edgetrack.errors import InputError
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.tracker import Tracker, build_tracker


def describing(graphs):
    """A tracker whose target is described by its picture, as GLAD's is."""
    built = build_tracker(SPECS["centre"](), graphs, ENGINES.get("tensorrt")("cuda"))
    return Tracker(built.core, built.engine, SimpleNamespace(sees_image=True))


def test_a_tracker_that_describes_by_the_picture_needs_the_first_frame_here(monkeypatch, tmp_path, frames):
    fakes = install(monkeypatch, rtx=False)
    with describing(write_engines(tmp_path, "centre")) as tracker:
        with pytest.raises(InputError) as caught:
            tracker.init(Packed(frames[0]), BOX)
        assert str(caught.value) == ("this tracker describes a target by its picture; give init a frame in host memory")
        with pytest.raises(InputError, match="update was called before init"):
            tracker.update(Packed(frames[1]))
        assert "cuLaunchKernel" not in fakes.cuda.names(), "nothing was cropped"
