// The crop by itself; that its pixels are OpenCV's is tested from Python, where OpenCV is at hand.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/crop.hpp"
#include "edgetrack/error.hpp"

namespace {

using namespace edgetrack;
using Bytes = std::vector<std::uint8_t>;

const Normalizer imagenet({0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f});

// Random bytes in a block of exactly this size, so that a sanitizer sees any read beyond it.
Bytes noise(std::size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  Bytes out(size);
  for (std::uint8_t& value : out) value = static_cast<std::uint8_t>(random());
  out.shrink_to_fit();
  return out;
}

Bytes crop_of(const ImageView& view, const Box& box, double factor = 1, int size = 24) {
  Cropper cropper(size);
  Bytes out(static_cast<std::size_t>(3 * size * size));
  cropper.crop(view, box, factor, out.data());
  return out;
}

void a_crop_of_the_same_size_is_a_copy() {
  const Bytes frame = noise(40 * 30 * 3);
  const Bytes crop = crop_of(packed_view(frame.data(), 40, 30, PixelFormat::rgb), {5, 4, 24, 24});
  for (std::ptrdiff_t y = 0; y < 24; ++y) {
    CHECK(std::memcmp(&crop[static_cast<std::size_t>(y * 72)], &frame[static_cast<std::size_t>((y + 4) * 120 + 15)],
                      72) == 0);
  }
}

void half_the_size_is_the_mean_of_four() {
  const Bytes frame = noise(60 * 60);
  const Bytes crop = crop_of(packed_view(frame.data(), 60, 60, PixelFormat::gray), {2, 6, 48, 48});
  for (std::size_t y = 0; y < 24; ++y) {
    for (std::size_t x = 0; x < 24; ++x) {
      const std::uint8_t* p = &frame[(2 * y + 6) * 60 + 2 * x + 2];
      CHECK(crop[(y * 24 + x) * 3] == (p[0] + p[1] + p[60] + p[61] + 2) / 4);
    }
  }
}

void padding_takes_the_last_column_and_row() {
  const Bytes frame(24 * 24, 9);
  const Bytes crop = crop_of(packed_view(frame.data(), 24, 24, PixelFormat::gray), {0, 0, 24, 24});
  for (std::size_t y = 0; y < 24; ++y) {
    for (std::size_t x = 0; x < 24; ++x) CHECK(crop[(y * 24 + x) * 3] == (x < 23 && y < 23 ? 9 : 0));
  }
}

// One picture in every layout: the crops are equal.
void formats_and_strides_do_not_change_the_pixels() {
  constexpr int width = 31, height = 22;
  const Bytes rgb = noise(width * height * 3);
  Bytes bgr(rgb.size()), mirrored(rgb.size()), rgba(rgb.size() / 3 * 4);
  for (std::size_t i = 0; i < width * height; ++i) {
    const std::size_t mirror = i / width * width + (width - 1 - i % width);
    for (std::size_t c = 0; c < 3; ++c) {
      bgr[3 * i + c] = rgb[3 * i + 2 - c];
      mirrored[3 * mirror + c] = rgba[4 * i + c] = rgb[3 * i + c];
    }
  }
  std::vector<ImageView> views;
  views.push_back(packed_view(bgr.data(), width, height, PixelFormat::bgr));
  views.push_back(packed_view(rgba.data(), width, height, PixelFormat::rgba));
  ImageView backwards = packed_view(bgr.data() + 2, width, height, PixelFormat::rgb);
  backwards.channel_stride = -1;
  views.push_back(backwards);
  ImageView mirror = packed_view(mirrored.data() + 3 * (width - 1), width, height, PixelFormat::rgb);
  mirror.pixel_stride = -3;
  mirror.row_stride = 3 * width;
  views.push_back(mirror);
  const ImageView plain = packed_view(rgb.data(), width, height, PixelFormat::rgb);
  for (const Box& box : {Box{3, 3, 10, 10}, Box{-9, -9, 30, 30}, Box{20, 10, 40, 40}, Box{-5, 8, 60, 3},
                         Box{29, 20, 1, 1}, Box{-50, 0, 20, 20}, Box{0, 0, 0.2, 0.2}}) {
    for (const double factor : {1.0, 4.0}) {
      const Bytes wanted = crop_of(plain, box, factor);
      for (const ImageView& view : views) CHECK(crop_of(view, box, factor) == wanted);
    }
  }
}

void nv12_is_converted() {
  Bytes frame(32 * 32 * 3 / 2, 128);
  std::fill_n(frame.begin(), 32 * 32, std::uint8_t{235});
  const ImageView view = packed_view(frame.data(), 32, 32, PixelFormat::nv12);
  const Bytes white = crop_of(view, {2, 2, 24, 24});
  CHECK(std::count(white.begin(), white.end(), 255) == static_cast<std::ptrdiff_t>(white.size()));
  std::fill_n(frame.begin(), 32 * 32, std::uint8_t{81});  // BT.601 red: Y 81, U 90, V 240
  for (std::size_t i = 32 * 32; i < frame.size(); i += 2) {
    frame[i] = 90;
    frame[i + 1] = 240;
  }
  const Bytes red = crop_of(view, {2, 2, 24, 24});
  CHECK(red[0] >= 253 && red[1] <= 1 && red[2] <= 1);
}

void normalising_is_exact() {
  const float mean[3] = {0.485f, 0.456f, 0.406f};
  const float std[3] = {0.229f, 0.224f, 0.225f};
  const Bytes frame = noise(50 * 50 * 3);
  const ImageView view = packed_view(frame.data(), 50, 50, PixelFormat::rgb);
  const Bytes crop = crop_of(view, {10, 10, 20, 15}, 4);
  Cropper cropper(24);
  std::vector<float> planes(3 * 24 * 24);
  cropper.crop(view, {10, 10, 20, 15}, 4, imagenet, planes.data());
  for (std::size_t i = 0; i < 24 * 24; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      CHECK(planes[c * 576 + i] == (static_cast<float>(crop[3 * i + c]) / 255.0f - mean[c]) / std[c]);
    }
  }
}

void spread_is_that_of_frame_pixels() {
  Cropper cropper(24);
  Bytes out(3 * 24 * 24);
  const auto spread = [&](const Bytes& frame, PixelFormat format, const Box& box) {
    return cropper.crop(packed_view(frame.data(), 40, 40, format), box, 1, out.data()).spread;
  };
  Bytes frame(40 * 40 * 3, 76);
  CHECK(spread(frame, PixelFormat::rgb, {5, 5, 24, 24}) == 0);
  CHECK(spread(frame, PixelFormat::rgb, {-5, 5, 24, 24}) == 0);   // padding does not count
  CHECK(spread(frame, PixelFormat::rgb, {20, 25, 24, 24}) == 0);  // nor the black last column and row
  CHECK(spread(frame, PixelFormat::rgb, {-50, 5, 20, 20}) == 0);  // nothing but padding
  frame[(20 * 40 + 15) * 3 + 2] = 81;
  CHECK(spread(frame, PixelFormat::rgb, {5, 5, 24, 24}) == 5);
  CHECK(spread(frame, PixelFormat::bgr, {5, 5, 24, 24}) == 5);
  frame[(20 * 40 + 17) * 3] = 70;  // another channel: not 11
  CHECK(spread(frame, PixelFormat::rgb, {5, 5, 24, 24}) == 6);
  CHECK(spread(frame, PixelFormat::rgb, {18, 5, 24, 24}) == 0);
  Bytes rgba(40 * 40 * 4, 76);
  for (std::size_t i = 3; i < rgba.size(); i += 4) rgba[i] = static_cast<std::uint8_t>(i);
  CHECK(spread(rgba, PixelFormat::bgra, {5, 5, 24, 24}) == 0);  // alpha is not a colour
}

// Every output pixel whose taps are frame pixels counts: those at the ends of a window inside the frame too.
void spread_reaches_the_ends() {
  for (const int side : {1, 2, 7, 24, 30}) {
    for (const int corner : {0, 1}) {
      Bytes frame(40 * 40, 76);
      const int at = 5 + corner * (side - 1);
      frame[static_cast<std::size_t>(at * 40 + at)] = 200;
      Cropper cropper(24);
      Bytes out(3 * 24 * 24);
      const Box box{5, 5, static_cast<double>(side), static_cast<double>(side)};
      const int spread = cropper.crop(packed_view(frame.data(), 40, 40, PixelFormat::gray), box, 1, out.data()).spread;
      const auto [low, high] = std::minmax_element(out.begin(), out.end());
      CHECK(spread == *high - *low);
      CHECK(side == 1 || spread > 60);
    }
  }
}

void blank_is_one_colour() {
  CropInfo info;
  CHECK(info.blank());
  info.spread = 1;
  CHECK(!info.blank());
}

void the_report_names_window_and_factor() {
  Cropper cropper(24);
  Bytes out(3 * 24 * 24);
  const Bytes frame = noise(40 * 40);
  const CropInfo info =
      cropper.crop(packed_view(frame.data(), 40, 40, PixelFormat::gray), {10, 12, 9, 4}, 2, out.data());
  CHECK(info.window.x1 == 8 && info.window.y1 == 8 && info.window.side == 12);
  CHECK(info.resize_factor == 2.0 && !info.blank());
}

// Whatever the window, nothing outside the frame is read (under a sanitizer) and pixels stay in their range.
void windows_anywhere_are_safe() {
  std::mt19937 random(3);
  Cropper cropper(17);
  Bytes out(3 * 17 * 17);
  for (int round = 0; round < 4000; ++round) {
    const auto format = static_cast<PixelFormat>(round % 6);
    const int even = format == PixelFormat::nv12 ? 2 : 1;
    const int width = even * (1 + static_cast<int>(random() % 12));
    const int height = even * (1 + static_cast<int>(random() % 12));
    const int pixels = width * height;
    const Bytes frame =
        noise(static_cast<std::size_t>(format == PixelFormat::nv12 ? pixels * 3 / 2 : pixels * channel_count(format)));
    const auto between = [&](double low, double high) {
      return std::uniform_real_distribution<double>(low, high)(random);
    };
    const double reach = round % 10 == 0 ? 2e8 : 30;
    const Box box{between(-reach, reach), between(-reach, reach), between(1e-3, reach), between(1e-3, reach)};
    const CropInfo info = cropper.crop(packed_view(frame.data(), width, height, format), box, 4, out.data());
    CHECK(info.window.side >= 1);
  }
}

// In every format, a frame of exactly the memory it needs: the last pixel is read, and nothing after it.
void squeezed_frames_are_safe_and_whole() {
  Cropper cropper(17);
  Bytes out(3 * 17 * 17);
  const std::pair<int, int> sizes[] = {{1, 1}, {1, 9}, {9, 1}, {2, 2}, {3, 2}, {17, 17}, {40, 30}, {5, 300}, {300, 5}};
  for (const auto& [width, height] : sizes) {
    for (const PixelFormat format : {PixelFormat::bgr, PixelFormat::rgba, PixelFormat::gray, PixelFormat::nv12}) {
      if (format == PixelFormat::nv12 && (width % 2 != 0 || height % 2 != 0)) continue;
      const auto pixels = static_cast<std::size_t>(width * height);
      const Bytes frame = noise(format == PixelFormat::nv12 ? pixels * 3 / 2
                                                            : pixels * static_cast<std::size_t>(channel_count(format)));
      const CropInfo info = cropper.squeeze(packed_view(frame.data(), width, height, format), out.data());
      CHECK(info.resize_factor == 0 && info.window.side == 0);
      CHECK(info.blank() == (pixels == 1));
    }
  }
  Bytes gray(17 * 17, 5);
  gray.back() = 250;
  const CropInfo info = cropper.squeeze(packed_view(gray.data(), 17, 17, PixelFormat::gray), out.data());
  CHECK(info.spread == 245 && out.back() == 250 && out[3 * 17 * 17 - 4] == 5);
  std::vector<float> planes(3 * 17 * 17);
  cropper.squeeze(packed_view(gray.data(), 17, 17, PixelFormat::gray), imagenet, planes.data());
  CHECK(planes.back() == imagenet.table(2)[250] && planes.front() == imagenet.table(0)[5]);
  CHECK_THROWS(cropper.squeeze(ImageView{}, out.data()), InputError);
}

void a_crop_allocates_nothing() {
  const Bytes frame = noise(64 * 48 * 3);
  const ImageView view = packed_view(frame.data(), 64, 48, PixelFormat::bgr);
  Cropper cropper(24);
  std::vector<float> planes(3 * 24 * 24);
  const std::size_t before = allocation_count;
  for (int i = 0; i < 20; ++i) cropper.crop(view, {3.0 * i, 5, 2.0 + i, 9}, 4, imagenet, planes.data());
  CHECK(allocation_count == before);
}

void wrong_arguments_are_refused() {
  for (const int size : {0, -1, 4097}) CHECK_THROWS(Cropper(size), ArtifactError);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS(Normalizer({nan, 0, 0}, {1, 1, 1}), ArtifactError);
  CHECK_THROWS(Normalizer({0, 0, 0}, {1, 0, 1}), ArtifactError);
  CHECK_THROWS(Normalizer({0, 0, 0}, {1, 1, -1}), ArtifactError);
  CHECK_THROWS(Normalizer({0, 0, 0}, {1, nan, 1}), ArtifactError);
  const Bytes frame = noise(12);
  const ImageView view = packed_view(frame.data(), 2, 2, PixelFormat::rgb);
  CHECK_THROWS(crop_of(ImageView{}, {0, 0, 1, 1}), InputError);
  CHECK_THROWS(crop_of(view, {0, 0, 0, 1}), InputError);
  CHECK_THROWS(crop_of(view, {0, 0, 1e12, 1e12}), InputError);
}

}  // namespace

int main() {
  a_crop_of_the_same_size_is_a_copy();
  half_the_size_is_the_mean_of_four();
  padding_takes_the_last_column_and_row();
  formats_and_strides_do_not_change_the_pixels();
  nv12_is_converted();
  normalising_is_exact();
  spread_is_that_of_frame_pixels();
  spread_reaches_the_ends();
  blank_is_one_colour();
  the_report_names_window_and_factor();
  windows_anywhere_are_safe();
  squeezed_frames_are_safe_and_whole();
  a_crop_allocates_nothing();
  wrong_arguments_are_refused();
  return failures;
}
