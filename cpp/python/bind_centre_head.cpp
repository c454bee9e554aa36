// Python's CentreHeadTracker.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "edgetrack/centre_head.hpp"
#include "py_graph.hpp"
#include "py_loop.hpp"
#include "spec.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

class PyCentreHeadTracker final : public PyLoop {
 public:
  PyCentreHeadTracker(const py::dict& spec, std::shared_ptr<PyGraph> template_graph, std::shared_ptr<PyGraph> search)
      : core_(centre_head_spec(spec), std::move(template_graph), std::move(search)) {
    publish();
  }

  std::vector<std::pair<Quad, double>> candidates(int k) {
    const Lease lease(*this);
    std::vector<std::pair<Quad, double>> out;
    for (const Candidate& found : core_.candidates(k)) out.emplace_back(quad_of(found.box), found.raw_score);
    return out;
  }

  void set_told(const std::string& name, const Floats& values) {
    const Lease lease(*this);
    core_.set_told(name, values.data(), static_cast<std::size_t>(values.size()));
    publish();
  }

  bool is_told() const { return core_.is_told(); }

  // None before the first network call.
  std::optional<py::dict> maps() {
    const Lease lease(*this);
    const CentreMaps& maps = core_.maps();
    if (maps.score == nullptr) return std::nullopt;
    const py::ssize_t grid = core_.spec().grid;
    py::dict out;
    out["score"] = py::array_t<float>({grid, grid}, maps.score);
    out["size"] = py::array_t<float>({py::ssize_t{2}, grid, grid}, maps.size);
    out["offset"] = py::array_t<float>({py::ssize_t{2}, grid, grid}, maps.offset);
    return out;
  }

 private:
  CropLoop& loop() override { return core_; }

  CentreHeadTracker core_;
};

}  // namespace

void init_centre_head(py::module_& module) {
  py::class_<PyCentreHeadTracker, PyLoop>(module, "CentreHeadTracker", py::is_final(),
                                          "The tracking loop of trackers with a centre head, over two compiled graphs.")
      .def(py::init<const py::dict&, std::shared_ptr<PyGraph>, std::shared_ptr<PyGraph>>(), py::arg("spec"),
           py::arg("template"), py::arg("search"))
      .def("set_told", &PyCentreHeadTracker::set_told, py::arg("name"), py::arg("values"))
      .def_property_readonly("is_told", &PyCentreHeadTracker::is_told)
      .def("candidates", &PyCentreHeadTracker::candidates, py::arg("k"))
      .def_property_readonly("maps", &PyCentreHeadTracker::maps);
}

}  // namespace edgetrack::python
