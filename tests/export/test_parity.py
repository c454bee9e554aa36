"""The gate's parts: boxes and tensors are compared as stated, and verdicts never claim what was not run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_family import TOY, ToyNet

from edgetrack.errors import InputError
from edgetrack.export.models.base import ParityInput
from edgetrack.export.models.fartrack import FARTRACK
from edgetrack.export.parity.bins import bin_reach
from edgetrack.export.parity.clip import Clip
from edgetrack.export.parity.forced import compare_forced
from edgetrack.export.parity.gate import _check_limits
from edgetrack.export.parity.loop import compare_loops
from edgetrack.export.parity.report import NOT_RUN, Limits, LoopReport, ParityReport, TensorReport, iou
from edgetrack.export.parity.tensors import compare_tensors

LIMITS = Limits({"logits": 1e-4}, box_px=0.05, min_iou=0.99, mean_iou=0.999)
BOX = (10.0, 20.0, 30.0, 40.0)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (BOX, BOX, 1.0),
        ((0, 0, 2, 2), (1, 0, 2, 2), 1 / 3),
        ((0, 0, 2, 2), (2, 0, 2, 2), 0.0),
        ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 4),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
        ((0, 0, math.nan, 2), (0, 0, 2, 2), 0.0),
        ((0, 0, math.inf, 2), (0, 0, 2, 2), 0.0),
    ],
)
def test_iou(a, b, expected):
    assert iou(a, b) == pytest.approx(expected)
    assert iou(b, a) == pytest.approx(expected)


class Scripted:
    """A loop that gives the boxes it is told."""

    def __init__(self, boxes) -> None:
        self.boxes, self.started = iter(boxes), None

    def init(self, frame, box) -> None:
        self.started = box

    def update(self, frame):
        return next(self.boxes)


def follow(boxes_a, boxes_b, frames=None):
    count = len(boxes_a) + 1 if frames is None else frames
    blank = [np.zeros((4, 4, 3), np.uint8)] * count
    return compare_loops(Scripted(boxes_a), Scripted(boxes_b), blank, BOX, clip="c", box_px=0.05)


def test_loops_that_agree():
    report = follow([BOX] * 3, [BOX] * 3)
    assert (report.frames, report.min_iou, report.mean_iou, report.max_box_px) == (3, 1, 1, 0)
    assert report.first_divergence is None
    assert report.passed(LIMITS)


def test_loops_that_drift_apart():
    moved = [(10.0, 20.0, 30.0, 40.0), (10.04, 20.0, 30.0, 40.0), (10.0, 20.0, 30.0, 41.0)]
    report = follow([BOX] * 3, moved)
    assert report.box_px == pytest.approx((0, 0.04, 1))
    assert report.max_box_px == pytest.approx(1)
    assert report.first_divergence == 3
    assert report.min_iou == pytest.approx(40 / 41)
    assert report.mean_iou == pytest.approx((1 + 29.96 / 30.04 + 40 / 41) / 3)
    assert not report.passed(LIMITS)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_boxes_that_are_not_finite_fail_and_stay_json(bad):
    report = follow([BOX] * 2, [BOX, (10.0, bad, 30.0, 40.0)])
    assert not report.passed(LIMITS)
    assert report.first_divergence == 2
    json.dumps(ParityReport("r", LIMITS, loop=report).as_dict(every_frame=True), allow_nan=False)


@pytest.mark.parametrize("frames", [0, 1])
def test_clip_without_a_tracked_frame(frames):
    with pytest.raises(InputError, match="fewer than two frames"):
        follow([], [], frames)


def tensor(max_abs, limit, finite=True):
    return TensorReport("search", "logits", 3, max_abs, 1.0, 1.0, finite, limit)


GOOD_LOOP = LoopReport("c", 5, 1.0, 1.0, 0.001, None, (0.001,) * 5)
BAD_LOOP = LoopReport("c", 5, 0.5, 0.9, 7.0, 4, (0.0, 0.0, 0.0, 7.0, 7.0))


@pytest.mark.parametrize(
    ("tensors", "loop", "verdict", "words"),
    [
        ((tensor(1e-5, 1e-4),), GOOD_LOOP, "passed", ()),
        ((tensor(1.0, None),), GOOD_LOOP, "passed", ()),
        ((tensor(1e-3, 1e-4),), GOOD_LOOP, "failed", ("search.logits differs by 0.001 (accepted 0.0001)",)),
        ((tensor(None, 1e-4, False),), GOOD_LOOP, "failed", ("search.logits holds NaN or infinity",)),
        ((tensor(None, None, False),), GOOD_LOOP, "failed", ("NaN",)),
        (
            (),
            BAD_LOOP,
            "failed",
            (
                "boxes differ by 7 px",
                "first in frame 4",
                "smallest IoU is 0.5000 (accepted 0.99)",
                "mean IoU is 0.9000",
            ),
        ),
        ((tensor(1e-5, 1e-4),), None, NOT_RUN, ()),
        ((), None, NOT_RUN, ()),
    ],
)
def test_verdict(tensors, loop, verdict, words):
    report = ParityReport("reference", LIMITS, tensors, loop)
    assert report.verdict == verdict
    assert report.failed == (verdict == "failed")
    for word in words:
        assert word in "; ".join(report.failures)
    rows = report.rows()
    assert len(rows) == len(tensors) + (3 if loop else 0)
    assert any(row[-1] == "FAILED" for row in rows) == report.failed


def test_not_run_wins_over_findings():
    report = ParityReport("reference", LIMITS, (tensor(0.0, 1.0),), GOOD_LOOP, not_run="no NPU here")
    assert report.verdict == NOT_RUN
    assert report.as_dict()["not_run"] == "no NPU here"


def test_report_for_the_manifest():
    found = ParityReport("reference", Limits({}, math.inf, 0.0, 0.9), (tensor(0.0, None),), BAD_LOOP).as_dict()
    assert set(found) >= {"reference", "tensors", "closed_loop", "thresholds", "verdict"}
    assert found["thresholds"] == {
        "tensor_max_abs": {},
        "tensor_scale": {},
        "box_px": None,
        "min_iou": 0.0,
        "mean_iou": 0.9,
        "swapped": None,
        "margin": 0.0,
        "corner_px": None,
        "forced_iou": 0.0,
        "near_px": 0.0,
        "followed_iou": 0.0,
    }
    assert "box_px" not in found["closed_loop"]
    json.dumps(found, allow_nan=False)


class TorchEngine:
    """Runs the module itself, with an error added to one output."""

    def __init__(self, graph, error=0.0) -> None:
        self.graph, self.error, self.opened = graph, error, []

    def open(self, path, dims):
        self.opened.append(dict(dims))
        shapes = {name: list(value.shape) for name, value in self.graph.inputs.items()}
        for name, axes in self.graph.dims.items():
            for axis, symbol in axes.items():
                shapes[name][axis] = dims[symbol]
        inputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        outputs: dict[str, np.ndarray] = {}

        def run() -> None:
            with torch.no_grad():
                results = self.graph.module(*(torch.from_numpy(value.copy()) for value in inputs.values()))
            outputs.update({name: out.numpy() for name, out in zip(self.graph.outputs, results, strict=True)})
            outputs["shift"] = outputs["shift"] + np.float32(self.error)

        return SimpleNamespace(inputs=inputs, outputs=outputs, run=run)


@pytest.fixture
def search():
    torch.manual_seed(1)
    return TOY.deploy_graphs("toy-one", ToyNet().eval())[1]


@pytest.fixture
def artifact(tmp_path):
    return SimpleNamespace(
        path=tmp_path, file=lambda name: tmp_path / name, graph=lambda role: SimpleNamespace(file=role)
    )


def inputs_of(*sizes):
    generator = np.random.default_rng(0)
    for kept in sizes:
        arrays = {
            "seen": generator.standard_normal((1, 4), np.float32),
            "old": generator.standard_normal((1, kept, 4), np.float32),
        }
        yield ParityInput("search", arrays)


def test_tensors_that_agree(search, artifact):
    engine = TorchEngine(search)
    found = compare_tensors([search], artifact, engine, inputs_of(2, 3, 3, 3), {"shift": 1e-6})
    assert [(item.output, item.samples, item.max_abs, item.limit) for item in found] == [
        ("shift", 4, 0.0, 1e-6),
        ("top", 4, 0.0, None),
    ]
    assert all(item.passed and item.cosine == pytest.approx(1) for item in found)
    assert engine.opened == [{"kept": 2}, {"kept": 3}], "one session per size"


def test_tensors_that_differ(search, artifact):
    shift, top = compare_tensors([search], artifact, TorchEngine(search, 0.25), inputs_of(2, 3), {"shift": 0.2})
    assert shift.max_abs == pytest.approx(0.25, rel=1e-5)
    assert shift.cosine < 1
    assert not shift.passed
    assert top.passed


def test_limits_grow_with_the_values_beyond_those_they_were_stated_for(search, artifact):
    def shift(stated):
        engine, inputs = TorchEngine(search, 0.25), inputs_of(2, 3)
        return compare_tensors([search], artifact, engine, inputs, {"shift": 0.1}, stated={"shift": stated})[0]

    found = shift(1e6)
    assert (found.limit, found.passed) == (0.1, False), "smaller values keep the limit"
    assert shift(found.scale / 2).limit == pytest.approx(0.2)
    assert not shift(found.scale / 2).passed
    assert shift(found.scale / 3).passed


def test_nan_is_found(search, artifact):
    shift, _ = compare_tensors([search], artifact, TorchEngine(search, math.nan), inputs_of(3), {})
    assert (shift.finite, shift.max_abs, shift.passed) == (False, None, False)


@pytest.mark.parametrize(("sizes", "missing"), [((), ("kept=2", "kept=3")), ((3, 3), ("kept=2",))])
def test_size_that_no_input_reached_is_unproven(search, artifact, sizes, missing):
    shift, _ = compare_tensors([search], artifact, TorchEngine(search), inputs_of(*sizes), {"shift": 1.0})
    assert (shift.unproven, shift.passed) == (missing, False)
    report = ParityReport("r", LIMITS, (shift,), GOOD_LOOP)
    assert report.verdict == "failed"
    assert "search.shift is unproven: never run at kept=2" in report.failures[0]


class Forced(Scripted):
    """A loop whose boxes never show what it decodes."""

    forcible = True

    def __init__(self, count, error=0.0, kept=None, lead=1.0) -> None:
        super().__init__([BOX] * count)
        self.error, self.mask, self.lead, self.states = error, kept, lead, []

    def set_state(self, box) -> None:
        self.states.append(box)

    def corners_px(self):
        return np.array([1.0, 2.0, 3.0, 4.0 + self.error])

    def leads(self):
        return np.array([1.0, 1.0, 1.0, self.lead])

    def kept(self):
        return self.mask


def force(reference, candidate, margin=0.0):
    clip = Clip("c", "c", BOX, 4, (BOX, (math.nan,) * 4))
    return compare_forced(reference, candidate, [np.zeros((90, 120, 3), np.uint8)] * 4, clip, margin=margin)


def test_forced_pass_sees_what_clipping_hides():
    reference, candidate = Forced(3), Forced(3, error=7.0)
    found = force(reference, candidate)
    assert (found.frames, found.max_corner_px) == (3, 7)
    assert reference.states == candidate.states
    assert len({box[2] for box in reference.states}) == 3, "sizes vary"
    report = ParityReport("r", LIMITS, loop=GOOD_LOOP, forced=found)
    assert "decoded corners differ by 7 px (accepted 0.05), first in frame 1" in report.failures[0]
    assert force(Forced(3), Forced(3)).max_corner_px == 0
    assert force(Forced(3, lead=0.01), candidate=Forced(3, error=7.0), margin=0.02).undecided == 3
    assert force(Forced(3), Forced(3, error=math.nan)).max_corner_px > 1e6


class Placed(Forced):
    """A loop that decodes a box moved to the right."""

    def corners_px(self):
        return np.array([10.0 + self.error, 20.0, 40.0 + self.error, 60.0])


class Binned(Forced):
    """A loop that decides among bins: close decisions may move its last corner by `far` pixels."""

    def __init__(self, count, far, **given) -> None:
        super().__init__(count, **given)
        self.far, self.margins = far, []

    def reach_px(self, margin):
        self.margins.append(margin)
        return np.array([0.0, 0.0, 0.0, self.far])


def test_close_decisions_among_neighbours_are_judged_by_how_far_they_reach():
    def found(far, error):
        clip = Clip("c", "c", BOX, 4, (BOX, (math.nan,) * 4))
        frames = [np.zeros((90, 120, 3), np.uint8)] * 4
        return compare_forced(Binned(3, far), Forced(3, error=error), frames, clip, margin=0.1, near_px=3.0)

    near = found(2.0, 2.25)
    assert (near.undecided, near.max_reach_px) == (0, 2)
    assert near.max_corner_px == pytest.approx(0.25)
    assert found(2.0, 9.0).max_corner_px == pytest.approx(7), "a wrong corner is found among neighbours too"
    assert found(2.0, 1.0).max_corner_px == 0
    assert found(50.0, 9.0).undecided == 3, "a rival far away: nothing can be said of that corner"
    assert found(2.0, math.nan).max_corner_px > 1e6


def test_reach_of_bins():
    logits = np.full((4, 605), -9.0, np.float32)
    logits[:, 100] = 5.0
    logits[0, 103], logits[1, 110], logits[2, 300], logits[3, 602] = 4.95, 4.5, 4.95, 4.95
    reach = bin_reach(logits, 0.1, bins=300, span=2, expectation=True)
    np.testing.assert_allclose(reach, [1.5 / 299, 0, 100 / 299, np.inf])
    np.testing.assert_allclose(bin_reach(logits, 1.0, bins=300, span=2, expectation=False)[:2] * 299, [3, 10])


def test_boxes_are_judged_where_the_reference_follows_the_target():
    blank = [np.zeros((4, 4, 3), np.uint8)] * 4
    away, moved = (500.0, 0.0, 30.0, 30.0), (BOX[0] + BOX[2] / 2, *BOX[1:])
    truth = (BOX, BOX, BOX, (math.nan,) * 4)
    found = compare_loops(
        Scripted([BOX, away, BOX]), Scripted([moved, BOX, away]), blank, BOX, clip="c", box_px=1.0, truth=truth
    )
    assert (found.followed, found.followed_iou) == (1, pytest.approx(1 / 3))
    for limit, verdict in ((0.5, "failed"), (0.3, "passed"), (0.0, "passed")):
        limits = Limits({}, math.inf, 0.0, 0.0, followed_iou=limit)
        assert ParityReport("r", limits, (tensor(0.0, None),), found).verdict == verdict
    lost = compare_loops(Scripted([away] * 3), Scripted([BOX] * 3), blank, BOX, clip="c", box_px=1.0, truth=truth)
    assert (lost.followed, lost.followed_iou) == (0, None)
    assert compare_loops(Scripted([BOX] * 3), Scripted([BOX] * 3), blank, BOX, clip="c", box_px=1.0).followed is None


def test_forced_boxes_are_judged_by_overlap():
    found = force(Placed(3), Placed(3, error=3.0))
    assert found.min_iou == pytest.approx(27 / 33)
    for limit, verdict in ((0.95, "failed"), (0.8, "passed"), (0.0, "passed")):
        limits = Limits({}, math.inf, 0.0, 0.0, corner_px=math.inf, forced_iou=limit)
        report = ParityReport("r", limits, (tensor(0.0, None),), GOOD_LOOP, forced=found)
        assert report.verdict == verdict
        assert ("smallest IoU of decoded boxes is 0.8182 (accepted 0.95)" in report.failures) == (verdict == "failed")
        assert any("decoded boxes, smallest IoU" in row for row in report.rows()) == (limit > 0)
    undecided = force(Placed(3, lead=0.01), Placed(3, error=9.0), margin=0.02)
    assert undecided.min_iou is None
    assert force(Placed(3), Placed(3, error=math.nan)).min_iou == 0


def test_forced_pass_counts_swapped_tokens():
    one, two = np.array([True, True, False]), np.array([True, False, True])
    found = force(Forced(3, kept=one), Forced(3, kept=two))
    assert found.max_swapped == 1
    limits = replace(LIMITS, swapped=0)
    assert "1 template tokens" in ParityReport("r", limits, loop=GOOD_LOOP, forced=found).failures[0]


def test_boxes_at_the_minimum_are_counted():
    blank = [np.zeros((4, 4, 3), np.uint8)] * 3
    boxes = [(0.0, 0.0, 10.0, 30.0), BOX]
    found = compare_loops(Scripted(boxes), Scripted(boxes), blank, BOX, clip="c", box_px=1.0, minimum_px=10)
    assert found.at_minimum == 1


def test_limits_that_fit_nothing(search):
    with pytest.raises(InputError, match="limits depth"):
        _check_limits({"depth": 1.0, "shift": 1.0}, [search], "fp16")
    with pytest.raises(InputError, match="no fp32 limit for top"):
        _check_limits({"shift": 1.0}, [search], "fp32")
    _check_limits({"shift": 1.0}, [search], "fp16")


def test_precision_without_limits():
    with pytest.raises(InputError, match="no limits for precision 'fp8'; known: fp32, fp16, int8, mixed"):
        FARTRACK.thresholds("fartrack-pico", "fp8")


def test_decoded_corners_have_a_limit_of_their_own():
    forced = force(Forced(3), candidate=Forced(3, error=0.3))
    assert forced.max_corner_px == pytest.approx(0.3)
    for corner_px, verdict in ((0.5, "passed"), (0.2, "failed"), (None, "passed")):
        limits = Limits({"logits": 1e-4}, math.inf, 0.0, 0.0, corner_px=corner_px)
        report = ParityReport("reference", limits, (tensor(0.0, 1e-4),), GOOD_LOOP, forced=forced)
        assert report.verdict == verdict
