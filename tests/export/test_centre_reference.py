"""The eager reference loop of the centre-head trackers against recorded runs of the published code."""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import pytest
import torch
from centre_case import CASES, MAPS, ROBUST_PX, loaded_network
from golden_files import golden
from small_centre import SMALL, small_net

from edgetrack.errors import InputError
from edgetrack.export.loops.centre_head import CentreReference, hann_window
from edgetrack.export.loops.crop import crop
from edgetrack.export.models.centre_head import best_box
from edgetrack.export.models.centre_variants import shape_of
from edgetrack.export.standin import synth_box, synth_frame

OTHER_PX = {"ostrack": ROBUST_PX, "grm": 0.1}
"""Where a decision was close; OSTrack's spec gives no other bound, for no such frame moved."""
# Frames of each recorded run that `make test` follows; `make test-all` follows all of all.
SHORT = [
    ("ostrack_b256", "forced", 3),
    ("ostrack_b256", "track", 2),
    ("ostrack_b256_ce", "forced", 3),
    ("ostrack_b256_ce", "stable", 3),
    ("grm_b256", "forced", 3),
    ("grm_b256", "stable", 2),
    ("grm_b256", "forced40", 2),
]
RUNS = ("forced", "stable", "track")
LONG = [
    pytest.param(name, run, None, marks=pytest.mark.big)
    for name in CASES
    for run in (*RUNS, "forced40", "stable40")
    if "40" not in run or name.startswith("grm")
]


@pytest.mark.parametrize(("name", "run", "frames"), [*SHORT, *LONG])
def test_recorded_run(name, run, frames):
    vectors = golden(name)
    tracker = CentreReference(network_of(name, run))
    tracker.init(synth_frame(0), synth_box(0))
    boxes = vectors[f"{run}_boxes"][:frames]
    for index, expected in enumerate(boxes):
        if run.startswith("forced"):
            tracker.set_state(synth_box(index))
        box = tracker.update(synth_frame(index + 1))
        robust = bool(vectors[f"{run}_robust"][index])
        tolerance = ROBUST_PX if robust else OTHER_PX[name.partition("_")[0]]
        np.testing.assert_allclose(box, expected, rtol=0, atol=tolerance, err_msg=f"frame {index + 1}")
        check_step(vectors, run, index, tracker, robust)


def network_of(name, run):
    net = loaded_network(name, "-t40" if "40" in run else "")
    if run.startswith("stable"):
        net = copy.copy(net)  # the large parts stay shared
        net._modules = dict(net._modules, box_head=copy.deepcopy(net.box_head))
        net.box_head.conv5_size.bias.copy_(torch.from_numpy(golden(name)["stable_size_bias"]))
    return net


def check_step(vectors, run, index, tracker, robust) -> None:
    step = tracker.step
    assert step.resize_factor == pytest.approx(vectors[f"{run}_resize_factor"][index], rel=1e-12)
    assert step.output.maps.score.max().item() == pytest.approx(vectors[f"{run}_score_max"][index], abs=MAPS["score"])
    assert step.response.max().item() == pytest.approx(vectors[f"{run}_response_max"][index], abs=MAPS["score"])
    assert step.gap == pytest.approx(vectors[f"{run}_response_gap"][index], abs=2 * MAPS["score"])
    if not robust:
        return
    assert step.argmax == vectors[f"{run}_argmax"][index]
    if f"{run}_ce_gap" in vectors:
        gaps = [decision.gap for decision in step.output.decisions]
        np.testing.assert_allclose(gaps, vectors[f"{run}_ce_gap"][index], rtol=0, atol=1e-7)
        kept = sorted(step.output.decisions[-1].kept[0].tolist())
        assert kept == vectors[f"{run}_ce_last_keep"][index].tolist()
    if f"{run}_decision_counts" in vectors:
        counts = [int(decision.interacts.sum()) for decision in step.output.decisions]
        assert counts == vectors[f"{run}_decision_counts"][index].tolist()
        lead = min(decision.lead for decision in step.output.decisions)
        assert lead == pytest.approx(vectors[f"{run}_decision_margin_min"][index], abs=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_robust_means_what_the_vectors_call_so(name):
    """The limits of `safe` are the recorded ones."""
    vectors = golden(name)
    for run in RUNS:
        clear = vectors[f"{run}_response_gap"] >= 1e-5
        if f"{run}_ce_gap" in vectors:
            clear &= (vectors[f"{run}_ce_gap"] >= 1e-7).all(axis=1)
        if f"{run}_decision_margin_min" in vectors:
            clear &= vectors[f"{run}_decision_margin_min"] >= 5e-6
        if run != "forced":
            clear = np.logical_and.accumulate(clear)
        assert np.array_equal(clear, vectors[f"{run}_robust"])


@pytest.mark.parametrize("name", CASES)
def test_crops_are_byte_equal(name):
    vectors, shape = golden(name), shape_of(CASES[name])
    frame = synth_frame(0)
    assert hashlib.sha256(frame.tobytes()).hexdigest() == str(vectors["crop_frame_sha256"])
    sizes = {
        "search": (shape.search_factor, shape.search_size),
        "template": (shape.template_factor, shape.template_size),
    }
    for index, box in enumerate(vectors["crop_boxes"]):
        for kind, (factor, size) in sizes.items():
            patch, resize_factor, _ = crop(frame, tuple(box), factor, size)
            assert np.array_equal(patch[::4, ::4], vectors[f"crop_{kind}_{index}"])
            assert hashlib.sha256(patch.tobytes()).hexdigest() == str(vectors[f"crop_{kind}_sha256"][index])
            assert resize_factor == vectors[f"crop_{kind}_factor"][index]


@pytest.mark.parametrize("name", CASES)
def test_window_is_bit_equal(name):
    window = hann_window(shape_of(CASES[name]).search_grid)[0, 0].numpy()
    assert np.array_equal(window, golden(name)["window"])


@pytest.mark.parametrize("name", CASES)
def test_decoding_the_recorded_maps(name):
    """Window, arg-max and the mix of float32 and float64 give the recorded box to its last bits."""
    vectors, shape = golden(name), shape_of(CASES[name])
    maps = [torch.from_numpy(vectors[f"net_{key}_map"]) for key in MAPS]
    tracker = CentreReference(small_net("ostrack"))
    tracker.shape = shape
    tracker.box = synth_box(0)
    response = hann_window(shape.search_grid) * maps[0]
    found = best_box(response, maps[1], maps[2])[0]
    box = tracker._place(found, float(vectors["net_search_factor"]), 360, 480)
    np.testing.assert_allclose(box, vectors["net_box"], rtol=0, atol=1e-12)
    assert np.array_equal(best_box(*maps)[0], vectors["net_pred_boxes"][0, 0])


def test_the_first_of_equal_cells_counts():
    response = torch.zeros(1, 1, 4, 4)
    response[0, 0, 1, 2] = response[0, 0, 3, 0] = 0.5
    size, offset = torch.arange(32.0).reshape(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    assert best_box(response, size, offset)[0].tolist() == [2 / 4, 1 / 4, 6.0, 22.0]


def small_tracker(kind="ostrack-ce"):
    return CentreReference(small_net(kind))


@pytest.mark.parametrize("kind", SMALL)
def test_init_forgets_the_clip_before(kind):
    tracker, boxes = small_tracker(kind), []
    for _ in range(2):
        tracker.init(synth_frame(0), synth_box(0))
        boxes.append([tracker.update(synth_frame(index)) for index in (1, 2)])
    assert boxes[0] == boxes[1]


def test_calls_before_there_is_something_to_tell():
    tracker = small_tracker()
    with pytest.raises(InputError, match="before init"):
        tracker.update(synth_frame(0))
    tracker.init(synth_frame(0), synth_box(0))
    for call in (tracker.leads, tracker.corners_px, tracker.raw_score):
        with pytest.raises(InputError, match="before update"):
            call()


@pytest.mark.parametrize("box", [(500.0, 10.0, 20.0, 20.0), (-90.0, 10.0, 20.0, 20.0), (10.0, 400.0, 20.0, 20.0)])
def test_a_first_box_outside_the_frame(box):
    with pytest.raises(InputError, match="outside the frame of 480 x 360"):
        small_tracker().init(synth_frame(0), box)


def test_what_the_gate_and_the_score_read():
    tracker = small_tracker()
    tracker.init(synth_frame(0), synth_box(0))
    before = tracker.box
    x, y, w, h = tracker.update(synth_frame(1))
    # Corners count from the crop's corner, in its pixels; the box lies inside the frame, so nothing was clipped.
    x1, y1, x2, y2 = tracker.corners_px() / tracker.step.resize_factor
    half = 0.5 * tracker.net.shape.search_size / tracker.step.resize_factor
    left, top = before[0] + 0.5 * before[2] - half, before[1] + 0.5 * before[3] - half
    assert (left + x1, top + y1, x2 - x1, y2 - y1) == pytest.approx((x, y, w, h), abs=1e-4)
    assert tracker.kept() is None
    score, window = tracker.step.output.maps.score[0, 0].numpy(), hann_window(6)[0, 0].numpy()
    response = np.sort((score * window).ravel())
    assert tracker.leads() == pytest.approx(np.full(4, response[-1] - response[-2]))
    assert tracker.raw_score() == score.ravel()[(score * window).argmax()]


def test_a_close_decision_is_no_lead():
    tracker = small_tracker()
    tracker.init(synth_frame(0), synth_box(0))
    tracker.update(synth_frame(1))
    assert (tracker.leads() > 0).all()
    first = tracker.step.output.decisions[0]
    ordered = first.score.sort(descending=True).values
    count = first.kept.shape[1]
    first.score[first.score == ordered[0, count]] = ordered[0, count - 1]
    assert first.gap == 0
    assert (tracker.leads() == 0).all()
