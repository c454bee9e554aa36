#include "edgetrack/geometry.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

#include "edgetrack/error.hpp"

namespace edgetrack {
namespace {

std::string describe(const Box& box) {
  std::ostringstream text;
  text << "box (" << box.x << ", " << box.y << ", " << box.w << ", " << box.h << ")";
  return text.str();
}

void check_shape(const Box& box) {
  if (!std::isfinite(box.x) || !std::isfinite(box.y) || !std::isfinite(box.w) || !std::isfinite(box.h)) {
    throw InputError(describe(box) + " is not finite: give (x, y, w, h) in pixels");
  }
  if (!(box.w > 0 && box.h > 0)) {
    throw InputError(describe(box) + " has no area: give (x, y, w, h) with a positive width and height");
  }
}

// One axis of clip_box: moves the near edge first, then the far one.
void clip_axis(double& start, double& length, double frame_side, double margin) {
  margin = std::min(margin, frame_side);
  double stop = start + length;
  start = std::min(std::max(0.0, start), frame_side - margin);
  stop = std::min(std::max(margin, stop), frame_side);
  length = std::max(margin, stop - start);
}

}  // namespace

CropWindow crop_window(const Box& box, double factor) {
  check_shape(box);
  const double side = std::ceil(std::sqrt(box.w * box.h) * factor);
  const double x1 = std::nearbyint(box.x + 0.5 * box.w - 0.5 * side);
  const double y1 = std::nearbyint(box.y + 0.5 * box.h - 0.5 * side);
  if (!(side >= 1)) {
    throw InputError(describe(box) + " is too small to crop: its area times the square of the factor must exceed 0");
  }
  if (!(std::max({side, std::abs(x1), std::abs(y1)}) <= max_window_coordinate)) {
    throw InputError(describe(box) + " is too large or too far away to crop: keep its numbers below 1e8");
  }
  return {static_cast<int>(x1), static_cast<int>(y1), static_cast<int>(side)};
}

Box place_box(const std::array<float, 4>& centre_size, const Box& state, double resize_factor, int search_size) {
  const auto size = static_cast<float>(search_size);
  const auto factor = static_cast<float>(resize_factor);
  // Multiplied first and truly divided: another order costs a float32 rounding, up to 1e-4 px.
  const auto scaled = [&](float v) { return static_cast<double>(v * size / factor); };
  const auto [crop_x, crop_y, crop_w, crop_h] = centre_size;
  const double w = scaled(crop_w);
  const double h = scaled(crop_h);
  const double half_crop = 0.5 * search_size / resize_factor;
  const double cx = scaled(crop_x) + (state.x + 0.5 * state.w - half_crop);
  const double cy = scaled(crop_y) + (state.y + 0.5 * state.h - half_crop);
  return {cx - 0.5 * w, cy - 0.5 * h, w, h};
}

Box place_box_in_frame(const std::array<float, 4>& centre_size, int width, int height, int size) {
  const double across = static_cast<double>(size) / width;
  const double down = static_cast<double>(size) / height;
  const auto scaled = [&](float v) { return static_cast<double>(v * static_cast<float>(size)); };
  const auto [cx, cy, w, h] = centre_size;
  const double box_w = scaled(w) / across;
  const double box_h = scaled(h) / down;
  return {scaled(cx) / across - 0.5 * box_w, scaled(cy) / down - 0.5 * box_h, box_w, box_h};
}

Box map_box(const std::array<float, 4>& corners, const Box& state, double resize_factor, int search_size) {
  const auto [left, top, right, bottom] = corners;
  const float w = right - left;
  const float h = bottom - top;
  return place_box({left + 0.5f * w, top + 0.5f * h, w, h}, state, resize_factor, search_size);
}

Box clip_box(const Box& box, int height, int width, double margin) {
  Box out = box;
  clip_axis(out.x, out.w, width, margin);
  clip_axis(out.y, out.h, height, margin);
  return out;
}

void check_box(const Box& box, int width, int height) {
  check_shape(box);
  if (!(box.x < width && box.y < height && box.x + box.w > 0 && box.y + box.h > 0)) {
    throw InputError(describe(box) + " lies outside the " + std::to_string(width) + "x" + std::to_string(height) +
                     " frame: give a box that overlaps it");
  }
}

}  // namespace edgetrack
