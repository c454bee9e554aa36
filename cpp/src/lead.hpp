// By how much a decision was taken. Internal to the library.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

namespace edgetrack {

// Returns the largest of `count` finite values minus the second largest; infinity for one value, 0 for equal ones.
inline float lead_of(const float* values, std::size_t count) noexcept {
  float best = -std::numeric_limits<float>::infinity();
  float second = best;
  for (std::size_t i = 0; i < count; ++i) {
    second = std::max(second, std::min(best, values[i]));
    best = std::max(best, values[i]);
  }
  return best - second;
}

}  // namespace edgetrack
