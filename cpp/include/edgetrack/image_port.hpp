// Where crops go: an image input of a graph.
#pragma once

#include <string>

#include "edgetrack/crop.hpp"
#include "edgetrack/engine.hpp"

namespace edgetrack {

// Writes crops to an image input and runs its graph on them. Of a frame in host memory the crop is made here, of one in
// the device's memory by the graph itself (Graph::fill); the values are the same.
class ImagePort {
 public:
  // A port without a graph: nothing may be called.
  ImagePort() = default;

  // Throws ArtifactError, naming the input as `what`, unless the graph has an input `name` of shape (1,3,size,size).
  // The graph must outlive the port.
  ImagePort(Graph& graph, std::string name, int size, const std::string& what);

  // Each writes the input and says what it was made of, see Cropper. cropper: of the input's size.
  CropInfo crop(Cropper& cropper, const ImageView& frame, const Box& box, double factor, const Normalizer& normalizer);
  CropInfo squeeze(Cropper& cropper, const ImageView& frame, const Normalizer& normalizer);

  // Runs the graph on what was written last.
  void run();

 private:
  Graph* graph_ = nullptr;
  std::string name_;
  float* planes_ = nullptr;
  bool filled_ = false;  // by the graph
};

}  // namespace edgetrack
