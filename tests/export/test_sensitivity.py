"""Which layers stay in higher precision: the search, the budget, and that a broken graph does not pass the gate."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from edgetrack.data.metrics import box_iou, present
from edgetrack.demo import demo_weights
from edgetrack.errors import ParityError
from edgetrack.export.parity.gate import Silent
from edgetrack.export.precision import CalibrationPlan, quantize, write_typed
from edgetrack.export.precision.calibration import Samples
from edgetrack.export.precision.clips import divide, read_clips
from edgetrack.export.precision.loops import open_loop, track
from edgetrack.export.precision.plot import write_plot
from edgetrack.export.precision.sensitivity import Group, Point, Sensitivity, choose, fewest, groups_of, holds, score
from edgetrack.export.source import load_source

pytest.importorskip("onnxruntime")
PICO = "fartrack-pico"


def test_fewest():
    for needed in range(12):
        asked = []
        assert fewest(11, lambda kept, needed=needed, asked=asked: asked.append(kept) or kept >= needed) == needed
        assert len(asked) <= 5
    assert fewest(5, lambda kept: False) == 5


def test_budget():
    point = Point(0, 0.7, 60.0, 0.9, 0.95, 2.0)
    assert holds(point, CalibrationPlan("x"))
    assert not holds(point, CalibrationPlan("x", max_auc_drop=0.8))
    assert holds(point, CalibrationPlan("x", max_box_error=2.0))
    assert not holds(point, CalibrationPlan("x", max_box_error=1.9))


def test_score_leaves_absent_frames_out():
    truth = np.array([[0.0, 0, 10, 10]] * 3 + [[math.nan] * 4])
    boxes = np.array([[90.0, 90, 1, 1], [0, 0, 10, 10], [50, 50, 10, 10], [0, 0, 10, 10]])
    assert score([boxes], [truth]) == pytest.approx(100 * (20 / 21) / 2)


def test_files_of_the_artifact(tmp_path):
    groups = (Group("search/a", ("search/a.matmul",), 30, 0.2), Group("search/b", ("search/b.matmul",), 10, 0.1))
    points = (Point(0, 0.4, 50.0, 2.0, 0.9, 3.0), Point(1, 0.1, 51.5, 0.5, None, 1.0))
    found = Sensitivity(groups, points, points[1], 52.0, 90, ("one",))
    document = found.as_dict(CalibrationPlan("x"))
    assert [group["eight_bit"] for group in document["groups"]] == [False, True]
    assert (document["budget"]["max_auc_drop"], document["chosen"]["kept"], len(document["curve"])) == (1.0, 1, 2)
    json.dumps(document, allow_nan=False)
    pytest.importorskip("matplotlib")
    write_plot(found, 1.0, tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    """Our own Pico, calibrated on the demo clip's first part: what is tested is the machinery, not other data."""
    source = load_source(PICO, demo_weights(PICO))
    folder = tmp_path_factory.mktemp("calibration")
    return source, quantize(source, CalibrationPlan("demo", frames=16), folder, threads=2, progress=Silent()), folder


def test_search(pico, tmp_path):
    source, quantization, folder = pico
    samples = Samples({role: sorted(folder.glob(f"samples/{role}-*.npz"))[:2] for role in quantization.graphs})
    held_out = [replace_stop(section, 6) for section in divide(read_clips("demo"), 0)[1]]
    given = {"samples": samples, "held_out": held_out, "folder": tmp_path, "threads": 2, "progress": Silent()}
    made, found = choose(source, quantization, CalibrationPlan("demo", max_auc_drop=100.0), **given)
    assert not made.kept
    assert [group.error for group in found.groups] == sorted((group.error for group in found.groups), reverse=True)
    assert {group.name for group in found.groups} == {group.name for group in groups_of(quantization)}
    assert all(0 < group.error < 0.5 for group in found.groups if group.name.startswith("search"))
    shares = [point.share for point in found.points]
    assert shares == sorted(shares, reverse=True)
    assert 0.7 < shares[0] < 0.8
    assert all(point.box_error > 0 for point in found.points)
    with pytest.raises(
        ParityError, match="8 bits cost more than 1 points of AUC and 0 px on the held-out part of demo"
    ):
        choose(source, quantization, CalibrationPlan("demo", max_box_error=0.0), **given)


def replace_stop(section, count):
    return replace(section, stop=section.start + count)


def test_int8_keeps_the_car_of_the_clip(pico, tmp_path):
    source, quantization, _ = pico
    files = {g.role: write_typed(g, tmp_path, "int8", {}, quantization=quantization).path for g in source.graphs}
    (clip,) = read_clips("demo")
    with open_loop(source.family.tracker_spec(PICO), source.graphs, files, threads=2) as tracker:
        boxes = np.stack([clip.boxes[0], *track(tracker, clip.frames(0, 46), clip.boxes[0].tolist())])
    overlaps = box_iou(boxes, clip.boxes[:46])[1:]
    assert present(clip.boxes[1:46]).all()
    assert (overlaps > 0.5).mean() >= 0.9
