// Where crops go: an image input of a graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "edgetrack/crop.hpp"
#include "edgetrack/engine.hpp"

namespace edgetrack {

// Writes crops to an image input and runs its graph on them. Of a frame in host memory the crop is made here, of one in
// the device's memory by the graph itself (Graph::fill); the values are the same. An input of pixels (see Tensor) gets
// the crop before it is normalised.
class ImagePort {
 public:
  // A port without a graph: nothing may be called.
  ImagePort() = default;

  // Throws ArtifactError, naming the input as `what`, unless the graph has an input `name` of shape (1,3,size,size), or
  // of pixels and shape (1,size,size,3). The graph must outlive the port.
  ImagePort(Graph& graph, std::string name, int size, const std::string& what);

  // Each writes the input and says what it was made of, see Cropper. cropper: of the input's size. Throws InputError
  // for a frame in a device's memory where the input is one of pixels.
  CropInfo crop(Cropper& cropper, const ImageView& frame, const Box& box, double factor, const Normalizer& normalizer);
  CropInfo squeeze(Cropper& cropper, const ImageView& frame, const Normalizer& normalizer);

  // Writes a crop that was made before: uint8 RGB (size, size, 3), contiguous.
  void write(const std::uint8_t* rgb, const Normalizer& normalizer);

  // Runs the graph on what was written last.
  void run();

 private:
  // Whether the graph makes the crop, of a frame in its device's memory.
  bool fills(const ImageView& frame) const;

  Graph* graph_ = nullptr;
  std::string name_;
  float* planes_ = nullptr;
  std::uint8_t* rgb_ = nullptr;  // instead of planes_, of an input of pixels
  std::size_t pixels_ = 0;
  bool filled_ = false;  // by the graph
};

}  // namespace edgetrack
