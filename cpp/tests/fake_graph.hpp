// Networks and frames to drive a tracker with, without an engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "edgetrack/engine.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/geometry.hpp"
#include "edgetrack/image.hpp"

namespace {

using namespace edgetrack;

constexpr int frame_width = 160;
constexpr int frame_height = 120;
const Box start{60, 50, 24, 20};

// The bytes of a BGR frame in which no crop is blank.
inline std::vector<std::uint8_t> textured_pixels() {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(frame_width * frame_height * 3));
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>((i * 2654435761U) >> 7);
  return pixels;
}

inline ImageView frame_of(const std::vector<std::uint8_t>& pixels) {
  return packed_view(pixels.data(), frame_width, frame_height, PixelFormat::bgr);
}

// A graph with buffers of its own and a function for a network.
class FakeGraph final : public Graph {
 public:
  void add_input(const std::string& name, std::vector<std::int64_t> shape) { add(inputs_, name, std::move(shape)); }
  void add_output(const std::string& name, std::vector<std::int64_t> shape) { add(outputs_, name, std::move(shape)); }
  void add_pixels(const std::string& name, std::vector<std::int64_t> shape) {
    add_input(name, std::move(shape));
    Buffer& buffer = inputs_[name];
    buffer.pixels.resize(buffer.values.size());
    buffer.values.clear();
  }

  Tensor input(std::string_view name) override { return find(inputs_, name); }
  Tensor output(std::string_view name) override { return find(outputs_, name); }
  std::vector<std::string> input_names() const override { return names(inputs_); }
  std::vector<std::string> output_names() const override { return names(outputs_); }
  void run() override {
    ++runs;
    if (network) network();
  }

  std::function<void()> network;
  int runs = 0;

 private:
  struct Buffer {
    std::vector<float> values;
    std::vector<std::int64_t> shape;
    std::vector<std::uint8_t> pixels;
  };
  using Buffers = std::map<std::string, Buffer>;

  static void add(Buffers& buffers, const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t count = 1;
    for (const std::int64_t side : shape) count *= static_cast<std::size_t>(side);
    buffers[name] = {std::vector<float>(count), std::move(shape), {}};
  }
  static std::vector<std::string> names(const Buffers& buffers) {
    std::vector<std::string> out;
    for (const auto& [name, buffer] : buffers) out.push_back(name);
    return out;
  }
  static Tensor find(Buffers& buffers, std::string_view name) {
    const auto found = buffers.find(std::string(name));
    if (found == buffers.end()) throw ArtifactError("no " + std::string(name));
    Buffer& buffer = found->second;
    if (!buffer.pixels.empty()) return {nullptr, buffer.shape, buffer.pixels.data()};
    return {buffer.values.data(), buffer.shape};
  }

  Buffers inputs_;
  Buffers outputs_;
};

}  // namespace
