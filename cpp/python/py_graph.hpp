// Graphs from Python: numpy arrays bound to an engine, and the callable that runs it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "edgetrack/engine.hpp"

namespace edgetrack::python {

// A graph whose buffers are numpy arrays and whose run() is a Python callable; keeps all of them alive.
class PyGraph final : public Graph {
 public:
  // fill, run_filled: callables or None, see Graph. Throws InputError for an array that is not plain float32; an input
  // may be plain uint8 too, of pixels.
  PyGraph(const pybind11::dict& inputs, const pybind11::dict& outputs, pybind11::function run, pybind11::object fill,
          pybind11::object run_filled);

  Tensor input(std::string_view name) override;
  Tensor output(std::string_view name) override;
  std::vector<std::string> input_names() const override;
  std::vector<std::string> output_names() const override;

  // Called without the GIL; a Python exception travels through the core as pybind11::error_already_set.
  void run() override;
  int fill(std::string_view input, const CropTask& task) override;
  void run_filled(std::string_view input) override;

 private:
  using Buffers = std::map<std::string, pybind11::array, std::less<>>;

  static Buffers buffers(const pybind11::dict& arrays, const std::string& kind, bool pixels);
  static std::vector<std::string> names(const Buffers& buffers);
  static Tensor find(Buffers& buffers, std::string_view name, const std::string& kind);

  Buffers inputs_;
  Buffers outputs_;
  pybind11::function run_;
  pybind11::object fill_;
  pybind11::object run_filled_;
};

}  // namespace edgetrack::python
