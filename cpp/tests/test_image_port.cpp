// Where crops go: planes of floats, or the pixels themselves for a graph that normalises them.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/image_port.hpp"
#include "fake_graph.hpp"

namespace {

constexpr int size = 24;
constexpr std::size_t count = size * size;
const Normalizer imagenet({0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f});

// A graph with the same image as planes and as pixels.
struct Rig {
  Rig() : frame(textured_pixels()), cropper(size) {
    graph.add_input("planes", {1, 3, size, size});
    graph.add_pixels("pixels", {1, size, size, 3});
    planes = ImagePort(graph, "planes", size, "'planes'");
    pixels = ImagePort(graph, "pixels", size, "'pixels'");
  }

  // Whether both inputs hold the same image, and one that is not blank.
  bool agree() {
    const float* values = graph.input("planes").data;
    const std::uint8_t* rgb = graph.input("pixels").pixels;
    bool varied = false;
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t c = 0; c < 3; ++c) {
        if (values[c * count + i] != imagenet.table(static_cast<int>(c))[rgb[3 * i + c]]) return false;
        varied = varied || rgb[3 * i + c] != rgb[c];
      }
    }
    return varied;
  }

  FakeGraph graph;
  std::vector<std::uint8_t> frame;
  Cropper cropper;
  ImagePort planes, pixels;
};

void pixels_are_the_crop_before_it_is_normalised() {
  Rig rig;
  const CropInfo a = rig.planes.crop(rig.cropper, frame_of(rig.frame), start, 2, imagenet);
  const CropInfo b = rig.pixels.crop(rig.cropper, frame_of(rig.frame), start, 2, imagenet);
  CHECK(rig.agree());
  CHECK(a.spread == b.spread && a.resize_factor == b.resize_factor && a.window.x1 == b.window.x1);
  const CropInfo c = rig.planes.squeeze(rig.cropper, frame_of(rig.frame), imagenet);
  CHECK(!rig.agree());
  const CropInfo d = rig.pixels.squeeze(rig.cropper, frame_of(rig.frame), imagenet);
  CHECK(rig.agree() && c.spread == d.spread);
}

void a_crop_that_was_made_before_is_written_too() {
  Rig rig;
  std::vector<std::uint8_t> rgb(rig.frame.begin(), rig.frame.begin() + 3 * count);
  rig.planes.write(rgb.data(), imagenet);
  rig.pixels.write(rgb.data(), imagenet);
  CHECK(rig.agree());
  rig.pixels.run();
  CHECK(rig.graph.runs == 1);
}

void nothing_is_allocated() {
  Rig rig;
  const std::size_t before = allocation_count;
  rig.pixels.crop(rig.cropper, frame_of(rig.frame), start, 2, imagenet);
  CHECK(allocation_count == before);
}

void other_shapes_and_frames_are_refused() {
  Rig rig;
  rig.graph.add_pixels("flat", {1, 3, size, size});
  CHECK_THROWS(ImagePort(rig.graph, "flat", size, "'flat'"), ArtifactError);
  CHECK_THROWS(ImagePort(rig.graph, "planes", size + 1, "'planes'"), ArtifactError);
  ImageView frame = frame_of(rig.frame);
  frame.memory = Memory::device;
  CHECK_THROWS(rig.pixels.crop(rig.cropper, frame, start, 2, imagenet), InputError);
  CHECK_THROWS(rig.pixels.squeeze(rig.cropper, frame, imagenet), InputError);
}

}  // namespace

int main() {
  pixels_are_the_crop_before_it_is_normalised();
  a_crop_that_was_made_before_is_written_too();
  nothing_is_allocated();
  other_shapes_and_frames_are_refused();
  return failures;
}
