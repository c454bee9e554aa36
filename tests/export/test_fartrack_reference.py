"""The eager reference loop against recorded closed loops of the published code."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from fartrack_case import CASES, loaded_network
from golden_files import golden

from edgetrack.errors import InputError
from edgetrack.export.loops.crop import crop
from edgetrack.export.loops.fartrack import FarTrackReference, decode_box, template_slots
from edgetrack.export.standin import synth_box, synth_frame

BOXES_PX = 1e-3
LOGITS = 2e-5


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["track", "forced"])
def test_closed_loop(name, kind):
    vectors = golden(name)
    tracker = FarTrackReference(loaded_network(name))
    tracker.init(synth_frame(0), synth_box(0))
    for index, expected in enumerate(vectors[f"{kind}_boxes"]):
        if kind == "forced":
            tracker.box = synth_box(index)
        box = tracker.update(synth_frame(index + 1))
        np.testing.assert_allclose(box, expected, rtol=0, atol=BOXES_PX)
        check_step(vectors, kind, index, tracker)


def check_step(vectors, kind: str, index: int, tracker: FarTrackReference) -> None:
    step = tracker.step
    logits = step.logits.numpy()
    recorded = vectors[f"{kind}_logits"][index]
    np.testing.assert_allclose(logits[:, ::5] if kind == "track" else logits, recorded, rtol=0, atol=LOGITS)
    assert (logits.argmax(-1) == vectors[f"{kind}_argmax"][index]).all()
    np.testing.assert_allclose(step.prob.numpy(), vectors[f"{kind}_prob"][index], rtol=0, atol=1e-6)
    assert list(tracker.slots) == list(vectors[f"{kind}_template_index"][index])
    assert step.resize_factor == pytest.approx(vectors[f"{kind}_resize_factor"][index], rel=1e-12)
    if tracker.net.sparse:
        assert (step.keep.numpy() == vectors[f"{kind}_mask25"][index]).all()
        assert step.tokens == vectors[f"{kind}_tokens"][index]


@pytest.mark.parametrize("name", CASES)
def test_decode_map_and_clip(name):
    vectors = golden(name)
    hw = tuple(int(v) for v in vectors["decode_frame_hw"])
    for logits, state, expected in zip(
        vectors["decode_logits"], vectors["decode_state"], vectors["decode_boxes"], strict=True
    ):
        factor = 224 / np.ceil(4 * np.sqrt(state[2] * state[3]))
        box = decode_box(torch.from_numpy(logits), tuple(state), factor, hw, loaded_network(name).sparse)
        np.testing.assert_allclose(box, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_template_rule(name):
    vectors = golden(name)
    flavour = loaded_network(name).flavour
    for frame, slots in zip(vectors["rule_frame_id"], vectors["rule_template_index"], strict=True):
        assert template_slots(int(frame), flavour) == list(slots)


def test_crops_are_byte_equal():
    vectors = golden("fartrack_pico")
    for row, (frame, box) in enumerate(zip(vectors["crop_frame"], vectors["crop_boxes"], strict=True)):
        for column, (factor, size) in enumerate([(2.0, 112), (4.0, 224)]):
            patch, resize_factor, _ = crop(synth_frame(int(frame)), tuple(box), factor, size)
            assert hashlib.sha256(patch.tobytes()).hexdigest() == str(vectors["crop_sha256"][row, column])
            assert resize_factor == pytest.approx(vectors["crop_resize_factor"][row, column], rel=1e-12)


def test_init_forgets_the_clip_before():
    tracker = FarTrackReference(loaded_network("fartrack_pico"))
    boxes = []
    for _ in range(2):
        tracker.init(synth_frame(0), synth_box(0))
        boxes.append([tracker.update(synth_frame(index)) for index in (1, 2)])
    assert boxes[0] == boxes[1]


def test_update_before_init():
    with pytest.raises(InputError, match="before init"):
        FarTrackReference(loaded_network("fartrack_pico")).update(synth_frame(0))
