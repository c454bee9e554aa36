// The arithmetic of a crop, for one output pixel, in C++ that the host's compiler and NVIDIA's runtime compiler (NVRTC)
// both take. The host's crop and the kernel in crop.cu get every number from here, so they cannot drift apart.
//
// Neither side may fuse multiplications and additions: -ffp-contract=off there, --fmad=false here.
#pragma once

#ifdef __CUDACC__
#define EDGETRACK_ANYWHERE __host__ __device__
#else
#include <cmath>
#define EDGETRACK_ANYWHERE
#endif

namespace edgetrack {

// Where an output row or column comes from: a source position within the window (its second tap is the next
// one) and the weights of both, in 1/2048.
struct Tap {
  int first = 0;
  short weight0 = 0;
  short weight1 = 0;
};

// All that a crop depends on, beside the pixels. Addresses are of the side that computes; strides are in bytes. Passed
// to a kernel by value, as bytes: plain fixed-size members only.
struct CropTask {
  const unsigned char* data;    // the top-left pixel (nv12: its luma)
  const unsigned char* chroma;  // nv12: U of the top-left 2x2 block, V one chroma_stride after it; else null
  long long row_stride;
  long long pixel_stride;
  long long channel[3];  // from a pixel to its red, green and blue; unused by nv12
  long long chroma_row_stride;
  long long chroma_stride;
  double column_step;  // source pixels for each output pixel
  double row_step;
  int x, y, width, height;       // the source area, which may reach outside the frame
  int left, right, top, bottom;  // half-open: columns and rows that are pixels; all else is black
  int size;                      // side of the output
  float mean[3];                 // per RGB channel, of values in 0..1
  float stddev[3];
};

namespace kernels {

constexpr float weight_one = 2048;  // OpenCV's INTER_RESIZE_COEF_SCALE

EDGETRACK_ANYWHERE inline int clamped(int value, int low, int high) {
  return value < low ? low : value > high ? high : value;
}

// Returns the source pixels for each output pixel of an axis, in OpenCV's order of operations.
EDGETRACK_ANYWHERE inline double axis_step(int size, int side) { return 1.0 / (static_cast<double>(size) / side); }

// Returns what cv::resize plans for INTER_LINEAR with 8-bit pixels: the coordinate is rounded to float32 before it is
// split, each weight is rounded on its own. `first` may lie one before or beyond the axis.
EDGETRACK_ANYWHERE inline Tap tap_at(int position, double step) {
#ifndef __CUDACC__
  using std::floor;
  using std::nearbyint;
#endif
  const auto source = static_cast<float>((static_cast<double>(position) + 0.5) * step - 0.5);
  const float whole = floor(source);
  const float fraction = source - whole;
  Tap tap;
  tap.first = static_cast<int>(whole);
  tap.weight0 = static_cast<short>(nearbyint((1.0f - fraction) * weight_one));
  tap.weight1 = static_cast<short>(nearbyint(fraction * weight_one));
  return tap;
}

// Columns beyond the window's ends are the border column with full weight. (Rows beyond them are the border row twice,
// with both weights, which truncation makes a different thing: see second_row.)
EDGETRACK_ANYWHERE inline Tap clamped_column(Tap tap, int side) {
  if (tap.first < 0 || tap.first >= side - 1) {
    tap.first = clamped(tap.first, 0, side - 1);
    tap.weight0 = static_cast<short>(weight_one);
    tap.weight1 = 0;
  }
  return tap;
}

// The two window rows that an output row is made of.
EDGETRACK_ANYWHERE inline int first_row(const Tap& tap, int side) { return clamped(tap.first, 0, side - 1); }
EDGETRACK_ANYWHERE inline int second_row(const Tap& tap, int side) {
  return clamped(tap.weight1 == 0 ? tap.first : tap.first + 1, 0, side - 1);
}

// Blends two pixels of a row; OpenCV drops four bits before the second pass.
EDGETRACK_ANYWHERE inline short blended_columns(int first, int second, int weight0, int weight1) {
  return static_cast<short>((first * weight0 + second * weight1) >> 4);
}

// Blends two rows: OpenCV truncates each product to 16 bits before it rounds the sum.
EDGETRACK_ANYWHERE inline unsigned char blended_rows(int row0, int row1, int weight0, int weight1) {
  return static_cast<unsigned char>((((weight0 * row0) >> 16) + ((weight1 * row1) >> 16) + 2) >> 2);
}

// Converts a pixel as cv2.cvtColor(COLOR_YUV2RGB_NV12) does: BT.601 video range in 20-bit fixed point.
EDGETRACK_ANYWHERE inline void yuv_to_rgb(int luma, int u, int v, unsigned char* rgb) {
  const int y = (luma < 16 ? 0 : luma - 16) * 1220542 + (1 << 19);
  const int levels[3] = {y + 1673527 * (v - 128), y - 852492 * (v - 128) - 409993 * (u - 128), y + 2116026 * (u - 128)};
  for (int channel = 0; channel < 3; ++channel) {
    rgb[channel] = static_cast<unsigned char>(clamped(levels[channel] >> 20, 0, 255));
  }
}

// Returns the network's input for one value of a channel.
EDGETRACK_ANYWHERE inline float normalized(int value, float mean, float stddev) {
  return (static_cast<float>(value) / 255.0f - mean) / stddev;
}

// Reads one pixel of the frame as red, green, blue.
EDGETRACK_ANYWHERE inline void read_pixel(const CropTask& task, int column, int row, unsigned char* rgb) {
  const unsigned char* pixel = task.data + row * task.row_stride + column * task.pixel_stride;
  if (task.chroma != nullptr) {
    const unsigned char* pair = task.chroma + (row / 2) * task.chroma_row_stride + (column & ~1) * task.chroma_stride;
    yuv_to_rgb(pixel[0], pair[0], pair[task.chroma_stride], rgb);
    return;
  }
  for (int channel = 0; channel < 3; ++channel) rgb[channel] = pixel[task.channel[channel]];
}

// Computes one pixel of the crop and says whether it is made of frame pixels alone.
EDGETRACK_ANYWHERE inline bool crop_pixel(const CropTask& task, int column, int row, unsigned char* rgb) {
  const Tap across = clamped_column(tap_at(column, task.column_step), task.width);
  const Tap down = tap_at(row, task.row_step);
  const int columns[2] = {task.x + across.first, task.x + across.first + 1};
  const int rows[2] = {task.y + first_row(down, task.height), task.y + second_row(down, task.height)};
  const bool real_column[2] = {columns[0] >= task.left && columns[0] < task.right,
                               columns[1] >= task.left && columns[1] < task.right};
  const bool real_row[2] = {rows[0] >= task.top && rows[0] < task.bottom, rows[1] >= task.top && rows[1] < task.bottom};
  int lines[2][3];
  for (int r = 0; r < 2; ++r) {
    unsigned char pixels[2][3] = {{0, 0, 0}, {0, 0, 0}};
    for (int c = 0; c < 2; ++c) {
      if (real_row[r] && real_column[c]) read_pixel(task, columns[c], rows[r], pixels[c]);
    }
    for (int channel = 0; channel < 3; ++channel) {
      lines[r][channel] = blended_columns(pixels[0][channel], pixels[1][channel], across.weight0, across.weight1);
    }
  }
  for (int channel = 0; channel < 3; ++channel) {
    rgb[channel] = blended_rows(lines[0][channel], lines[1][channel], down.weight0, down.weight1);
  }
  return real_row[0] && real_row[1] && real_column[0] && (real_column[1] || across.weight1 == 0);
}

// Writes one pixel of the crop, normalised, to float32 RGB planes (3, size, size).
EDGETRACK_ANYWHERE inline void write_pixel(const CropTask& task, int column, int row, const unsigned char* rgb,
                                           float* planes) {
  const long long plane = static_cast<long long>(task.size) * task.size;
  float* out = planes + static_cast<long long>(row) * task.size + column;
  for (int channel = 0; channel < 3; ++channel) {
    out[channel * plane] = normalized(rgb[channel], task.mean[channel], task.stddev[channel]);
  }
}

}  // namespace kernels
}  // namespace edgetrack
