// Python's template_slots and TemplateMemory, for tests and tools: FarTracker has its own memory.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "edgetrack/error.hpp"
#include "edgetrack/template_memory.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;

using Tokens = py::array_t<float, py::array::c_style>;

class PyTemplateMemory {
 public:
  PyTemplateMemory(int rows, int channels, std::size_t limit_bytes)
      : rows_(rows), channels_(channels), core_(rows, channels, limit_bytes) {}

  void put(const Tokens& tokens, const std::vector<int>& keep) {
    if (tokens.ndim() != 2 || tokens.shape(1) != channels_) {
      throw InputError("tokens do not have " + std::to_string(channels_) + " columns; pass (any, " +
                       std::to_string(channels_) + ") float32");
    }
    if (keep.size() != static_cast<std::size_t>(rows_)) {
      throw InputError(std::to_string(keep.size()) + " rows are to be kept; name " + std::to_string(rows_));
    }
    for (const int row : keep) {
      if (row < 0 || row >= tokens.shape(0)) {
        throw InputError("row " + std::to_string(row) + " is to be kept; there are " + std::to_string(tokens.shape(0)) +
                         " rows, counted from 0");
      }
    }
    core_.put(tokens.data(), keep.data());
  }

  Tokens get(std::int64_t k) const {
    const std::int64_t size = core_.size();
    if (k >= size || k < 0 || (k > 0 && k < 3 * size / 10)) {
      throw InputError("entry " + std::to_string(k) + " is not kept; ask for 0 or for " +
                       std::to_string(3 * size / 10) + " to " + std::to_string(size - 1));
    }
    return Tokens({rows_, channels_}, core_.get(k));
  }

  std::int64_t shown(std::int64_t k) const { return core_.shown(k); }
  void clear() { core_.clear(); }
  std::int64_t size() const { return core_.size(); }
  std::size_t stored() const { return core_.stored(); }
  std::size_t capacity() const { return core_.capacity(); }
  std::int64_t stride() const { return core_.stride(); }
  std::size_t used_bytes() const { return core_.used_bytes(); }
  std::int64_t exact_frames() const { return core_.exact_frames(); }

 private:
  int rows_;
  int channels_;
  TemplateMemory core_;
};

std::array<std::int64_t, template_slot_count> slots(std::int64_t n, const std::string& early) {
  if (early != "shift" && early != "distill") {
    throw InputError("the early rule is '" + early + "'; use 'shift' or 'distill'");
  }
  if (n < 0) throw InputError("the frame number is " + std::to_string(n) + "; it must be 0 or more");
  return template_slots(n, early == "distill" ? EarlySlots::distill : EarlySlots::shift);
}

}  // namespace

void init_memory(py::module_& module) {
  module.def("template_slots", &slots, py::arg("n"), py::arg("early") = "shift",
             "Return the history index shown in each of the five slots after frame n.");
  py::class_<PyTemplateMemory>(module, "TemplateMemory", py::is_final(), "The bounded history of embedded templates.")
      .def(py::init<int, int, std::size_t>(), py::arg("rows"), py::arg("channels"), py::arg("limit_bytes"))
      .def("put", &PyTemplateMemory::put, py::arg("tokens"), py::arg("keep"))
      .def("get", &PyTemplateMemory::get, py::arg("k"))
      .def("shown", &PyTemplateMemory::shown, py::arg("k"))
      .def("clear", &PyTemplateMemory::clear)
      .def_property_readonly("size", &PyTemplateMemory::size)
      .def_property_readonly("stored", &PyTemplateMemory::stored)
      .def_property_readonly("capacity", &PyTemplateMemory::capacity)
      .def_property_readonly("stride", &PyTemplateMemory::stride)
      .def_property_readonly("used_bytes", &PyTemplateMemory::used_bytes)
      .def_property_readonly("exact_frames", &PyTemplateMemory::exact_frames);
}

}  // namespace edgetrack::python
