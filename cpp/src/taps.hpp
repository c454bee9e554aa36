// Where the pixels of a resized image come from, as cv::resize plans it. Internal to the library.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace edgetrack {

inline constexpr float weight_one = 2048;  // OpenCV's INTER_RESIZE_COEF_SCALE

// Where an output row or column comes from: a source position within the window (its second tap is the next
// one) and the weights of both, in 1/2048.
struct Tap {
  int first = 0;
  std::int16_t weight0 = 0;
  std::int16_t weight1 = 0;
};

// Fills an axis as cv::resize does for INTER_LINEAR with 8-bit pixels: the coordinate is rounded to float32
// before it is split, each weight is rounded on its own.
inline void plan_axis(std::vector<Tap>& axis, int side) {
  const double scale = 1.0 / (static_cast<double>(axis.size()) / side);
  for (std::size_t i = 0; i < axis.size(); ++i) {
    const auto position = static_cast<float>((static_cast<double>(i) + 0.5) * scale - 0.5);
    const float floor = std::floor(position);
    const float fraction = position - floor;
    axis[i].first = static_cast<int>(floor);
    axis[i].weight0 = static_cast<std::int16_t>(std::nearbyint((1.0f - fraction) * weight_one));
    axis[i].weight1 = static_cast<std::int16_t>(std::nearbyint(fraction * weight_one));
  }
}

// Columns beyond the window's ends are the border column with full weight. (Rows beyond them are the border
// row twice, with both weights, which truncation makes a different thing: see Scratch::source_rows.)
inline void clamp_columns(std::vector<Tap>& columns, int side) {
  for (Tap& tap : columns) {
    if (tap.first < 0 || tap.first >= side - 1) {
      tap = {std::clamp(tap.first, 0, side - 1), static_cast<std::int16_t>(weight_one), 0};
    }
  }
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
