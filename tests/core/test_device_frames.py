"""Frames in a device's memory through the core: the same results, whichever way a crop is made."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from fartrack_fakes import START, textured_frame
from host_kernel import host_kernel
from mvlm_fakes import TEXT, MvlmNetworks, mvlm_graphs, mvlm_spec

from edgetrack import _core
from edgetrack.errors import InputError


def on_device(array: np.ndarray) -> _core.DeviceArray:
    """The array as if it were a device's: the kernel of these tests runs here."""
    return _core.DeviceArray(array.ctypes.data, array.shape, array.strides, array)


def tracker_of(spec: dict, filling=None) -> _core.MvlmTracker:
    return _core.MvlmTracker(spec, **mvlm_graphs(spec, MvlmNetworks(spec), filling))


@pytest.mark.parametrize("box", [False, True], ids=["sentence", "box"])
def test_crops_squeezed_frames_and_templates_are_the_same(box: bool) -> None:
    spec = mvlm_spec(box=box, gate__alpha=0.9, gate__tau=-0.01, gate__omega=0.5, gate__lam=0.5, gate__psi=0.3)
    host, device, mixed = (tracker_of(spec, host_kernel().filling) for _ in range(3))
    for each, place in ((host, lambda x: x), (device, on_device), (mixed, lambda x: x)):
        each.init(place(textured_frame(0)), START, "rgb")
        each.set_text(TEXT)
    modes = set()
    for n in range(1, 16):
        frame = textured_frame(n)
        host.update(frame, "rgb")
        device.update(on_device(frame), "rgb")
        mixed.update(on_device(frame) if n % 2 else frame, "rgb")
        modes.add(host.last_mode)
        assert host.raw_box == device.raw_box == mixed.raw_box
        assert host.raw_score == device.raw_score == mixed.raw_score
    assert modes == {"global", "local"}


def test_a_blank_frame_is_lost_and_leaves_no_trace() -> None:
    spec = mvlm_spec()
    networks = MvlmNetworks(spec)
    tracker = _core.MvlmTracker(spec, **mvlm_graphs(spec, networks, host_kernel().filling))
    twin = tracker_of(spec)
    for each in (tracker, twin):
        each.init(textured_frame(0), START, "rgb")
        each.set_text(TEXT)
    frame = textured_frame(1)
    ok, _ = tracker.update(on_device(np.full_like(frame, 77)), "rgb")
    assert (ok, tracker.state, tracker.frame_index, networks.calls) == (False, _core.State.LOST, 0, [])
    assert tracker.update(frame, "rgb") == twin.update(frame, "rgb")


def test_a_graph_without_the_way_refuses_and_the_tracker_stands() -> None:
    tracker = tracker_of(mvlm_spec())
    tracker.init(textured_frame(0), START, "rgb")
    tracker.set_text(TEXT)
    with pytest.raises(InputError, match="reads frames in host memory only"):
        tracker.update(on_device(textured_frame(1)), "rgb")
    assert tracker.frame_index == 0
    tracker.update(textured_frame(1), "rgb")
    assert tracker.frame_index == 1


def test_what_fill_raises_reaches_the_caller() -> None:
    def fill(name: str, task: bytes) -> int:
        raise RuntimeError(f"no {name}")

    spec = mvlm_spec()
    graphs = mvlm_graphs(spec, MvlmNetworks(spec), lambda _inputs, run: (fill, lambda name: run()))
    tracker = _core.MvlmTracker(spec, **graphs)
    tracker.init(textured_frame(0), START, "rgb")
    tracker.set_text(TEXT)
    with pytest.raises(RuntimeError, match="no search"):
        tracker.update(on_device(textured_frame(1)), "rgb")


def test_shapes_are_judged_as_those_of_numpy_frames() -> None:
    frame = textured_frame(0)
    tracker = tracker_of(mvlm_spec(), host_kernel().filling)
    for array, color in ((frame[..., 0], "bgr"), (frame, "gray"), (frame[:, :3, 0], "nv12"), (frame[:0], "bgr")):
        with pytest.raises(InputError) as wanted:
            tracker.init(array, START, color)
        with pytest.raises(InputError) as found:
            tracker.init(on_device(array), START, color)
        assert str(found.value) == str(wanted.value)
    with pytest.raises(InputError, match="2 sizes and 1 strides"):
        _core.DeviceArray(1, (2, 2), (1,))
    with pytest.raises(InputError, match="device's memory"):
        _core.crop(on_device(frame), START, 2.0, 16)


def test_a_device_array_keeps_its_owner() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    alive = weakref.ref(frame)
    array = on_device(frame)
    del frame
    gc.collect()
    assert alive() is not None
    del array
    gc.collect()
    assert alive() is None
