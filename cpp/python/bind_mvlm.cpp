// Python's MvlmTracker.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "edgetrack/mvlm.hpp"
#include "py_graph.hpp"
#include "py_loop.hpp"
#include "spec.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

// A value as Python shows it, in 60 characters at most; its type where it cannot be shown.
std::string shown(const py::handle& value) {
  try {
    return py::str(py::repr(value)[py::slice(0, 60, 1)]).cast<std::string>();
  } catch (const py::error_already_set&) {
    return "a value of type " + py::str(py::type::of(value).attr("__name__")).cast<std::string>();
  }
}

// A number of any kind, NumPy's included; NaN for what is none (text, truth values, what a double cannot hold).
double number_of(const py::handle& value) {
  if (PyBool_Check(value.ptr()) || PyUnicode_Check(value.ptr()) || PyBytes_Check(value.ptr())) return std::nan("");
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Float(value.ptr()));
  if (!number) {
    PyErr_Clear();
    return std::nan("");
  }
  return number.cast<double>();
}

// Sets one threshold of a gate; InputError for a name or value that cannot be.
void put(GateSpec& gate, const py::handle& key, const py::handle& value) {
  for (const Threshold& threshold : thresholds) {
    if (!key.equal(py::str(threshold.name))) continue;
    const double given = number_of(value);
    if (!threshold.allows(given)) {
      std::ostringstream message;
      message << threshold.name << " is " << shown(value) << ", must be a number from " << threshold.least << " to "
              << threshold.most;
      throw InputError(message.str());
    }
    gate.*threshold.value = given;
    return;
  }
  throw InputError("there is no threshold " + shown(key) + "; known: tau, omega, lambda, psi");
}

class PyMvlmTracker final : public PyLoop {
 public:
  PyMvlmTracker(const py::dict& spec, std::shared_ptr<PyGraph> search, std::shared_ptr<PyGraph> template_graph)
      : core_(mvlm_spec(spec), std::move(template_graph), std::move(search)) {
    publish();
  }

  void set_text(const Floats& features) {
    const Lease lease(*this);
    core_.set_text(features.data(), static_cast<std::size_t>(features.size()));
    publish();
  }

  py::dict thresholds() const {
    py::dict out;
    for (const Threshold& threshold : edgetrack::thresholds) out[threshold.name] = seen_.gate.*threshold.value;
    return out;
  }

  static py::dict threshold_ranges() {
    py::dict out;
    for (const Threshold& threshold : edgetrack::thresholds) {
      out[threshold.name] = std::pair(threshold.least, threshold.most);
    }
    return out;
  }

  void set_thresholds(const py::dict& values) {
    const Lease lease(*this);
    GateSpec gate = core_.gate_spec();
    for (const auto& [key, value] : values) put(gate, key, value);
    core_.set_gate(gate);
    publish();
  }

  // None before the first network call, and where its output is not finite.
  std::optional<py::dict> gate() {
    const Lease lease(*this);
    const MarginGate* gate = core_.gate();
    if (gate == nullptr) return std::nullopt;
    const auto line = [](const std::vector<float>& values) {
      return py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data());
    };
    py::dict out;
    out["margins"] = line(gate->margins());
    out["memory"] = line(gate->memory());
    out["confidences"] = line(gate->confidences());
    out["chosen"] = core_.chosen();
    return out;
  }

  bool has_text() const { return core_.has_text(); }
  double confidence() const { return seen_.confidence; }
  double response() const { return seen_.response; }
  std::size_t selected() const { return seen_.selected; }
  const char* mode() const { return name_of(seen_.is_global); }
  const char* last_mode() const { return name_of(seen_.looked_global); }
  bool updated() const { return seen_.updated; }

 private:
  struct Seen {
    double confidence = std::numeric_limits<double>::quiet_NaN();
    double response = std::numeric_limits<double>::quiet_NaN();
    std::size_t selected = 0;
    bool is_global = false;
    bool looked_global = false;
    bool updated = false;
    GateSpec gate;
  };

  static const char* name_of(bool is_global) { return is_global ? "global" : "local"; }

  CropLoop& loop() override { return core_; }

  void publish() override {
    PyLoop::publish();
    seen_ = {};
    seen_.is_global = core_.is_global();
    seen_.looked_global = core_.looked_global();
    seen_.updated = core_.updated();
    seen_.gate = core_.gate_spec();
    if (const MarginGate* gate = core_.gate()) {
      seen_.confidence = static_cast<double>(gate->confidences()[core_.chosen()]);
      seen_.response = static_cast<double>(gate->response(core_.chosen()));
      seen_.selected = gate->selected();
    }
  }

  MvlmTracker core_;
  Seen seen_;
};

}  // namespace

void init_mvlm(py::module_& module) {
  py::class_<PyMvlmTracker, PyLoop>(module, "MvlmTracker", py::is_final(),
                                    "MVLM's tracking loop over one or two compiled graphs.")
      .def(py::init<const py::dict&, std::shared_ptr<PyGraph>, std::shared_ptr<PyGraph>>(), py::arg("spec"),
           py::arg("search"), py::arg("template") = py::none())
      .def("set_text", &PyMvlmTracker::set_text, py::arg("features"))
      .def_property_readonly("thresholds", &PyMvlmTracker::thresholds)
      .def_property_readonly_static("threshold_ranges",
                                    [](const py::object&) { return PyMvlmTracker::threshold_ranges(); })
      .def("set_thresholds", &PyMvlmTracker::set_thresholds, py::arg("values"))
      .def_property_readonly("has_text", &PyMvlmTracker::has_text)
      .def_property_readonly("confidence", &PyMvlmTracker::confidence)
      .def_property_readonly("response", &PyMvlmTracker::response)
      .def_property_readonly("selected", &PyMvlmTracker::selected)
      .def_property_readonly("mode", &PyMvlmTracker::mode)
      .def_property_readonly("last_mode", &PyMvlmTracker::last_mode)
      .def_property_readonly("updated", &PyMvlmTracker::updated)
      .def_property_readonly("gate", &PyMvlmTracker::gate);
}

}  // namespace edgetrack::python
