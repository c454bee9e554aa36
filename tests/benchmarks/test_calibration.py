"""Score calibration: the fit, the limits, how reliable scores are, and the manifest."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from accuracy_case import record_of

import edgetrack
from edgetrack.artifact import read_artifact
from edgetrack.benchmarks.accuracy import score_manifest
from edgetrack.benchmarks.accuracy.calibrate import (
    RIDGE,
    calibrate_score,
    choose_lost_below,
    fit_logistic,
    reliability,
    samples_of,
)
from edgetrack.benchmarks.accuracy.score_manifest import PROVENANCE, store_rule
from edgetrack.benchmarks.accuracy.score_rule import Calibration, ScoreRule
from edgetrack.errors import ArtifactError, CalibrationError

SLOPE, INTERCEPT = 9.0, -4.0


def made(count: int = 4000, seed: int = 0, slope: float = SLOPE, intercept: float = INTERCEPT):
    """Raw scores in (0, 1), and whether the box was good: with probability 1 / (1 + exp(-(slope raw + intercept)))."""
    generator = np.random.default_rng(seed)
    raw = generator.uniform(0.01, 1, count)
    return raw, generator.uniform(size=count) < 1 / (1 + np.exp(-(slope * raw + intercept)))


def test_the_fit_finds_the_map_that_made_the_data():
    found = fit_logistic(*made(40_000))
    assert found.slope == pytest.approx(SLOPE, rel=0.05)
    assert found.intercept == pytest.approx(INTERCEPT, rel=0.05)


def test_the_fit_is_the_minimum_of_the_stated_loss():
    raw, good = made(300)
    found = fit_logistic(raw, good)

    def loss(slope, intercept):
        logits = slope * raw + intercept
        return np.logaddexp(0, logits).sum() - logits[good].sum() + RIDGE / 2 * (slope * raw.std()) ** 2

    best = loss(found.slope, found.intercept)
    for slope, intercept in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01), (0.5, -0.3)):
        assert loss(found.slope + slope, found.intercept + intercept) > best


def test_a_score_that_never_errs_keeps_a_finite_slope():
    raw = np.linspace(0.1, 0.9, 60)
    found = fit_logistic(raw, raw > 0.5)
    assert 0 < found.slope < 100
    assert -found.intercept / found.slope == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("raw", "good", "message"),
    [
        (np.linspace(0, 1, 50), np.zeros(50, bool), "0 frames with IoU > 0.5 and 50 others"),
        (np.linspace(0, 1, 50), np.arange(50) > 5, "44 frames with IoU > 0.5 and 6 others"),
        (np.full(50, 0.5), np.arange(50) > 20, "all 0.5"),
        (np.linspace(0, 1, 50), np.arange(50) < 20, "does not grow"),
        (np.r_[math.nan, np.linspace(0, 1, 49)], np.arange(50) > 20, "not finite"),
    ],
)
def test_what_cannot_be_fitted(raw, good, message):
    with pytest.raises(CalibrationError, match=message):
        fit_logistic(raw, good)


def test_samples_leave_out_given_and_unseen_frames():
    raw = np.r_[np.zeros(3), np.linspace(0.1, 0.9, 40)]
    good, present = np.arange(43) > 20, np.arange(43) != 42
    samples = samples_of([record_of(raw, good, present), record_of(raw, good, name="two")])
    assert len(samples.raw) == 80
    assert samples.raw.min() == pytest.approx(0.1)
    assert samples.good.sum() == 21 + 22  # where the target is absent no box is good
    assert np.bincount(samples.sequence).tolist() == [40, 40]


def test_the_limit_of_lost_bounds_the_false_ones():
    scores = np.arange(100) / 100
    for share in (0.0, 0.01, 0.055, 0.5):
        limit = choose_lost_below(scores, share)
        assert (scores < limit).mean() <= share
        assert (scores < np.nextafter(limit, 2)).mean() > share  # and it is the largest
    assert choose_lost_below(np.full(10, 0.3), 0.5) == 0.3  # equal scores are kept together
    assert choose_lost_below(scores, 1.0) == 1.0
    with pytest.raises(CalibrationError, match="in no frame"):
        choose_lost_below(np.zeros(0), 0.1)


def test_reliability_by_hand():
    found = reliability(np.array([0.05, 0.05, 0.95, 1.0]), np.array([False, True, True, True]))
    assert found.brier == pytest.approx((0.05**2 + 0.95**2 + 0.05**2) / 4)
    assert found.ece == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    assert [entry.count for entry in found.bins] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.bins[9].mean_score == pytest.approx(0.975)


def test_calibration_makes_scores_probabilities_and_keeps_the_bound():
    pairs = [made(800, seed) for seed in range(4)]
    records = [record_of(raw, good, name=f"s{index}") for index, (raw, good) in enumerate(pairs)]
    gone = record_of(
        np.random.default_rng(9).uniform(0.01, 0.15, 200), np.zeros(200, bool), np.zeros(200, bool), "gone"
    )
    fit = calibrate_score([*records, gone], false_lost=0.05)
    assert fit.frames == 3400
    assert fit.after.ece < 0.03 < fit.before.ece
    assert fit.after.brier < fit.before.brier
    assert fit.held_out is not None
    assert fit.held_out.brier == pytest.approx(fit.after.brier, abs=0.01)
    after = fit.states_after.as_dict()
    assert 0.04 < after["false_lost_rate"] <= 0.05
    assert after["true_lost_rate"] > 0.1
    assert fit.states_before.as_dict()["true_lost_rate"] == 0
    assert 0 < fit.rule.lost_below <= fit.rule.uncertain_below == 0.5


def test_one_sequence_has_nothing_held_out():
    assert calibrate_score([record_of(*made(200))]).held_out is None


def test_a_tracker_without_raw_score_is_refused():
    record = record_of(*made(200))
    record.raw_scores[5] = None
    with pytest.raises(CalibrationError, match="no raw score"):
        calibrate_score([record])


def test_the_rule_is_stored_and_nothing_else_changes(artifact, frames):
    pytest.importorskip("onnxruntime")
    before = json.loads((artifact / "edgetrack.json").read_text())
    (artifact / "notes.txt").write_text("mine")
    files = {path.name: path.read_bytes() for path in artifact.iterdir() if path.name != "edgetrack.json"}
    with edgetrack.load(artifact) as tracker:
        tracker.init(frames[0], (40, 30, 24, 24))
        raw = [tracker.core.raw_score for frame in frames[1:] if tracker.update(frame)]
    rule = ScoreRule(Calibration(30.0, -30.0 * raw[0]), 0.5, 0.125)
    store_rule(artifact, rule, {"data": ["x"]})
    after = json.loads((artifact / "edgetrack.json").read_text())
    assert after.pop(PROVENANCE) == {"data": ["x"]}
    score = {"calibration": {"slope": 30.0, "intercept": -30.0 * raw[0]}, "uncertain_below": 0.5, "lost_below": 0.125}
    before["tracker"]["score"].update(score)
    assert after == before
    assert {path.name: path.read_bytes() for path in artifact.iterdir() if path.name != "edgetrack.json"} == files
    assert sorted(path.name for path in artifact.parent.iterdir()) == [artifact.name]
    with edgetrack.load(artifact) as tracker:  # checksums and all
        tracker.init(frames[0], (40, 30, 24, 24))
        for frame, value in zip(frames[1:], raw, strict=True):
            tracker.update(frame)
            assert tracker.score == pytest.approx(rule.score_of(value), rel=1e-12)
            assert tracker.state.name == rule.state_of(tracker.score)


def test_storing_that_fails_leaves_the_artifact(artifact, monkeypatch):
    before = (artifact / "edgetrack.json").read_bytes()

    def full(source, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(score_manifest, "_copy", full)
    with pytest.raises(ArtifactError, match="disk full"):
        store_rule(artifact, ScoreRule(None, 0.5, 0.1), {})
    assert (artifact / "edgetrack.json").read_bytes() == before
    assert sorted(path.name for path in artifact.parent.iterdir()) == [artifact.name]
    read_artifact(artifact)


def test_an_artifact_without_score_is_refused(artifact):
    manifest = json.loads((artifact / "edgetrack.json").read_text())
    del manifest["tracker"]["score"]
    (artifact / "edgetrack.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="no score to calibrate"):
        store_rule(artifact, ScoreRule(None, 0.5, 0.1), {})


def test_the_rule_is_the_cores():
    rule = ScoreRule(Calibration(5.0, -2.0), 0.5, 0.25)
    assert rule.score_of(0.4) == 0.5
    assert [rule.state_of(score) for score in (0.2, 0.25, 0.49, 0.5)] == ["LOST", "UNCERTAIN", "UNCERTAIN", "TRACKING"]
    assert ScoreRule(Calibration(1e6, -1e6), 0.5, 0.1).score_of(0.0) == 0.0  # no overflow
    assert ScoreRule.of(rule.as_section()) == rule
    with pytest.raises(ArtifactError, match="is no rule"):
        ScoreRule.of({"calibration": None})
