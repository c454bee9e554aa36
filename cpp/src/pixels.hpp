// Reading single pixels of any format out of a view, for the crop's inner loop. Internal to the library.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "edgetrack/image.hpp"
#include "edgetrack/kernels/crop.hpp"

namespace edgetrack::pixels {

inline constexpr std::size_t lanes = 4;       // bytes kept per pixel: three channels and one that means nothing
inline constexpr std::size_t pair_bytes = 8;  // bytes kept for the two source pixels of an output pixel

// The lanes that hold red, green and blue.
using Order = std::array<int, 3>;

inline bool is_blue_first(PixelFormat format) { return format == PixelFormat::bgr || format == PixelFormat::bgra; }

// Copies pixels that lie side by side with their channels side by side, as they are: one load for both taps.
struct PackedPixel {
  static bool fits(const ImageView& view) {
    const int channels = channel_count(view.format);
    return channels >= 3 && view.pixel_stride == channels && std::abs(view.channel_stride) == 1;
  }

  static Order order(const ImageView& view) {
    const int last = channel_count(view.format) - 1;
    const auto lane = [&](int channel) { return view.channel_stride > 0 ? channel : last - channel; };
    return is_blue_first(view.format) ? Order{lane(2), lane(1), lane(0)} : Order{lane(0), lane(1), lane(2)};
  }

  PackedPixel(const ImageView& view, int row)
      : gap(channel_count(view.format)),
        base(view.data + row * view.row_stride + (view.channel_stride > 0 ? 0 : 1 - gap)) {}

  void read(int column, std::uint8_t* out) const { std::copy_n(base + column * gap, gap, out); }

  // With three channels the load takes in two bytes of the next pixel, which always exists: the frame's last
  // column is never read (see real_pixels).
  void read_pair(int column, std::uint8_t* out) const { std::memcpy(out, base + column * gap, pair_bytes); }

  std::ptrdiff_t gap;  // bytes from a pixel to the next one, in the frame and in the output
  const std::uint8_t* base;
};

// A pixel that is read by itself: read_pair puts two of them `gap` bytes apart.
template <class Pixel>
struct SinglePixel {
  static constexpr std::ptrdiff_t gap = lanes;

  void read_pair(int column, std::uint8_t* out) const {
    const auto& pixel = static_cast<const Pixel&>(*this);
    pixel.read(column, out);
    pixel.read(column + 1, out + gap);
  }
};

// Reads three channels that lie anywhere, into red, green, blue.
struct ScatteredPixel : SinglePixel<ScatteredPixel> {
  ScatteredPixel(const ImageView& view, int row)
      : base(view.data + row * view.row_stride),
        stride(view.pixel_stride),
        red((is_blue_first(view.format) ? 2 : 0) * view.channel_stride),
        green(view.channel_stride),
        blue((is_blue_first(view.format) ? 0 : 2) * view.channel_stride) {}

  void read(int column, std::uint8_t* out) const {
    const std::uint8_t* pixel = base + column * stride;
    out[0] = pixel[red];
    out[1] = pixel[green];
    out[2] = pixel[blue];
  }

  const std::uint8_t* base;
  std::ptrdiff_t stride, red, green, blue;
};

struct GrayPixel : SinglePixel<GrayPixel> {
  GrayPixel(const ImageView& view, int row) : base(view.data + row * view.row_stride), stride(view.pixel_stride) {}

  void read(int column, std::uint8_t* out) const { out[0] = out[1] = out[2] = base[column * stride]; }

  const std::uint8_t* base;
  std::ptrdiff_t stride;
};

struct Nv12Pixel : SinglePixel<Nv12Pixel> {
  Nv12Pixel(const ImageView& view, int row)
      : luma(view.data + row * view.row_stride),
        luma_stride(view.pixel_stride),
        chroma(view.chroma + (row / 2) * view.chroma_row_stride),
        chroma_stride(view.chroma_stride) {}

  void read(int column, std::uint8_t* out) const {
    const std::uint8_t* pair = chroma + (column & ~1) * chroma_stride;
    kernels::yuv_to_rgb(luma[column * luma_stride], pair[0], pair[chroma_stride], out);
  }

  const std::uint8_t* luma;
  std::ptrdiff_t luma_stride;
  const std::uint8_t* chroma;
  std::ptrdiff_t chroma_stride;
};

}  // namespace edgetrack::pixels
