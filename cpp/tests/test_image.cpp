// Frame views: formats, packing, and what is refused.
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/image.hpp"

namespace {

using namespace edgetrack;

void formats_have_names_and_channels() {
  CHECK(parse_format("bgr") == PixelFormat::bgr && channel_count(PixelFormat::bgr) == 3);
  CHECK(parse_format("rgb") == PixelFormat::rgb && channel_count(PixelFormat::rgb) == 3);
  CHECK(parse_format("gray") == PixelFormat::gray && channel_count(PixelFormat::gray) == 1);
  CHECK(parse_format("bgra") == PixelFormat::bgra && channel_count(PixelFormat::bgra) == 4);
  CHECK(parse_format("rgba") == PixelFormat::rgba && channel_count(PixelFormat::rgba) == 4);
  CHECK(parse_format("nv12") == PixelFormat::nv12 && channel_count(PixelFormat::nv12) == 1);
  for (const char* name : {"", "BGR", "bgr ", "yuv", "rgb24"}) CHECK_THROWS(parse_format(name), InputError);
  CHECK_THROWS(channel_count(static_cast<PixelFormat>(99)), InputError);
}

void packed_views_follow_the_layout() {
  const std::vector<std::uint8_t> memory(64 * 48 * 4);
  const ImageView bgr = packed_view(memory.data(), 64, 48, PixelFormat::bgr);
  CHECK(bgr.pixel_stride == 3 && bgr.row_stride == 192 && bgr.channel_stride == 1);
  const ImageView gaps = packed_view(memory.data(), 40, 48, PixelFormat::rgba, 256);
  CHECK(gaps.pixel_stride == 4 && gaps.row_stride == 256);
  const ImageView nv12 = packed_view(memory.data(), 64, 48, PixelFormat::nv12, 80);
  CHECK(nv12.pixel_stride == 1 && nv12.row_stride == 80);
  CHECK(nv12.chroma == memory.data() + 48 * 80 && nv12.chroma_row_stride == 80 && nv12.chroma_stride == 1);
  for (const ImageView& view : {bgr, gaps, nv12}) check(view);
}

void unusable_views_are_refused() {
  const std::uint8_t pixel = 0;
  const auto of_size = [&](int width, int height) { return packed_view(&pixel, width, height, PixelFormat::gray); };
  check(of_size(1, 1));
  check(of_size(max_frame_side, max_frame_side));
  CHECK_THROWS(check(ImageView{}), InputError);
  CHECK_THROWS(check(of_size(0, 1)), InputError);
  CHECK_THROWS(check(of_size(1, -1)), InputError);
  CHECK_THROWS(check(of_size(max_frame_side + 1, 1)), InputError);
  CHECK_THROWS(check(of_size(1, max_frame_side + 1)), InputError);
  CHECK_THROWS(check(packed_view(nullptr, 4, 4, PixelFormat::rgb)), InputError);
}

void nv12_needs_even_sides_and_chroma() {
  const std::vector<std::uint8_t> memory(64);
  CHECK_THROWS(check(packed_view(memory.data(), 5, 4, PixelFormat::nv12)), InputError);
  CHECK_THROWS(check(packed_view(memory.data(), 4, 3, PixelFormat::nv12)), InputError);
  ImageView view = packed_view(memory.data(), 4, 4, PixelFormat::nv12);
  view.chroma = nullptr;
  CHECK_THROWS(check(view), InputError);
}

}  // namespace

int main() {
  formats_have_names_and_channels();
  packed_views_follow_the_layout();
  unusable_views_are_refused();
  nv12_needs_even_sides_and_chroma();
  return failures;
}
