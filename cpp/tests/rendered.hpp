// The arithmetic of a crop's kernel on the host, one pixel after another.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "edgetrack/kernels/crop.hpp"

namespace {

// Returns the spread (see CropInfo) of the six numbers that the kernel gives.
inline int spread_of(const std::array<int, 6>& ends) {
  int widest = 0;
  for (std::size_t c = 0; c < 3; ++c) widest = std::max(widest, ends[2 * c] + ends[2 * c + 1] - 255);
  return widest;
}

// Does what the kernel does, without its threads.
inline std::array<int, 6> rendered_ends(const edgetrack::CropTask& task, float* planes) {
  std::array<int, 6> ends{};
  for (int row = 0; row < task.size; ++row) {
    for (int column = 0; column < task.size; ++column) {
      unsigned char rgb[3];
      const bool is_real = edgetrack::kernels::crop_pixel(task, column, row, rgb);
      edgetrack::kernels::write_pixel(task, column, row, rgb, planes);
      for (std::size_t c = 0; is_real && c < 3; ++c) {
        ends[2 * c] = std::max(ends[2 * c], 255 - rgb[c]);
        ends[2 * c + 1] = std::max<int>(ends[2 * c + 1], rgb[c]);
      }
    }
  }
  return ends;
}

inline int rendered(const edgetrack::CropTask& task, float* planes) { return spread_of(rendered_ends(task, planes)); }

}  // namespace
