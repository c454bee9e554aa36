// Python's FarTracker.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "edgetrack/fartrack.hpp"
#include "py_graph.hpp"
#include "py_loop.hpp"
#include "spec.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;

class PyFarTracker final : public PyLoop {
 public:
  PyFarTracker(const py::dict& spec, std::shared_ptr<PyGraph> template_graph, std::shared_ptr<PyGraph> first,
               std::shared_ptr<PyGraph> search)
      : core_(fartrack_spec(spec), std::move(template_graph), std::move(first), std::move(search)) {
    publish();
  }

  // None before the first network call.
  std::optional<py::array_t<float>> logits() {
    const Lease lease(*this);
    if (core_.logits() == nullptr) return std::nullopt;
    return py::array_t<float>({4, core_.spec().decode.classes}, core_.logits());
  }

  std::optional<py::array_t<bool>> mask() {
    const Lease lease(*this);
    const auto& kept = core_.mask();
    if (kept.empty()) return std::nullopt;
    py::array_t<bool> out(static_cast<py::ssize_t>(kept.size()));
    std::transform(kept.begin(), kept.end(), out.mutable_data(), [](unsigned char k) { return k != 0; });
    return out;
  }

  py::dict memory() const {
    py::dict out;
    out["templates"] = seen_.templates;
    out["stride"] = seen_.stride;
    out["limit_bytes"] = core_.memory().limit_bytes();
    out["used_bytes"] = seen_.used_bytes;
    out["exact_frames"] = core_.memory().exact_frames();
    return out;
  }

  std::vector<std::int64_t> slots() const { return {seen_.slots.begin(), seen_.slots.end()}; }

 private:
  struct Seen {
    std::array<std::int64_t, template_slot_count> slots{};
    std::size_t templates = 0;
    std::int64_t stride = 1;
    std::size_t used_bytes = 0;
  };

  CropLoop& loop() override { return core_; }

  void publish() override {
    PyLoop::publish();
    const TemplateMemory& memory = core_.memory();
    seen_ = {core_.slots(), memory.stored(), memory.stride(), memory.used_bytes()};
  }

  FarTracker core_;
  Seen seen_;
};

}  // namespace

void init_fartrack(py::module_& module) {
  py::class_<PyFarTracker, PyLoop>(module, "FarTracker", py::is_final(),
                                   "FARTrack's tracking loop over three compiled graphs.")
      .def(py::init<const py::dict&, std::shared_ptr<PyGraph>, std::shared_ptr<PyGraph>, std::shared_ptr<PyGraph>>(),
           py::arg("spec"), py::arg("template"), py::arg("first"), py::arg("search"))
      .def_property_readonly("slots", &PyFarTracker::slots)
      .def_property_readonly("memory", &PyFarTracker::memory)
      .def_property_readonly("logits", &PyFarTracker::logits)
      .def_property_readonly("mask", &PyFarTracker::mask);
}

}  // namespace edgetrack::python
