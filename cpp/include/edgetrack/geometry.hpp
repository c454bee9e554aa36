// Boxes and crop windows: where to look, and how a crop's coordinates map back to the frame.
#pragma once

#include <array>

namespace edgetrack {

// A box in frame pixels: top-left corner (0-based) and size.
struct Box {
  double x = 0;
  double y = 0;
  double w = 0;
  double h = 0;
};

// The square of source pixels columns x1 .. x1+side-1, rows y1 .. y1+side-1; may reach outside the frame.
struct CropWindow {
  int x1 = 0;
  int y1 = 0;
  int side = 0;
};

// The largest |x1|, |y1| and side of a window: x1 + side cannot overflow.
inline constexpr int max_window_coordinate = 1'000'000'000;

// Returns the square around `box` whose side is ceil(sqrt(w h) factor), centred with rounding half to even,
// in float64 (as FARTrack and the trackers before it sample a target). Throws InputError when the box is not
// finite, its size is not positive, or the window is smaller than a pixel or beyond max_window_coordinate.
CropWindow crop_window(const Box& box, double factor);

// Maps a centre and size (cx, cy, w, h; 0..1 spans the search crop) to a box in frame pixels.
// state: the box the search crop was centred on; resize_factor: crop pixels per frame pixel; search_size:
// side of the crop in its own pixels. Scaled in float32, moved in float64, as published (OSTrack).
Box place_box(const std::array<float, 4>& centre_size, const Box& state, double resize_factor, int search_size);

// Maps a centre and size (cx, cy, w, h; 0..1 spans the frame) to a box in frame pixels, when the whole frame of width x
// height was squeezed into a square of `size` pixels. In the published order of operations (MVLM).
Box place_box_in_frame(const std::array<float, 4>& centre_size, int width, int height, int size);

// Maps normalised corners (x1, y1, x2, y2; 0..1 spans the search crop) to a box in frame pixels.
// Corners are combined in float32, then placed as place_box does. Inverted corners give a negative size, which clip_box
// turns into `margin`.
Box map_box(const std::array<float, 4>& corners, const Box& state, double resize_factor, int search_size);

// Keeps a box at least `margin` pixels wide and high and at least `margin` pixels inside the frame, in the
// order of operations of the published trackers. Along a side of the frame shorter than `margin` the box covers
// that side; there alone the published code differs, whose box then leaves the frame.
Box clip_box(const Box& box, int height, int width, double margin);

// Throws InputError unless the box is finite, has a positive size and shares some area with the frame.
void check_box(const Box& box, int width, int height);

}  // namespace edgetrack
