#include "edgetrack/margin_gate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "finite.hpp"
#include "require.hpp"

namespace edgetrack {
namespace {

constexpr float union_floor = 1e-12F;
constexpr float none = -std::numeric_limits<float>::infinity();

float tanh_of(float value) noexcept { return static_cast<float>(std::tanh(static_cast<double>(value))); }

const GateSpec& checked(const GateSpec& spec) {
  check(spec);
  return spec;
}

}  // namespace

void check(const GateSpec& spec) {
  require(spec.alpha >= 0 && spec.alpha <= 1, "gate.alpha", spec.alpha, "0 to 1");
  for (const Threshold& threshold : thresholds) {
    const double value = spec.*threshold.value;
    const std::string name = std::string("gate.") + threshold.name;
    require(threshold.allows(value), name.c_str(), value, threshold.least < 0 ? "-1 to 1" : "0 to 1");
  }
}

MarginGate::MarginGate(const GateSpec& spec, std::size_t count)
    : spec_(checked(spec)),
      left_(count),
      top_(count),
      right_(count),
      bottom_(count),
      area_(count),
      margins_(count),
      past_(count),
      next_(count),
      confidences_(count) {}

void MarginGate::set_spec(const GateSpec& spec) { spec_ = checked(spec); }

bool MarginGate::read(const Candidates& candidates) noexcept {
  if (!all_finite(candidates.cls, count()) || !all_finite(candidates.boxes, 4 * count()) ||
      !all_finite(candidates.sims, count())) {
    return false;
  }
  seen_ = candidates;
  find_corners();
  find_margins();
  choose();
  return true;
}

void MarginGate::find_corners() noexcept {
  for (std::size_t i = 0; i < count(); ++i) {
    const auto [cx, cy, w, h] = target(i);
    left_[i] = cx - w / 2;
    top_[i] = cy - h / 2;
    right_[i] = cx + w / 2;
    bottom_[i] = cy + h / 2;
    area_[i] = (right_[i] - left_[i]) * (bottom_[i] - top_[i]);
  }
}

void MarginGate::find_margins() noexcept {
  const std::size_t n = count();
  const auto psi = static_cast<float>(spec_.psi);
  const auto alpha = static_cast<float>(spec_.alpha);
  const auto rest = static_cast<float>(1 - spec_.alpha);
  const float least_sim = *std::min_element(seen_.sims, seen_.sims + n);
  const float least_cls = *std::min_element(seen_.cls, seen_.cls + n);
  for (std::size_t i = 0; i < n; ++i) {
    float rival_sim = none;
    float rival_cls = none;
    for (std::size_t j = 0; j < n; ++j) {
      const float wide = std::max(std::min(right_[i], right_[j]) - std::max(left_[i], left_[j]), 0.0F);
      const float high = std::max(std::min(bottom_[i], bottom_[j]) - std::max(top_[i], top_[j]), 0.0F);
      const float both = wide * high;
      const bool elsewhere = both / (area_[i] + area_[j] - both + union_floor) <= psi && j != i;
      rival_sim = std::max(rival_sim, elsewhere ? seen_.sims[j] : none);
      rival_cls = std::max(rival_cls, elsewhere ? seen_.cls[j] : none);
    }
    if (rival_sim == none) {  // it overlaps all others
      rival_sim = least_sim;
      rival_cls = least_cls;
    }
    margins_[i] = alpha * tanh_of(seen_.sims[i] - rival_sim) + rest * tanh_of(seen_.cls[i] - rival_cls);
  }
}

void MarginGate::choose() noexcept {
  const auto now_weight = static_cast<float>(1 - spec_.lambda);
  const auto past_weight = static_cast<float>(spec_.lambda);
  const auto margin_weight = static_cast<float>(1 - spec_.omega);
  const auto memory_weight = static_cast<float>(spec_.omega);
  tau_ = spec_.tau;
  const auto tau = static_cast<float>(tau_);
  selected_ = best_ = 0;
  std::size_t of_all = 0;
  for (std::size_t i = 0; i < count(); ++i) {
    next_[i] = has_past_ ? now_weight * margins_[i] + past_weight * past_[i] : margins_[i];
    confidences_[i] = margin_weight * margins_[i] + memory_weight * next_[i];
    if (seen_.cls[i] > seen_.cls[of_all]) of_all = i;
    if (!(confidences_[i] >= tau)) continue;
    if (selected_ == 0 || seen_.cls[i] > seen_.cls[best_]) best_ = i;
    ++selected_;
  }
  if (selected_ == 0) best_ = of_all;
}

void MarginGate::remember() noexcept {
  past_ = next_;
  has_past_ = true;
}

double MarginGate::lead() const noexcept {
  const auto behind = [&](std::size_t i) { return static_cast<double>(seen_.cls[best_] - seen_.cls[i]); };
  const auto below = [&](std::size_t i) { return tau_ - static_cast<double>(confidences_[i]); };
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < count(); ++i) {
    if (i == best_) continue;
    // Without a confident box another one must score higher or become confident; else it must do both.
    least = std::min(least, selected_ == 0 ? std::min(behind(i), below(i)) : std::max(behind(i), below(i)));
  }
  return selected_ == 0 ? least : std::min(least, -below(best_));
}

std::array<float, 4> MarginGate::target(std::size_t cell) const noexcept {
  const float* box = seen_.boxes + 4 * cell;
  return {box[0], box[1], box[2], box[3]};
}

}  // namespace edgetrack
