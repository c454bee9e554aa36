// The seam between a tracking loop and whatever runs its networks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgetrack {

// A named buffer of a compiled graph: float32, C-contiguous, in `shape` order (the last axis varies fastest).
struct Tensor {
  float* data = nullptr;
  std::vector<std::int64_t> shape;
};

// One compiled network at fixed shapes, with its input and output buffers.
//
// The buffers belong to the graph and are bound once: every address handed out stays valid, and bound to the
// same name, for the graph's whole life, so a tracker looks names up once, when it is built. Between two
// calls of run() only the tracker writes inputs, and outputs keep their values.
class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  virtual ~Graph() = default;

  // Returns the input called `name`; throws ArtifactError when the graph has none.
  virtual Tensor input(std::string_view name) = 0;

  // Returns the output called `name`; throws ArtifactError when the graph has none.
  virtual Tensor output(std::string_view name) = 0;

  // Return the names of all inputs and outputs, in any order that stays the same.
  virtual std::vector<std::string> input_names() const = 0;
  virtual std::vector<std::string> output_names() const = 0;

  // Computes every output from the inputs as they stand; returns when all are complete. Throws EngineError,
  // or the engine's own exception, when the engine fails; the outputs are then unspecified.
  virtual void run() = 0;
};

}  // namespace edgetrack
