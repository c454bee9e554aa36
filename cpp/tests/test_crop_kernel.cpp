// The GPU's crop, run on the host as it is written, against the host's own crop: bit for bit.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "check.hpp"
#include "cuda_on_host.hpp"
#include "edgetrack/crop.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/kernels/crop.cu"
#include "rendered.hpp"

namespace {

using namespace edgetrack;
using Bytes = std::vector<std::uint8_t>;
using Planes = std::vector<float>;

const Normalizer imagenet({0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f});
constexpr std::array formats{PixelFormat::bgr,  PixelFormat::rgb,  PixelFormat::gray,
                             PixelFormat::bgra, PixelFormat::rgba, PixelFormat::nv12};

// A frame in memory of exactly its size, so that a sanitizer sees any read beyond it.
struct Frame {
  Bytes bytes;
  ImageView view;
};

int between(std::mt19937& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }

// Turns a view around so that the same bytes are read from another corner.
void flip(ImageView& view, bool upside_down, bool mirrored, bool channels_swapped) {
  if (upside_down) {
    view.data += (view.height - 1) * view.row_stride;
    view.row_stride = -view.row_stride;
  }
  if (mirrored) {
    view.data += (view.width - 1) * view.pixel_stride;
    view.pixel_stride = -view.pixel_stride;
  }
  if (channels_swapped && channel_count(view.format) == 3) {
    view.data += 2 * view.channel_stride;
    view.channel_stride = -view.channel_stride;
  }
}

// few: the pixels have one of this many values; 1 makes a frame of one colour.
Frame random_frame(std::mt19937& random, PixelFormat format, int few) {
  const int width = 2 * between(random, 1, 40);
  const int height = 2 * between(random, 1, 30);
  const int bytes_across = width * channel_count(format) + 3 * between(random, 0, 1);
  const int rows = format == PixelFormat::nv12 ? height * 3 / 2 : height;
  Frame frame;
  frame.bytes.resize(static_cast<std::size_t>(bytes_across * rows));
  for (std::uint8_t& value : frame.bytes) value = static_cast<std::uint8_t>(between(random, 0, few - 1) + 256 - few);
  frame.view = packed_view(frame.bytes.data(), width, height, format, bytes_across);
  if (format != PixelFormat::nv12) {
    flip(frame.view, between(random, 0, 1) == 1, between(random, 0, 1) == 1, between(random, 0, 1) == 1);
  }
  return frame;
}

// A box anywhere, with whole numbers half of the time: windows that end exactly at a border are the delicate ones.
Box random_box(std::mt19937& random, const ImageView& view) {
  const double step = between(random, 0, 1) == 1 ? 1 : 0.37;
  const auto number = [&](int low, int high) { return step * between(random, low, high); };
  return {number(-view.width, 2 * view.width), number(-view.height, 2 * view.height), number(1, 2 * view.width),
          number(1, 2 * view.height)};
}

int launched(const CropTask& task, float* planes, Dim3 block) {
  const auto blocks = [&](unsigned side) { return (static_cast<unsigned>(task.size) + side - 1) / side; };
  std::array<int, 6> ends{};
  cuda_on_host::launch({blocks(block.x), blocks(block.y)}, block, [&] { edgetrack_crop(task, planes, ends.data()); });
  return spread_of(ends);
}

bool same_bits(const Planes& left, const Planes& right) {
  return std::memcmp(left.data(), right.data(), left.size() * sizeof(float)) == 0;
}

// A random crop, or squeeze, by the host; work(task, planes) is to give the same values and spread.
template <class Work>
void compare(std::mt19937& random, const Work& work) {
  const PixelFormat format = formats[static_cast<std::size_t>(between(random, 0, 5))];
  const Frame frame = random_frame(random, format, between(random, 0, 4) == 0 ? between(random, 1, 3) : 256);
  const int size = between(random, 1, 48);
  Cropper cropper(size);
  Planes expected(static_cast<std::size_t>(3 * size * size), -1);
  Planes planes(expected.size(), 1);
  if (between(random, 0, 3) == 0) {
    const CropInfo info = cropper.squeeze(frame.view, imagenet, expected.data());
    CHECK(work(squeeze_task(frame.view, size, imagenet), planes.data()) == info.spread);
  } else {
    const Box box = random_box(random, frame.view);
    const double factor = between(random, 1, 8) * 0.5;
    const CropInfo info = cropper.crop(frame.view, box, factor, imagenet, expected.data());
    const CropInfo same = crop_info(box, factor, size);
    CHECK(same.resize_factor == info.resize_factor);
    CHECK(work(crop_task(frame.view, same.window, size, imagenet), planes.data()) == info.spread);
  }
  CHECK(same_bits(planes, expected));
}

void every_pixel_and_the_spread_are_those_of_the_host() {
  std::mt19937 random(1);
  for (int i = 0; i < 4000; ++i) compare(random, rendered);
}

void so_they_are_from_the_kernel_whatever_its_blocks() {
  std::mt19937 random(2);
  for (const Dim3 block : {Dim3{6, 1}, Dim3{8, 4}, Dim3{5, 3}}) {
    for (int i = 0; i < 12; ++i) {
      compare(random, [&](const CropTask& task, float* planes) { return launched(task, planes, block); });
    }
  }
}

void sizes_of_published_trackers() {
  std::mt19937 random(3);
  const Frame frame = random_frame(random, PixelFormat::bgr, 256);
  for (const int size : {112, 128, 192, 224, 256, 384}) {
    for (const double side : {3.0, 20.5, 61.0, 200.0}) {
      const Box box{frame.view.width * 0.3, frame.view.height * 0.4, side, 0.7 * side};
      Cropper cropper(size);
      Planes expected(static_cast<std::size_t>(3 * size * size));
      Planes planes(expected.size());
      const CropInfo info = cropper.crop(frame.view, box, 4, imagenet, expected.data());
      CHECK(rendered(crop_task(frame.view, info.window, size, imagenet), planes.data()) == info.spread);
      CHECK(same_bits(planes, expected));
    }
  }
}

void what_a_device_holds_is_not_read_here() {
  Frame frame{Bytes(12), {}};
  frame.view = packed_view(frame.bytes.data(), 2, 2, PixelFormat::bgr);
  frame.view.memory = Memory::device;
  Cropper cropper(4);
  Planes planes(48);
  CHECK_THROWS(cropper.crop(frame.view, {0, 0, 2, 2}, 1, imagenet, planes.data()), InputError);
  CHECK_THROWS(cropper.squeeze(frame.view, imagenet, planes.data()), InputError);
  frame.view.height = 0;
  CHECK_THROWS(crop_task(frame.view, {0, 0, 2}, 4, imagenet), InputError);
  CHECK_THROWS(squeeze_task(frame.view, 4, imagenet), InputError);
}

}  // namespace

int main() {
  every_pixel_and_the_spread_are_those_of_the_host();
  so_they_are_from_the_kernel_whatever_its_blocks();
  sizes_of_published_trackers();
  what_a_device_holds_is_not_read_here();
  return failures;
}
