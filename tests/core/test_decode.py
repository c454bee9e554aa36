"""Decoding against the readable reference and against what the published code recorded."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference_numeric as reference
from golden_files import golden
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError

SPARSE = ["fartrack_tiny", "fartrack_nano", "fartrack_pico"]
ARGMAX_ONLY = ["fartrack_distill_tiny", "fartrack_frame_tiny"]

logits_604 = arrays(np.float32, (4, 605), elements=st.floats(-30, 30, width=32))


@given(logits_604, st.booleans())
def test_decode_equals_the_reference(logits, expectation):
    corners = _core.decode_bins(logits, 300, 2, expectation)
    assert corners.dtype == np.float32
    np.testing.assert_allclose(corners, reference.decode_bins(logits, 300, 2, expectation), rtol=0, atol=3e-7)


def test_ties_go_to_the_lowest_class():
    logits = np.zeros((4, 605), np.float32)
    np.testing.assert_array_equal(_core.decode_bins(logits, 300, 2, False), np.full(4, -0.5, np.float32))


def test_special_classes_may_win_but_do_not_enter_the_expectation():
    logits = np.full((4, 605), -20, np.float32)
    logits[:, 602] = 20
    logits[:, 150] = 0
    a, e = 602.5 / 299 - 0.5, -0.5 + 150 / 300
    np.testing.assert_allclose(_core.decode_bins(logits), np.full(4, (a + e) / 2), atol=1e-6)


@pytest.mark.parametrize("name", SPARSE + ARGMAX_ONLY)
def test_boxes_equal_the_recorded_ones(name):
    vectors = golden(name)
    height, width = (int(side) for side in vectors["decode_frame_hw"])
    for logits, recorded, expected in zip(
        vectors["decode_logits"], vectors["decode_state"], vectors["decode_boxes"], strict=True
    ):
        state = tuple(map(float, recorded))
        factor = 224 / math.ceil(4 * math.sqrt(state[2] * state[3]))
        corners = _core.decode_bins(logits, 300, 2, name in SPARSE)
        box = _core.clip_box(_core.map_box(corners, state, factor, 224), height, width, 10)
        np.testing.assert_allclose(box, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("bins", "span", "classes"), [(400, 2, 806), (2, 1, 2), (100, 4, 400)])
def test_other_layouts_follow_the_same_formula(bins, span, classes):
    logits = np.random.default_rng(3).standard_normal((4, classes)).astype(np.float32)
    for expectation in (False, True):
        np.testing.assert_allclose(
            _core.decode_bins(logits, bins, span, expectation),
            reference.decode_bins(logits, bins, span, expectation),
            rtol=0,
            atol=1e-6,
        )


@pytest.mark.parametrize("layout", [(1, 2), (300, 0), (303, 2), (-5, 2), (2**31 - 1, 2**31 - 1)])
def test_layouts_that_do_not_fit_are_refused(layout):
    with pytest.raises(ArtifactError, match=str(layout[0])):
        _core.decode_bins(np.zeros((4, 605), np.float32), *layout)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (3, 604), (2, 599)])
def test_numbers_that_are_not_finite_are_noticed(value, where):
    logits = np.random.default_rng(4).standard_normal((4, 605)).astype(np.float32)
    logits[where] = value
    with pytest.raises(InputError, match="finite"):
        _core.decode_bins(logits)
    assert _core.bin_mass(logits, 600, 8) == 0.0


@given(logits_604, st.sampled_from([0, 1, 8, 700]))
def test_bin_mass_equals_the_reference(logits, radius):
    mass = _core.bin_mass(logits, 600, radius)
    assert 0 <= mass <= 1
    assert mass == pytest.approx(reference.bin_mass(logits, 600, radius), abs=1e-5)


def test_bin_mass_spans_from_spread_out_to_certain():
    logits = np.zeros((4, 605), np.float32)
    assert _core.bin_mass(logits, 600, 8) == pytest.approx(9 / 600, rel=1e-5)  # the first bin wins; half the reach
    logits[:, 300] = 80
    assert _core.bin_mass(logits, 600, 8) == pytest.approx(1.0)
    logits[:, 604] = 200  # a special class is not a bin
    assert _core.bin_mass(logits, 600, 8) == pytest.approx(1.0)
    logits[0, 300] = 0  # one coordinate of four is lost
    assert _core.bin_mass(logits, 600, 8) == pytest.approx((9 / 600) ** 0.25, rel=1e-5)


@given(arrays(np.float32, 49, elements=st.floats(0, 1, width=32) | st.sampled_from([0.25, 0.5])), st.integers(0, 49))
def test_kept_rows_equal_a_stable_sort(score, prune):
    kept = _core.keep_rows(score, prune)
    np.testing.assert_array_equal(kept, reference.keep_rows(score, prune))


def test_kept_rows_survive_nan():
    score = np.arange(49, dtype=np.float32)
    score[[3, 40]] = np.nan
    kept = _core.keep_rows(score, 12)
    np.testing.assert_array_equal(kept, [3, *range(13, 49)])


@pytest.mark.parametrize("name", SPARSE)
def test_kept_rows_equal_the_recorded_mask(name):
    vectors = golden(name)
    np.testing.assert_array_equal(
        _core.keep_rows(vectors["net_full_attn_row"], 12), np.flatnonzero(vectors["net_full_next_masks"][0])
    )


@pytest.mark.parametrize("prune", [-1, 50])
def test_pruning_more_than_there_is_is_refused(prune):
    with pytest.raises(InputError, match=str(prune)):
        _core.keep_rows(np.zeros(49, np.float32), prune)
