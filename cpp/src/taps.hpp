// Where the pixels of a resized image come from, as cv::resize plans it. Internal to the library.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "edgetrack/kernels/crop.hpp"

namespace edgetrack {

// Fills an axis as cv::resize does for INTER_LINEAR with 8-bit pixels.
inline void plan_axis(std::vector<Tap>& axis, int side) {
  const double step = kernels::axis_step(static_cast<int>(axis.size()), side);
  for (std::size_t i = 0; i < axis.size(); ++i) axis[i] = kernels::tap_at(static_cast<int>(i), step);
}

inline void clamp_columns(std::vector<Tap>& columns, int side) {
  for (Tap& tap : columns) tap = kernels::clamped_column(tap, side);
}

// A half-open range of integers.
struct Range {
  int begin = 0;
  int end = 0;

  bool contains(int value) const { return value >= begin && value < end; }
};

// A rectangle of source pixels, which may reach outside the frame.
struct Area {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;
};

// Returns the source positions of one axis that are real pixels. The published padding counts one too many at
// the far border: the frame's last column (row) is black in every crop that reaches it.
inline Range real_pixels(int start, int side, int frame_side) {
  const int stop = start + side;
  return {std::max(0, start), stop >= frame_side ? frame_side - 1 : stop};
}

// Returns the output positions whose (ascending) source columns lie on real pixels.
inline Range positions_inside(const std::vector<int>& columns, Range real) {
  const auto at = [&](int bound) {
    return static_cast<int>(std::lower_bound(columns.begin(), columns.end(), bound) - columns.begin());
  };
  return {at(real.begin), at(real.end)};
}

}  // namespace edgetrack
