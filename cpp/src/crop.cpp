#include "edgetrack/crop.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "edgetrack/error.hpp"

namespace edgetrack {
namespace {

constexpr int max_size = 4096;
constexpr float weight_one = 2048;  // OpenCV's INTER_RESIZE_COEF_SCALE

// One axis of the resize: for every output position two source positions within the window, and their weights.
struct Axis {
  explicit Axis(std::size_t size) : first(size), second(size), weight0(size), weight1(size) {}

  std::vector<int> first;
  std::vector<int> second;
  std::vector<float> weight0;  // whole numbers, in 1/2048
  std::vector<float> weight1;
};

// Fills an axis as cv::resize does for INTER_LINEAR with 8-bit pixels. At the ends cv::resize treats the axes
// differently: columns get the border pixel with full weight, rows get it twice with both (truncated) weights.
void plan_axis(Axis& axis, int side, bool is_columns) {
  const std::size_t size = axis.first.size();
  const double scale = 1.0 / (static_cast<double>(size) / side);
  for (std::size_t i = 0; i < size; ++i) {
    const float position = static_cast<float>((static_cast<double>(i) + 0.5) * scale - 0.5);
    const float floor = std::floor(position);
    const int source = static_cast<int>(floor);
    float fraction = position - floor;
    if (is_columns && (source < 0 || source >= side - 1)) {
      fraction = 0;
    }
    axis.first[i] = std::clamp(source, 0, side - 1);
    axis.second[i] = std::clamp(source + 1, 0, side - 1);
    axis.weight0[i] = std::nearbyint((1.0f - fraction) * weight_one);
    axis.weight1[i] = std::nearbyint(fraction * weight_one);
  }
}

// A half-open range of integers.
struct Range {
  int begin = 0;
  int end = 0;

  bool contains(int value) const { return value >= begin && value < end; }
};

// Returns the source positions of one axis that are real pixels. The published padding counts one too many at the far
// border: the frame's last column (row) is black in every crop that reaches it.
Range real_pixels(int start, int side, int frame_side) {
  const int stop = start + side;
  return {std::max(0, start), stop >= frame_side ? frame_side - 1 : stop};
}

// Returns the output positions whose (ascending) source positions, moved by `start`, lie on real pixels.
Range positions_inside(const std::vector<int>& source, int start, Range real) {
  const auto at = [&](int bound) {
    return static_cast<int>(std::lower_bound(source.begin(), source.end(), bound - start) - source.begin());
  };
  const int begin = at(real.begin);
  return {begin, std::max(begin, at(real.end))};
}

// Where red, green and blue lie in a pixel that was read into 32 bits.
struct Shifts {
  int red = 0;
  int green = 8;
  int blue = 16;
};

std::uint32_t pack(unsigned red, unsigned green, unsigned blue) { return red | green << 8 | blue << 16; }

bool is_blue_first(PixelFormat format) { return format == PixelFormat::bgr || format == PixelFormat::bgra; }

// Reads neighbouring channels with one 32-bit load.
struct WordPixel {
  // Whether a 4-byte load serves. It may touch one byte of the neighbour on the right, which always exists: the last
  // column is never read (see real_pixels).
  static bool fits(const ImageView& view) {
    return channel_count(view.format) >= 3 && std::abs(view.channel_stride) == 1 &&
           std::abs(view.pixel_stride) >= channel_count(view.format);
  }

  // Returns the load's first byte, counted from a pixel's first channel.
  static std::ptrdiff_t offset(const ImageView& view) {
    const int channels = channel_count(view.format);
    const std::ptrdiff_t lowest = view.channel_stride > 0 ? 0 : 1 - channels;
    return channels == 3 && view.pixel_stride < 0 ? lowest - 1 : lowest;
  }

  static Shifts shifts(const ImageView& view) {
    const auto shift = [&](int channel) { return static_cast<int>(8 * (channel * view.channel_stride - offset(view))); };
    return is_blue_first(view.format) ? Shifts{shift(2), shift(1), shift(0)} : Shifts{shift(0), shift(1), shift(2)};
  }

  WordPixel(const ImageView& view, int row)
      : base(view.data + row * view.row_stride + offset(view)), stride(view.pixel_stride) {}

  std::uint32_t operator()(int column) const {
    const std::uint8_t* p = base + column * stride;
    return p[0] | static_cast<std::uint32_t>(p[1]) << 8 | static_cast<std::uint32_t>(p[2]) << 16 |
           static_cast<std::uint32_t>(p[3]) << 24;
  }

  const std::uint8_t* base;
  std::ptrdiff_t stride;
};

// Reads three channels that lie anywhere.
struct ScatteredPixel {
  ScatteredPixel(const ImageView& view, int row)
      : base(view.data + row * view.row_stride),
        stride(view.pixel_stride),
        red((is_blue_first(view.format) ? 2 : 0) * view.channel_stride),
        green(view.channel_stride),
        blue((is_blue_first(view.format) ? 0 : 2) * view.channel_stride) {}

  std::uint32_t operator()(int column) const {
    const std::uint8_t* p = base + column * stride;
    return pack(p[red], p[green], p[blue]);
  }

  const std::uint8_t* base;
  std::ptrdiff_t stride, red, green, blue;
};

struct GrayPixel {
  GrayPixel(const ImageView& view, int row) : base(view.data + row * view.row_stride), stride(view.pixel_stride) {}

  std::uint32_t operator()(int column) const {
    const unsigned value = base[column * stride];
    return pack(value, value, value);
  }

  const std::uint8_t* base;
  std::ptrdiff_t stride;
};

// Converts a pixel as cv2.cvtColor(COLOR_YUV2RGB_NV12) does: BT.601 video range in 20-bit fixed point.
struct Nv12Pixel {
  Nv12Pixel(const ImageView& view, int row)
      : luma(view.data + row * view.row_stride),
        luma_stride(view.pixel_stride),
        chroma(view.chroma + (row / 2) * view.chroma_row_stride),
        chroma_stride(view.chroma_stride) {}

  std::uint32_t operator()(int column) const {
    const std::uint8_t* pair = chroma + (column & ~1) * chroma_stride;
    const int u = pair[0] - 128;
    const int v = pair[chroma_stride] - 128;
    const int y = std::max(0, luma[column * luma_stride] - 16) * 1220542 + (1 << 19);
    const auto level = [](int value) { return static_cast<unsigned>(std::clamp(value >> 20, 0, 255)); };
    return pack(level(y + 1673527 * v), level(y - 852492 * v - 409993 * u), level(y + 2116026 * u));
  }

  const std::uint8_t* luma;
  std::ptrdiff_t luma_stride;
  const std::uint8_t* chroma;
  std::ptrdiff_t chroma_stride;
};

template <class Pixel>
void read_pixels(const Pixel& pixel, const int* columns, Range range, int start, std::uint32_t* out) {
  for (int i = range.begin; i < range.end; ++i) {
    out[i] = pixel(start + columns[i]);
  }
}

// Blends one channel's taps. Products stay below 2^20, so float32 is exact, and unlike 32-bit integer products it
// vectorises on every processor. OpenCV drops four bits before the second pass.
void blend_columns(const std::uint32_t* left, const std::uint32_t* right, const Axis& axis, int shift, int size,
                   std::int16_t* out) {
  const float* weight0 = axis.weight0.data();
  const float* weight1 = axis.weight1.data();
  for (int i = 0; i < size; ++i) {
    const auto a = static_cast<float>(static_cast<int>(left[i] >> shift & 255u));
    const auto b = static_cast<float>(static_cast<int>(right[i] >> shift & 255u));
    out[i] = static_cast<std::int16_t>(static_cast<int>(a * weight0[i] + b * weight1[i]) >> 4);
  }
}

// Blends two rows: OpenCV truncates each product to 16 bits before it rounds the sum.
void blend_rows(const std::int16_t* row0, const std::int16_t* row1, int weight0, int weight1, int count,
                std::uint8_t* out) {
  const auto w0 = static_cast<std::int16_t>(weight0);
  const auto w1 = static_cast<std::int16_t>(weight1);
  for (int i = 0; i < count; ++i) {
    out[i] = static_cast<std::uint8_t>((((w0 * row0[i]) >> 16) + ((w1 * row1[i]) >> 16) + 2) >> 2);
  }
}

bool all_equal(const std::uint8_t* values, int count, std::uint8_t wanted) {
  unsigned difference = 0;
  for (int i = 0; i < count; ++i) {
    difference |= static_cast<unsigned>(values[i] ^ wanted);
  }
  return difference == 0;
}

}  // namespace

Normalizer::Normalizer(const std::array<float, 3>& mean, const std::array<float, 3>& std) : table_{} {
  for (std::size_t channel = 0; channel < 3; ++channel) {
    if (!std::isfinite(mean[channel]) || !std::isfinite(std[channel]) || !(std[channel] > 0)) {
      throw ArtifactError("normalisation mean " + std::to_string(mean[channel]) + ", std " +
                          std::to_string(std[channel]) +
                          " is unusable: give a finite mean and a positive std for each of three channels");
    }
    for (std::size_t value = 0; value < 256; ++value) {
      table_[channel][value] = (static_cast<float>(value) / 255.0f - mean[channel]) / std[channel];
    }
  }
}

// Everything between the frame and the output, made once per Cropper and refilled by every crop.
struct Cropper::Scratch {
  struct Row {
    int source = -1;                   // row within the window, -1: none
    std::vector<std::int16_t> planes;  // red, green, blue, each resized along the columns
  };

  explicit Scratch(std::size_t size)
      : columns(size), rows(size), left(size), right(size), bytes(3 * size) {
    for (Row& row : blended) {
      row.planes.resize(3 * size);
    }
  }

  // Prepares a crop; whatever lies outside the frame stays black.
  void plan(const ImageView& view, const CropWindow& at) {
    window = at;
    plan_axis(columns, at.side, true);
    plan_axis(rows, at.side, false);
    real_rows = real_pixels(at.y1, at.side, view.height);
    const Range real_columns = real_pixels(at.x1, at.side, view.width);
    left_range = positions_inside(columns.first, at.x1, real_columns);
    right_range = positions_inside(columns.second, at.x1, real_columns);
    std::fill(left.begin(), left.end(), 0u);
    std::fill(right.begin(), right.end(), 0u);
    is_word = WordPixel::fits(view);
    shifts = is_word ? WordPixel::shifts(view) : Shifts{};
    blended[0].source = blended[1].source = -1;
  }

  template <class Pixel>
  void read_row(const Pixel& pixel) {
    read_pixels(pixel, columns.first.data(), left_range, window.x1, left.data());
    read_pixels(pixel, columns.second.data(), right_range, window.x1, right.data());
  }

  void read_row(const ImageView& view, int row) {
    if (is_word) {
      read_row(WordPixel(view, row));
    } else if (view.format == PixelFormat::gray) {
      read_row(GrayPixel(view, row));
    } else if (view.format == PixelFormat::nv12) {
      read_row(Nv12Pixel(view, row));
    } else {
      read_row(ScatteredPixel(view, row));
    }
  }

  // Returns the window's row `source`, resized along the columns. The other of the two kept rows is replaced when it
  // is not `needed` too.
  const std::int16_t* row_planes(const ImageView& view, int source, int needed) {
    for (const Row& row : blended) {
      if (row.source == source) {
        return row.planes.data();
      }
    }
    Row& row = blended[0].source == needed ? blended[1] : blended[0];
    row.source = source;
    if (real_rows.contains(window.y1 + source)) {
      read_row(view, window.y1 + source);
      const int size = static_cast<int>(left.size());
      blend_columns(left.data(), right.data(), columns, shifts.red, size, row.planes.data());
      blend_columns(left.data(), right.data(), columns, shifts.green, size, row.planes.data() + size);
      blend_columns(left.data(), right.data(), columns, shifts.blue, size, row.planes.data() + 2 * size);
    } else {
      std::fill(row.planes.begin(), row.planes.end(), std::int16_t{0});
    }
    return row.planes.data();
  }

  // Computes one output row into `bytes`: red, green and blue, size values each.
  void render_row(const ImageView& view, std::size_t row) {
    const auto weight0 = static_cast<int>(rows.weight0[row]);
    const auto weight1 = static_cast<int>(rows.weight1[row]);
    const int first = rows.first[row];
    const int second = weight1 == 0 ? first : rows.second[row];
    const std::int16_t* planes0 = row_planes(view, first, second);
    const std::int16_t* planes1 = row_planes(view, second, first);
    blend_rows(planes0, planes1, weight0, weight1, static_cast<int>(bytes.size()), bytes.data());
  }

  CropWindow window;
  Axis columns;
  Axis rows;
  Range real_rows;
  Range left_range;   // output columns whose first tap is a real pixel
  Range right_range;  // the same for the second tap
  std::vector<std::uint32_t> left;
  std::vector<std::uint32_t> right;
  bool is_word = false;
  Shifts shifts;
  std::array<Row, 2> blended;
  std::vector<std::uint8_t> bytes;
};

Cropper::Cropper(int size) : size_(size) {
  if (size < 1 || size > max_size) {
    throw ArtifactError("crop size " + std::to_string(size) + " px is unusable: give 1 to " + std::to_string(max_size));
  }
  scratch_ = std::make_unique<Scratch>(static_cast<std::size_t>(size));
}

Cropper::~Cropper() = default;
Cropper::Cropper(Cropper&&) noexcept = default;
Cropper& Cropper::operator=(Cropper&&) noexcept = default;

// sink(row, bytes) takes every output row's red, green and blue values in turn.
template <class Sink>
CropInfo Cropper::run(const ImageView& view, const Box& box, double factor, const Sink& sink) {
  check(view);
  CropInfo info;
  info.window = crop_window(box, factor);
  info.resize_factor = static_cast<double>(size_) / info.window.side;
  info.constant = true;
  scratch_->plan(view, info.window);
  const std::uint8_t* bytes = scratch_->bytes.data();
  std::array<std::uint8_t, 3> colour{};
  for (int row = 0; row < size_; ++row) {
    scratch_->render_row(view, static_cast<std::size_t>(row));
    if (row == 0) {
      colour = {bytes[0], bytes[size_], bytes[2 * size_]};
    }
    for (std::size_t channel = 0; channel < 3 && info.constant; ++channel) {
      info.constant = all_equal(bytes + static_cast<std::ptrdiff_t>(channel) * size_, size_, colour[channel]);
    }
    sink(row, bytes);
  }
  return info;
}

CropInfo Cropper::crop(const ImageView& view, const Box& box, double factor, std::uint8_t* rgb) {
  return run(view, box, factor, [&](std::ptrdiff_t row, const std::uint8_t* bytes) {
    std::uint8_t* out = rgb + row * size_ * 3;
    for (int i = 0; i < size_; ++i) {
      out[3 * i] = bytes[i];
      out[3 * i + 1] = bytes[size_ + i];
      out[3 * i + 2] = bytes[2 * size_ + i];
    }
  });
}

CropInfo Cropper::crop(const ImageView& view, const Box& box, double factor, const Normalizer& normalizer,
                       float* planes) {
  return run(view, box, factor, [&](std::ptrdiff_t row, const std::uint8_t* bytes) {
    for (int channel = 0; channel < 3; ++channel) {
      const float* table = normalizer.table(channel);
      const std::uint8_t* in = bytes + channel * size_;
      float* out = planes + (channel * static_cast<std::ptrdiff_t>(size_) + row) * size_;
      for (int i = 0; i < size_; ++i) {
        out[i] = table[in[i]];
      }
    }
  });
}

}  // namespace edgetrack
