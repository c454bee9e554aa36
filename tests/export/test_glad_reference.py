"""GLAD's published loop in eager PyTorch against recorded runs of the published code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_case import loaded_diffusion, model_inputs
from glad_case import BOX_PX, CASES, MAPS, POOLED, latents, loaded_network
from golden_files import golden
from small_glad import small_inputs, small_net

from edgetrack.errors import InputError
from edgetrack.export.loops.glad import GladReference
from edgetrack.export.standin import synth_box, synth_frame

# Frames of each recorded run with made-up feature maps.
RUNS = [("glad_b256", 2), *(pytest.param(name, None, marks=pytest.mark.big) for name in CASES)]


@pytest.mark.parametrize(("name", "frames"), RUNS)
def test_recorded_run(name, frames):
    vectors = golden(name)
    tracker = GladReference(loaded_network(name, lively=True), lambda _: latents())
    tracker.init(synth_frame(0), synth_box(0))
    follow(tracker, vectors["lively_boxes"][:frames], vectors["lively_state"][:frames])


def follow(tracker, boxes, states) -> None:
    """Track on and compare every frame with the recorded run."""
    for index, (expected, state) in enumerate(zip(boxes, states, strict=True)):
        box = tracker.update(synth_frame(index + 1))
        np.testing.assert_allclose(box, expected, rtol=0, atol=BOX_PX, err_msg=f"frame {index + 1}")
        best = tracker.step.response.flatten().topk(2).values
        np.testing.assert_allclose(best, state[:2], rtol=0, atol=MAPS["score"])
        assert tracker.step.argmax == int(state[2])
        np.testing.assert_allclose(tracker.step.found, state[3:], rtol=0, atol=MAPS["offset"])


@pytest.mark.big
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_recorded_run_with_stable_diffusion(name):
    """The plain run: the sentence and the template through the diffusion model, pooled, then tracked."""
    vectors, net, given = golden(name), loaded_network(name), model_inputs("sd")
    noises, told = (given.posterior, given.diffusion), []

    def describe(template):
        told[:] = loaded_diffusion("sd")(given.ids, template, *noises)
        return told

    tracker = GladReference(net, describe)
    tracker.init(synth_frame(0), synth_box(0))
    for k, pooled in enumerate(net.pooled(told)):
        found = pooled[:, ::8, ::12]
        np.testing.assert_allclose(found, vectors[f"sd_pooled_{k}"], rtol=0, atol=POOLED, err_msg=f"pooled {k}")
    follow(tracker, vectors["track_boxes"], vectors["track_state"])


def test_what_is_described_moves_the_box():
    _, _, features = small_inputs()
    boxes = []
    for told in (features, [-feature for feature in features]):
        tracker = GladReference(small_net(), lambda _, told=told: told)
        tracker.init(synth_frame(0), synth_box(0))
        boxes.append(tracker.update(synth_frame(1)))
    assert np.abs(np.subtract(*boxes)).max() > 0.1


def test_update_before_init():
    with pytest.raises(InputError, match="init"):
        GladReference(small_net(), lambda _: small_inputs()[2]).update(synth_frame(0))


def test_scores_of_all_cells_are_decoded_with_the_divisor():
    """Cell 13 of 6 x 6 is read as row 1, column 6 of 7 (oddity O2)."""
    tracker = GladReference(small_net(), lambda _: small_inputs()[2])
    tracker.init(synth_frame(0), synth_box(0))
    tracker.update(synth_frame(1))
    maps, index = tracker.step.output.maps, tracker.step.argmax
    x, y = maps.offset[0].flatten(1)[:, index]
    expected = torch.stack([(index % 7 + x) / 7, (index // 7 + y) / 7])
    torch.testing.assert_close(tracker.step.found[:2], expected, rtol=0, atol=1e-6)
