// Looking for NaN and infinity. Internal to the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgetrack {

// Whether none of `count` values is NaN or infinite. Tests exponent bits as integers: unlike float comparisons,
// this vectorises.
inline bool all_finite(const float* values, std::size_t count) noexcept {
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, values + i, sizeof bits);
    bad |= static_cast<std::uint32_t>((bits & 0x7F800000U) == 0x7F800000U);
  }
  return bad == 0;
}

}  // namespace edgetrack
