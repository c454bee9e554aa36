// From a network's raw confidence to a score and a state, whatever the tracker's family.
#pragma once

#include <optional>

#include "edgetrack/tracker.hpp"

namespace edgetrack {

// Turns a raw confidence into a probability: 1 / (1 + exp(-(slope * raw + intercept))).
struct Calibration {
  double slope = 1;
  double intercept = 0;
};

// What a score says about its result: lost below `lost_below`, uncertain below `uncertain_below`.
struct ScoreRule {
  std::optional<Calibration> calibration;  // none: the raw confidence is the score, kept in 0..1
  double uncertain_below = 0.3;
  double lost_below = 0.1;
};

// Throws ArtifactError unless 0 <= lost_below <= uncertain_below <= 1 and the calibration is finite.
void check(const ScoreRule& rule);

// Returns the score of a raw confidence.
double score_of(double raw, const ScoreRule& rule) noexcept;

// Returns the rule whose limits lie higher by `raw`, a difference of raw confidences; they stay within 0..1.
ScoreRule moved(const ScoreRule& rule, double raw) noexcept;

// Returns the state that a score stands for.
State state_of(double score, const ScoreRule& rule) noexcept;

}  // namespace edgetrack
