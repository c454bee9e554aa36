"""MVLM's eager reference loop, and the compiled loop beside it, against recorded runs of the published code."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
import torch
from golden_files import golden
from mvlm_case import BOX_PX, CASES, MAPS, SIMS, alt_rules, golden_text, loaded_network
from small_mvlm import SMALL, small_inputs, small_net

from edgetrack.errors import InputError
from edgetrack.export.loops.crop import crop
from edgetrack.export.loops.mvlm import MvlmReference
from edgetrack.export.models.mvlm import MVLM
from edgetrack.export.models.mvlm_variants import GateRule, UpdateRule, gate_of
from edgetrack.export.standin import synth_box, synth_frame
from edgetrack.runtime.core import Graph, MvlmTracker

RUNS = [("mvlm_tf", "track"), ("mvlm_tf", "tnl2k"), ("mvlm_tf", "altx"), ("mvlm_bbox", "track"), ("mvlm_bbox", "altx")]
# Frames of the quick part: with the second weights, into the first changes of view and the first new template.
SHORT = [("mvlm_tf", "altx", 5), ("mvlm_bbox", "altx", 3)]
LONG = [pytest.param(name, run, 12, marks=pytest.mark.big) for name, run in RUNS]
# The published form of the loop pools with noise (oddity O1), but the recorded decisions are the same.
NOISY = [pytest.param(name, "alt", 12, marks=pytest.mark.big) for name in CASES]


def rules_of(name: str, run: str) -> tuple[GateRule, UpdateRule]:
    if run.startswith("alt"):
        return alt_rules(name)
    return gate_of("mvlm-tf-tnl2k" if run == "tnl2k" else CASES[name]), UpdateRule()


class FedLoop:
    """The compiled loop; its networks give what the eager ones gave, and it must have asked them the same."""

    def __init__(self, name: str, gate: GateRule, rule: UpdateRule) -> None:
        spec = copy.deepcopy(MVLM.tracker_spec(CASES[name]))
        spec["gate"] = {key: getattr(gate, key) for key in spec["gate"]}
        self.inputs = {"search": np.zeros((1, 3, 224, 224), np.float32), "text": np.zeros((1, 77, 512), np.float32)}
        self.outputs = {key: np.zeros((1, 196, *more), np.float32) for key, more in OUTPUTS.items()}
        self.image, graphs = np.zeros((1, 3, 112, 112), np.float32), {}
        if spec["template"] is not None:
            spec["template"]["update"] = {"interval": rule.interval, "above": rule.above}
            self.inputs["templates"] = np.zeros((1, 98, 512), np.float32)
            tokens = {"tokens": np.zeros((1, 49, 512), np.float32)}
            graphs["template"] = Graph({"image": self.image}, tokens, lambda: None)
        self.tracker = MvlmTracker(spec, Graph(self.inputs, self.outputs, lambda: None), **graphs)
        self.tracker.init(synth_frame(0), synth_box(0), "rgb")
        self.tracker.set_text(golden_text().numpy())

    def follow(self, eager: MvlmReference, search: torch.Tensor, frame: np.ndarray) -> tuple[float, ...]:
        """Track a frame on which `eager` found its candidates, looking at `search`."""
        for key, value in (("cls", eager.step.cls), ("boxes", eager.step.boxes), ("sims", eager.step.sims)):
            self.outputs[key][0] = value
        self.tracker.update(frame, "rgb")
        np.testing.assert_allclose(self.inputs["search"], search, rtol=0, atol=1e-6)
        if eager.step.updated:
            np.testing.assert_allclose(self.image, eager.templates[-1], rtol=0, atol=1e-6)
        return self.tracker.raw_box


OUTPUTS: dict[str, tuple[int, ...]] = {"cls": (), "boxes": (4,), "sims": ()}


@pytest.mark.parametrize(("name", "run", "frames"), [*SHORT, *LONG, *NOISY])
def test_recorded_run(name, run, frames):
    vectors, (gate, rule) = golden(name), rules_of(name, run)
    net = loaded_network(name, w2=run.startswith("alt"))
    eager, compiled = MvlmReference(net, gate, golden_text(), rule), FedLoop(name, gate, rule)
    eager.init(synth_frame(0), synth_box(0))
    assert min(vectors[f"{run}_min_tau_gap"]) > SIMS  # or nothing could be asked of the decisions
    for index, expected in enumerate(vectors[f"{run}_boxes"][:frames]):
        frame = synth_frame(index + 1)
        search, _ = eager.search_input(frame)
        box = eager.update(frame)
        np.testing.assert_allclose(box, expected, rtol=0, atol=BOX_PX, err_msg=f"frame {index + 1}")
        np.testing.assert_allclose(compiled.follow(eager, search, frame), expected, rtol=0, atol=BOX_PX)
        check_decisions(vectors, run, index, eager.step)
        if run != "alt":
            check_numbers(vectors, run, index, eager.step)
        check_compiled(compiled.tracker, eager.step)


def check_decisions(vectors, run, index, step) -> None:
    found = {
        "global": step.is_global,
        "next_global": step.next_global,
        "top1": step.chosen,
        "nsel": step.selected,
        "updated": step.updated,
    }
    assert found == {key: vectors[f"{run}_{key}"][index] for key in found}
    assert float(step.cls[step.chosen]) == pytest.approx(vectors[f"{run}_score"][index], abs=MAPS["score"])


def check_numbers(vectors, run, index, step) -> None:
    """What a rounded edge may change is not compared; in the memory also later."""
    sound = ~vectors[f"{run}_fragile"][index]
    steady = ~vectors[f"{run}_fragile"][: index + 1].any(axis=0)
    for key, value, rows in (("sims", step.sims, sound), ("kvlm", step.kappa, sound), ("kmem", step.memory, steady)):
        recorded = vectors[f"{run}_{key}"][index]
        np.testing.assert_allclose(value.numpy()[rows], recorded[rows], rtol=0, atol=SIMS, err_msg=key)
        assert rows.sum() > 150
    assert float(step.confidence.max()) == pytest.approx(vectors[f"{run}_kmvlm_max"][index], abs=SIMS)


def check_compiled(tracker, step) -> None:
    gate = tracker.gate
    assert (gate["chosen"], tracker.selected, tracker.updated) == (step.chosen, step.selected, step.updated)
    assert (tracker.last_mode == "global", tracker.mode == "global") == (step.is_global, step.next_global)
    for key, value in (("margins", step.kappa), ("memory", step.memory), ("confidences", step.confidence)):
        np.testing.assert_allclose(gate[key], value, rtol=0, atol=5e-7)


@pytest.mark.parametrize("name", CASES)
def test_crops_are_byte_equal(name):
    vectors, frame = golden(name), synth_frame(0)
    for index, box in enumerate(vectors["crop_boxes"]):
        for kind, factor, size in (("search", 4.0, 224), ("tmpl", 2.0, 112)):
            patch, resize_factor, _ = crop(frame, tuple(box), factor, size)
            assert np.array_equal(patch[::2, ::2], vectors[f"crop_{kind}{index}"])
            assert resize_factor == vectors[f"crop_{kind}{index}_rf"]
    assert np.array_equal(cv2.resize(frame, (224, 224))[::2, ::2], vectors["crop_global"])
    search, _, _ = crop(synth_frame(1), synth_box(0), 4.0, 224)
    assert np.array_equal(search, vectors["net_search_u8"])


def small_tracker(kind="bbox", tau=0.0):
    return MvlmReference(small_net(kind), GateRule(0.6, tau, 0.5, 0.5, 0.1), small_inputs(kind)[1])


@pytest.mark.parametrize("kind", SMALL)
def test_init_forgets_the_clip_before(kind):
    tracker, boxes = small_tracker(kind), []
    for _ in range(2):
        tracker.init(synth_frame(0), synth_box(0))
        assert tracker.is_global == (kind == "tf")
        boxes.append([tracker.update(synth_frame(index)) for index in (1, 2, 3)])
    assert boxes[0] == boxes[1]


def test_a_sentence_alone_needs_no_sensible_box():
    """Published code crops a template around it and fails on a degenerate one (oddity O9)."""
    tracker, other = small_tracker("tf"), small_tracker("tf")
    tracker.init(synth_frame(0), (0.0, 0.0, 0.0, 0.0))
    other.init(synth_frame(0), synth_box(0))
    assert tracker.update(synth_frame(1)) == other.update(synth_frame(1))


def test_templates_are_the_first_and_the_newest():
    tracker = MvlmReference(small_net("bbox"), GateRule(0, -1, 0, 0, 0), small_inputs("bbox")[1], UpdateRule(2, 0.0))
    tracker.init(synth_frame(0), synth_box(0))
    first = tracker.templates[0]
    for index in range(1, 5):
        tracker.update(synth_frame(index))
        assert tracker.step.updated == (index % 2 == 0)
    assert len(tracker.templates) == 2
    assert tracker.templates[0] is first
    assert torch.equal(tracker.templates[1], tracker.template(synth_frame(4)))


def test_calls_before_there_is_something_to_tell():
    tracker = small_tracker()
    with pytest.raises(InputError, match="before init"):
        tracker.update(synth_frame(0))
    tracker.init(synth_frame(0), synth_box(0))
    for call in (tracker.leads, tracker.corners_px, tracker.raw_score):
        with pytest.raises(InputError, match="track a frame with update first"):
            call()


@pytest.mark.parametrize("tau", [-1.0, 0.0, 1.0])
def test_leads_are_what_turns_the_choice(tau):
    """A box that is a little better than the lead says takes over; one that is a little worse does not."""
    tracker = small_tracker("tf", tau)
    tracker.init(synth_frame(0), synth_box(0))
    tracker.update(synth_frame(1))
    step, lead = tracker.step, tracker.step.lead(tau)
    assert lead > 0

    def turned(change: float) -> bool:
        for cell in range(len(step.cls)):
            for cls_part, confidence_part in ((1, 0), (0, 1), (1, 1)):
                sign = -1 if cell == step.chosen else 1
                cls, confidence = step.cls.clone(), step.confidence.clone()
                cls[cell] += sign * cls_part * change
                confidence[cell] += sign * confidence_part * change
                trusted = confidence >= tau
                if int((cls.masked_fill(~trusted, -9.0) if trusted.any() else cls).argmax()) != step.chosen:
                    return True
        return False

    assert turned(lead * 1.01 + 1e-6)
    assert not turned(lead * 0.99 - 1e-6)
