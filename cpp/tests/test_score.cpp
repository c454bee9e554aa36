// Scores and states, whatever the tracker.
#include <cmath>

#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/score.hpp"

namespace {

using namespace edgetrack;

ScoreRule limits(double uncertain_below, double lost_below) { return {std::nullopt, uncertain_below, lost_below}; }

void states_follow_the_limits() {
  const ScoreRule rule = limits(0.5, 0.25);
  CHECK(state_of(0.2, rule) == State::lost);
  CHECK(state_of(0.25, rule) == State::uncertain);
  CHECK(state_of(0.4, rule) == State::uncertain);
  CHECK(state_of(0.5, rule) == State::tracking);
  CHECK(state_of(0, limits(0, 0)) == State::tracking);
}

void calibration_is_a_logistic_curve() {
  ScoreRule rule;
  CHECK(score_of(0.7, rule) == 0.7);
  rule.calibration = Calibration{4, -2};
  CHECK_NEAR(score_of(0.5, rule), 0.5, 1e-15);
  CHECK_NEAR(score_of(1, rule), 1 / (1 + std::exp(-2.0)), 1e-15);
}

void wrong_rules_are_refused() {
  check(ScoreRule{});
  check(limits(1, 1));
  const double nan = std::nan("");
  for (const ScoreRule& rule : {limits(1.5, 0), limits(0.3, 0.4), limits(0.3, -0.1), limits(nan, 0), limits(1, nan)}) {
    CHECK_THROWS(check(rule), ArtifactError);
  }
  ScoreRule rule;
  rule.calibration = Calibration{nan, 0};
  CHECK_THROWS(check(rule), ArtifactError);
  rule.calibration = Calibration{1, HUGE_VAL};
  CHECK_THROWS(check(rule), ArtifactError);
}

void limits_move_with_the_raw_confidence() {
  const ScoreRule plain = moved(limits(0.5, 0.25), 0.125);
  CHECK(plain.uncertain_below == 0.625 && plain.lost_below == 0.375);
  const ScoreRule high = moved(limits(0.5, 0.25), 0.75);
  CHECK(high.uncertain_below == 1 && high.lost_below == 1);
  const ScoreRule low = moved(limits(0.5, 0.25), -0.375);
  CHECK(low.uncertain_below == 0.125 && low.lost_below == 0);
  ScoreRule curved = limits(score_of(0.4, {Calibration{4, -2}}), 0);
  curved.calibration = Calibration{4, -2};
  CHECK_NEAR(moved(curved, 0.25).uncertain_below, score_of(0.65, curved), 1e-12);
  CHECK(moved(curved, 0.25).lost_below == 0 && moved(curved, 0).uncertain_below == curved.uncertain_below);
  curved.uncertain_below = 1;
  CHECK(moved(curved, -0.25).uncertain_below == 1);
}

}  // namespace

int main() {
  states_follow_the_limits();
  calibration_is_a_logistic_curve();
  wrong_rules_are_refused();
  limits_move_with_the_raw_confidence();
  return failures;
}
