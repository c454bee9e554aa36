#include "edgetrack/crop.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "edgetrack/error.hpp"
#include "pixels.hpp"
#include "spread.hpp"
#include "taps.hpp"

namespace edgetrack {
namespace {

using namespace pixels;

constexpr int max_size = 4096;

// Blends the two taps of every pixel, see kernels::blended_columns. pairs: pair_bytes for
// each output pixel, its taps `gap` bytes apart; weights: eight numbers for each, (first, second) in every
// lane. count: output pixels, even.
void blend_columns(const std::uint8_t* pairs, std::ptrdiff_t gap, const std::int16_t* weights, std::size_t count,
                   std::int16_t* out) {
#ifdef __SSE2__
  // Compilers do not find the one instruction that fits, and this is the hottest loop.
  const auto load = [](const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); };
  const __m128i zero = _mm_setzero_si128();
  const __m128i gap_bits = _mm_cvtsi32_si128(static_cast<int>(8 * gap));
  for (std::size_t i = 0; i < count; i += 2, pairs += 2 * pair_bytes, weights += 4 * lanes, out += 2 * lanes) {
    const __m128i first = load(pairs);
    const __m128i second = _mm_srl_epi64(first, gap_bits);
    const __m128i pixel0 = _mm_unpacklo_epi8(_mm_unpacklo_epi8(first, second), zero);
    const __m128i pixel1 = _mm_unpacklo_epi8(_mm_unpackhi_epi8(first, second), zero);
    const __m128i sum0 = _mm_madd_epi16(pixel0, load(weights));
    const __m128i sum1 = _mm_madd_epi16(pixel1, load(weights + 2 * lanes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_packs_epi32(_mm_srai_epi32(sum0, 4), _mm_srai_epi32(sum1, 4)));
  }
#else
  for (std::size_t i = 0; i < count; ++i, pairs += pair_bytes, weights += 2 * lanes, out += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const auto [weight0, weight1] = std::array{weights[2 * lane], weights[2 * lane + 1]};
      out[lane] = kernels::blended_columns(pairs[lane], pairs[lane + gap], weight0, weight1);
    }
  }
#endif
}

// Blends two rows, see kernels::blended_rows.
void blend_rows(const std::int16_t* row0, const std::int16_t* row1, std::int16_t weight0, std::int16_t weight1,
                std::size_t count, std::uint8_t* out) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = kernels::blended_rows(row0[i], row1[i], weight0, weight1);
  }
}

void require_host(const ImageView& view) {
  if (view.memory != Memory::host) {
    throw InputError("the frame lies in a device's memory, where this crop cannot read it; pass it in host memory");
  }
}

}  // namespace

CropInfo crop_info(const Box& box, double factor, int size) {
  CropInfo info;
  info.window = crop_window(box, factor);
  info.resize_factor = static_cast<double>(size) / info.window.side;
  return info;
}

Normalizer::Normalizer(const std::array<float, 3>& mean, const std::array<float, 3>& std)
    : mean_(mean), stddev_(std), table_{} {
  for (std::size_t channel = 0; channel < 3; ++channel) {
    if (!std::isfinite(mean[channel]) || !std::isfinite(std[channel]) || !(std[channel] > 0)) {
      throw ArtifactError("normalisation mean " + std::to_string(mean[channel]) + ", std " +
                          std::to_string(std[channel]) +
                          " is unusable: give a finite mean and a positive std for each of three channels");
    }
    for (std::size_t value = 0; value < 256; ++value) {
      table_[channel][value] = kernels::normalized(static_cast<int>(value), mean[channel], std[channel]);
    }
  }
}

// Everything between the frame and the output, made once per Cropper and refilled by every crop.
struct Cropper::Scratch {
  struct Row {
    int source = -1;                  // row within the window; -1: none
    std::vector<std::int16_t> lanes;  // resized along the columns
  };

  explicit Scratch(std::size_t size)
      : count((size + 1) / 2 * 2),
        rows(size),
        column_taps(size),
        columns(size),
        weights(2 * lanes * count),
        pairs(pair_bytes * count),
        bytes(lanes * count),
        meter(bytes.size()) {
    for (Row& row : blended) row.lanes.resize(lanes * count);
  }

  // Prepares a crop; whatever lies outside the frame stays black.
  void plan(const ImageView& view, const CropWindow& at) {
    plan(view, {at.x1, at.y1, at.side, at.side}, real_pixels(at.x1, at.side, view.width),
         real_pixels(at.y1, at.side, view.height));
  }

  // Prepares the whole frame.
  void plan(const ImageView& view) { plan(view, {0, 0, view.width, view.height}, {0, view.width}, {0, view.height}); }

  // Prepares an area, of which some columns and rows are real pixels.
  void plan(const ImageView& view, const Area& at, Range columns_in_frame, Range rows_in_frame) {
    area = at;
    real_rows = rows_in_frame;
    plan_axis(rows, at.height);
    plan_columns(view, columns_in_frame);
    std::fill(pairs.begin(), pairs.end(), std::uint8_t{0});
    is_packed = PackedPixel::fits(view);
    gap = is_packed ? channel_count(view.format) : static_cast<std::ptrdiff_t>(lanes);
    order = is_packed ? PackedPixel::order(view) : Order{0, 1, 2};
    meter.clear();
    blended[0].source = blended[1].source = -1;
  }

  void plan_columns(const ImageView& view, Range real) {
    plan_axis(column_taps, area.width);
    clamp_columns(column_taps, area.width);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const Tap& tap = column_taps[i];
      columns[i] = area.x + tap.first;
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        weights[2 * (lanes * i + lane)] = tap.weight0;
        weights[2 * (lanes * i + lane) + 1] = tap.weight1;
      }
    }
    first_real = second_real = inside = Range{};
    paired_end = 0;
    if (real.begin < real.end) {
      first_real = positions_inside(columns, real);
      second_real = positions_inside(columns, {real.begin - 1, real.end - 1});
      const int before_last = positions_inside(columns, {real.begin, std::min(real.end - 1, view.width - 2)}).end;
      paired_end = std::clamp(before_last, first_real.begin, std::max(first_real.begin, second_real.end));
      inside = {first_real.begin, std::max(first_real.begin, second_real.end)};
      // A second tap without weight may lie anywhere.
      while (inside.end < first_real.end && column_taps[static_cast<std::size_t>(inside.end)].weight1 == 0)
        ++inside.end;
    }
  }

  // Reads what the output columns need of a row. At the ends of the real pixels some columns have one tap
  // there only.
  template <class Pixel>
  void read_row(const Pixel pixel) {
    constexpr std::ptrdiff_t step = pair_bytes;
    const int* column = columns.data();
    std::uint8_t* out = pairs.data();
    for (int i = second_real.begin; i < first_real.begin; ++i) {
      pixel.read(column[i] + 1, out + i * step + pixel.gap);
    }
    for (int i = first_real.begin; i < paired_end; ++i) pixel.read_pair(column[i], out + i * step);
    for (int i = paired_end; i < second_real.end; ++i) {
      pixel.read(column[i], out + i * step);
      pixel.read(column[i] + 1, out + i * step + pixel.gap);
    }
    for (int i = second_real.end; i < first_real.end; ++i) pixel.read(column[i], out + i * step);
  }

  void read_row(const ImageView& view, int row) {
    if (is_packed) {
      read_row(PackedPixel(view, row));
    } else if (view.format == PixelFormat::gray) {
      read_row(GrayPixel(view, row));
    } else if (view.format == PixelFormat::nv12) {
      read_row(Nv12Pixel(view, row));
    } else {
      read_row(ScatteredPixel(view, row));
    }
  }

  // Returns the window's row `source`, resized along the columns. Of the two rows that are kept it replaces
  // the one that is not `needed` beside it.
  const std::int16_t* resized_row(const ImageView& view, int source, int needed) {
    for (const Row& row : blended) {
      if (row.source == source) return row.lanes.data();
    }
    Row& row = blended[0].source == needed ? blended[1] : blended[0];
    row.source = source;
    if (real_rows.contains(area.y + source)) {
      read_row(view, area.y + source);
      blend_columns(pairs.data(), gap, weights.data(), count, row.lanes.data());
    } else {
      std::fill(row.lanes.begin(), row.lanes.end(), std::int16_t{0});
    }
    return row.lanes.data();
  }

  // Returns the two window rows that an output row is made of.
  std::array<int, 2> source_rows(const Tap& tap) const {
    return {kernels::first_row(tap, area.height), kernels::second_row(tap, area.height)};
  }

  // Computes one output row into `bytes`.
  void render_row(const ImageView& view, std::size_t position) {
    const Tap& tap = rows[position];
    const auto [first, second] = source_rows(tap);
    const std::int16_t* row0 = resized_row(view, first, second);
    const std::int16_t* row1 = resized_row(view, second, first);
    blend_rows(row0, row1, tap.weight0, tap.weight1, bytes.size(), bytes.data());
  }

  // Takes the row in `bytes` into the spread, if it is made of frame pixels alone.
  void note_row(std::size_t position) {
    const auto [first, second] = source_rows(rows[position]);
    if (real_rows.contains(area.y + first) && real_rows.contains(area.y + second)) meter.add(bytes.data());
  }

  std::size_t count;  // output columns, rounded up for vectors
  Area area;
  Range real_rows;
  std::vector<Tap> rows;
  std::vector<Tap> column_taps;
  std::vector<int> columns;           // first tap of every output column, in the frame
  std::vector<std::int16_t> weights;  // of both taps, for every lane of every output column
  Range first_real;                   // output columns whose first tap is a real pixel
  Range second_real;                  // the same for the second tap
  int paired_end = 0;                 // up to here both taps are read at once: beyond, that would leave the frame
  Range inside;                       // output columns made of real pixels alone
  std::vector<std::uint8_t> pairs;    // both taps of every output column, in one row
  std::ptrdiff_t gap = lanes;         // bytes between them
  bool is_packed = false;
  Order order{};
  std::array<Row, 2> blended;
  std::vector<std::uint8_t> bytes;
  SpreadMeter meter;
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

// Computes what was planned and returns its spread. sink(row) takes every output row from scratch_->bytes.
template <class Sink>
int Cropper::render(const ImageView& view, const Sink& sink) {
  for (int row = 0; row < size_; ++row) {
    scratch_->render_row(view, static_cast<std::size_t>(row));
    scratch_->note_row(static_cast<std::size_t>(row));
    sink(row);
  }
  return scratch_->meter.spread(scratch_->order, scratch_->inside.begin, scratch_->inside.end);
}

template <class Sink>
CropInfo Cropper::run(const ImageView& view, const Box& box, double factor, const Sink& sink) {
  check(view);
  require_host(view);
  CropInfo info = crop_info(box, factor, size_);
  scratch_->plan(view, info.window);
  info.spread = render(view, sink);
  return info;
}

template <class Sink>
CropInfo Cropper::run_whole(const ImageView& view, const Sink& sink) {
  check(view);
  require_host(view);
  CropInfo info;
  scratch_->plan(view);
  info.spread = render(view, sink);
  return info;
}

void Cropper::write(std::ptrdiff_t row, std::uint8_t* rgb) const {
  const auto [red, green, blue] = scratch_->order;
  const std::uint8_t* in = scratch_->bytes.data();
  std::uint8_t* out = rgb + row * size_ * 3;
  for (int i = 0; i < size_; ++i, in += lanes, out += 3) {
    out[0] = in[red];
    out[1] = in[green];
    out[2] = in[blue];
  }
}

void Cropper::write(std::ptrdiff_t row, const Normalizer& normalizer, float* planes) const {
  const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(size_) * size_;
  const auto [red, green, blue] = scratch_->order;
  const std::uint8_t* in = scratch_->bytes.data();
  const float* tables[3] = {normalizer.table(0), normalizer.table(1), normalizer.table(2)};
  float* out = planes + row * size_;
  for (int i = 0; i < size_; ++i, in += lanes, ++out) {
    out[0] = tables[0][in[red]];
    out[plane] = tables[1][in[green]];
    out[2 * plane] = tables[2][in[blue]];
  }
}

CropInfo Cropper::crop(const ImageView& view, const Box& box, double factor, std::uint8_t* rgb) {
  return run(view, box, factor, [&](std::ptrdiff_t row) { write(row, rgb); });
}

CropInfo Cropper::crop(const ImageView& view, const Box& box, double factor, const Normalizer& normalizer,
                       float* planes) {
  return run(view, box, factor, [&](std::ptrdiff_t row) { write(row, normalizer, planes); });
}

CropInfo Cropper::squeeze(const ImageView& view, std::uint8_t* rgb) {
  return run_whole(view, [&](std::ptrdiff_t row) { write(row, rgb); });
}

CropInfo Cropper::squeeze(const ImageView& view, const Normalizer& normalizer, float* planes) {
  return run_whole(view, [&](std::ptrdiff_t row) { write(row, normalizer, planes); });
}

}  // namespace edgetrack
