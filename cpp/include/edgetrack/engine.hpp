// The seam between a tracking loop and whatever runs its networks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "edgetrack/error.hpp"
#include "edgetrack/kernels/crop.hpp"

namespace edgetrack {

// A named buffer of a compiled graph: float32, C-contiguous, in `shape` order (the last axis varies fastest).
//
// An image input of a graph that normalises by itself has `pixels` instead of `data`: uint8 RGB, shape (1,size,size,3).
struct Tensor {
  float* data = nullptr;
  std::vector<std::int64_t> shape;
  std::uint8_t* pixels = nullptr;
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

  // The way of frames in the device's own memory. fill writes the crop that `task` says to an image input where the
  // network reads it, past the input's buffer, and returns its spread (see CropInfo); all reading of the frame is over
  // then. run_filled is run, with that input as fill left it. A graph without this way throws InputError.
  virtual int fill(std::string_view input, const CropTask& /*task*/) { throw no_way_to(input); }
  virtual void run_filled(std::string_view input) { throw no_way_to(input); }

 private:
  static InputError no_way_to(std::string_view input) {
    return InputError("input '" + std::string(input) + "' cannot be filled from a frame in a device's memory: this " +
                      "engine reads frames in host memory only");
  }
};

}  // namespace edgetrack
