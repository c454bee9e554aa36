"""The stand-in weights and the synthetic clip must stay what golden vectors were recorded with."""

from __future__ import annotations

import numpy as np
import pytest

from edgetrack.export.standin import synth_box, synth_frame, synth_param, synth_state


@pytest.mark.parametrize(
    ("key", "shape", "spread"),
    [
        ("net.fc.weight", (64, 256), 1 / 16),  # a matrix: 1/sqrt(inputs)
        ("net.conv.weight", (64, 4, 8, 8), 1 / 16),
        ("pos_embed", (1, 49, 192), 0.1),
        ("net.norm.bias", (4096,), 0.02),
    ],
)
def test_spread_keeps_activations_near_one(key, shape, spread):
    value = synth_param(key, shape)
    assert value.dtype == np.float32
    assert value.shape == shape
    assert value.std() == pytest.approx(spread, rel=0.05)
    assert abs(value.mean()) < spread / 10


def test_scales_are_around_one():
    assert synth_param("norm.weight", (4096,)).mean() == pytest.approx(1, abs=0.01)
    assert synth_param("bn.running_var", (4096,)).min() >= 1
    assert synth_param("logit_scale", ()).shape == ()
    counter = synth_param("bn.num_batches_tracked", ())
    assert counter.dtype == np.int64
    assert counter == 0


def test_values_follow_from_name_and_seed_alone():
    first = synth_param("a.weight", (3, 5))
    assert np.array_equal(first, synth_param("a.weight", (3, 5)))
    assert not np.array_equal(first, synth_param("b.weight", (3, 5)))
    assert not np.array_equal(first, synth_param("a.weight", (3, 5), seed=1))
    state = synth_state({"b.weight": (2, 2), "a.weight": (3, 5)})
    assert list(state) == ["b.weight", "a.weight"]
    assert np.array_equal(state["a.weight"], first)


def test_values_are_the_recorded_ones():
    weight = synth_param("backbone.blocks.0.attn.qkv.weight", (576, 192))
    recorded = [0.0014596027322113514, 0.12529343366622925, -0.024608096107840538]
    assert weight[0, :3].tolist() == pytest.approx(recorded, rel=1e-6)
    frame = synth_frame(7)
    recorded_pixels = [[[93, 140, 86], [139, 93, 85]], [[106, 125, 103], [86, 115, 119]]]
    assert np.abs(frame[:240:120, :320:160].astype(int) - recorded_pixels).max() <= 1
    assert frame.mean() == pytest.approx(111.088858, abs=1e-3)
    assert synth_box(7) == pytest.approx((267.387268, 220.963797, 70.7362996, 54.0585911), abs=1e-5)


def test_frame_shows_the_patch_inside_its_box():
    frame = synth_frame(3, 90, 120)
    assert frame.shape == (90, 120, 3)
    assert frame.dtype == np.uint8
    x, y, w, h = synth_box(3, 90, 120)
    inside = frame[round(y + h / 2) - 4 : round(y + h / 2) + 4, round(x + w / 2) - 4 : round(x + w / 2) + 4]
    still = synth_frame(3, 90, 120, seed=1)
    assert not np.array_equal(frame, still)
    assert np.abs(inside.astype(int) - inside.mean()).max() > 10
