// Checking the graphs that a tracker is built on. Internal to the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "edgetrack/engine.hpp"
#include "edgetrack/error.hpp"

namespace edgetrack {

// Returns a shape as text, as in "[1, 3, 224, 224]".
inline std::string text_of(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

// Throws ArtifactError, naming the tensor as `what`, unless it has the shape that `whose` (as in "the tracker spec")
// asks for.
inline void require_shape(const Tensor& tensor, const std::vector<std::int64_t>& expected, const std::string& what,
                          const char* whose = "the tracker spec") {
  if (tensor.shape != expected) {
    throw ArtifactError(what + " has shape " + text_of(tensor.shape) + " where " + whose + " asks for " +
                        text_of(expected) + "; export the artifact again");
  }
}

// Returns the memory of a tensor of float32; throws ArtifactError as require_shape does, and if it has none.
inline float* checked(const Tensor& tensor, const std::vector<std::int64_t>& expected, const std::string& what,
                      const char* whose = "the tracker spec") {
  require_shape(tensor, expected, what, whose);
  if (tensor.pixels != nullptr) {
    throw ArtifactError(what + " takes uint8 pixels, which is for images; export the artifact again");
  }
  if (tensor.data == nullptr) throw ArtifactError(what + " has no memory; bind a buffer to it");
  return tensor.data;
}

// Returns the graph, to keep; throws ArtifactError when there is none.
inline std::shared_ptr<Graph> required(std::shared_ptr<Graph> graph, const std::string& role) {
  if (!graph) throw ArtifactError("the " + role + " graph is missing; pass a graph for every role");
  return graph;
}

// The same, to look at.
inline Graph& present(const std::shared_ptr<Graph>& graph, const std::string& role) { return *required(graph, role); }

}  // namespace edgetrack
