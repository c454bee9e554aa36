// Python's State and CropLoop.
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "edgetrack/error.hpp"
#include "numpy_image.hpp"
#include "py_loop.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;

Box box_of(const py::object& box) {
  try {
    const auto [x, y, w, h] = box.cast<Quad>();
    return {x, y, w, h};
  } catch (const py::cast_error&) {
    throw InputError("the box is " + py::repr(box).cast<std::string>() + "; pass four numbers (x, y, w, h)");
  }
}

py::array_t<double> array_of(const std::array<double, 4>& values) { return py::array_t<double>(4, values.data()); }

}  // namespace

PyLoop::Lease::Lease(PyLoop& loop) : busy_(loop.busy_) {
  if (busy_.test_and_set(std::memory_order_acquire)) {
    throw InputError(
        "the tracker is used from two threads at once, or from inside its own engine; give each "
        "thread a tracker of its own, or take turns with a lock");
  }
}

void PyLoop::init(const py::object& frame, const py::object& box, const std::string& color) {
  const Lease lease(*this);
  const ImageView view = view_of(frame, color);
  const std::optional<Box> start = box.is_none() ? std::nullopt : std::optional(box_of(box));
  {
    const py::gil_scoped_release release;
    if (start) {
      loop().init(view, *start);
    } else {
      loop().init(view);
    }
  }
  publish();
}

std::pair<bool, Quad> PyLoop::update(const py::object& frame, const std::string& color) {
  const Lease lease(*this);
  const ImageView view = view_of(frame, color);
  Result result;
  {
    const py::gil_scoped_release release;
    result = loop().update(view);
  }
  publish();
  return {result.ok, quad_of(result.box)};
}

void PyLoop::reset() {
  const Lease lease(*this);
  loop().reset();
  publish();
}

void PyLoop::set_state(const py::object& box) {
  const Lease lease(*this);
  loop().set_state(box_of(box));
  publish();
}

py::array_t<double> PyLoop::corners() {
  const Lease lease(*this);
  return array_of(loop().corners());
}

py::array_t<double> PyLoop::leads() {
  const Lease lease(*this);
  return array_of(loop().leads());
}

py::dict PyLoop::timings_ms() const {
  py::dict out;
  out["crop"] = seen_.timings.crop_ms;
  out["run"] = seen_.timings.run_ms;
  out["decode"] = seen_.timings.decode_ms;
  out["memory"] = seen_.timings.memory_ms;
  out["total"] = seen_.timings.total_ms;
  return out;
}

void PyLoop::publish() {
  const CropLoop& core = loop();
  seen_ = {core.result(), core.timings(), core.raw_box(), core.raw_score(), core.frame_index()};
}

void init_loop(py::module_& module) {
  py::native_enum<State>(module, "State", "enum.IntEnum", "How far a result can be trusted.")
      .value("TRACKING", State::tracking)
      .value("UNCERTAIN", State::uncertain)
      .value("LOST", State::lost)
      .finalize();

  py::class_<PyLoop>(module, "CropLoop", "What every family's tracking loop offers.")
      .def("init", &PyLoop::init, py::arg("frame"), py::arg("box") = py::none(), py::arg("color") = "bgr")
      .def("update", &PyLoop::update, py::arg("frame"), py::arg("color") = "bgr")
      .def("reset", &PyLoop::reset)
      .def("set_state", &PyLoop::set_state, py::arg("box"))
      .def_property_readonly("score", &PyLoop::score)
      .def_property_readonly("state", &PyLoop::state)
      .def_property_readonly("box", &PyLoop::box)
      .def_property_readonly("raw_box", &PyLoop::raw_box)
      .def_property_readonly("raw_score", &PyLoop::raw_score)
      .def_property_readonly("frame_index", &PyLoop::frame_index)
      .def_property_readonly("timings_ms", &PyLoop::timings_ms)
      .def_property_readonly("corners", &PyLoop::corners)
      .def_property_readonly("leads", &PyLoop::leads);
}

}  // namespace edgetrack::python
