#include "edgetrack/score.hpp"

#include <algorithm>
#include <cmath>

#include "require.hpp"

namespace edgetrack {

void check(const ScoreRule& rule) {
  require(rule.uncertain_below >= 0 && rule.uncertain_below <= 1, "score.uncertain_below", rule.uncertain_below,
          "0 to 1");
  require(rule.lost_below >= 0 && rule.lost_below <= rule.uncertain_below, "score.lost_below", rule.lost_below,
          "0 or more, and at most score.uncertain_below");
  if (!rule.calibration) return;
  const auto [slope, intercept] = *rule.calibration;
  require(std::isfinite(slope), "score.calibration.slope", slope, "finite");
  require(std::isfinite(intercept), "score.calibration.intercept", intercept, "finite");
}

double score_of(double raw, const ScoreRule& rule) noexcept {
  if (!rule.calibration) return std::clamp(raw, 0.0, 1.0);
  return 1 / (1 + std::exp(-(rule.calibration->slope * raw + rule.calibration->intercept)));
}

ScoreRule moved(const ScoreRule& rule, double raw) noexcept {
  if (raw == 0) return rule;
  const auto limit = [&](double score) {
    if (!rule.calibration) return std::clamp(score + raw, 0.0, 1.0);
    // What a calibrated score of `score` has in the exponent; infinite at the ends, which stay where they are.
    const double inner = std::log(score) - std::log1p(-score);
    return 1 / (1 + std::exp(-(inner + rule.calibration->slope * raw)));
  };
  return {rule.calibration, limit(rule.uncertain_below), limit(rule.lost_below)};
}

State state_of(double score, const ScoreRule& rule) noexcept {
  if (score < rule.lost_below) return State::lost;
  return score < rule.uncertain_below ? State::uncertain : State::tracking;
}

}  // namespace edgetrack
