// Python's Graph.
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "edgetrack/error.hpp"
#include "py_graph.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;

bool contiguous(const py::array& array) {
  constexpr int needed = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_ |
                         py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return (array.flags() & needed) == needed;
}

std::string described(const py::handle& value) {
  if (!py::isinstance<py::array>(value))
    return "a " + py::str(py::type::of(value).attr("__name__")).cast<std::string>();
  const auto array = py::reinterpret_borrow<py::array>(value);
  const std::string dtype = py::str(array.dtype()).cast<std::string>();
  return "an array of " + dtype + (array.writeable() ? "" : ", read-only") +
         (contiguous(array) ? "" : ", not laid out plainly");
}

}  // namespace

PyGraph::PyGraph(const py::dict& inputs, const py::dict& outputs, py::function run, py::object fill,
                 py::object run_filled)
    : inputs_(buffers(inputs, "input", true)),
      outputs_(buffers(outputs, "output", false)),
      run_(std::move(run)),
      fill_(std::move(fill)),
      run_filled_(std::move(run_filled)) {}

Tensor PyGraph::input(std::string_view name) { return find(inputs_, name, "input"); }

Tensor PyGraph::output(std::string_view name) { return find(outputs_, name, "output"); }

std::vector<std::string> PyGraph::input_names() const { return names(inputs_); }

std::vector<std::string> PyGraph::output_names() const { return names(outputs_); }

void PyGraph::run() {
  const py::gil_scoped_acquire gil;
  run_();
}

int PyGraph::fill(std::string_view input, const CropTask& task) {
  static_assert(std::is_trivially_copyable_v<CropTask>);
  const py::gil_scoped_acquire gil;
  if (fill_.is_none()) return Graph::fill(input, task);
  return fill_(py::str(input), py::bytes(reinterpret_cast<const char*>(&task), sizeof task)).cast<int>();
}

void PyGraph::run_filled(std::string_view input) {
  const py::gil_scoped_acquire gil;
  if (run_filled_.is_none()) return Graph::run_filled(input);
  run_filled_(py::str(input));
}

PyGraph::Buffers PyGraph::buffers(const py::dict& arrays, const std::string& kind, bool pixels) {
  Buffers out;
  for (const auto& [key, value] : arrays) {
    const auto name = py::str(key).cast<std::string>();
    // array_t with the plain flag accepts its type in native byte order only, and any strides.
    const bool is_float = py::isinstance<py::array_t<float, 0>>(value);
    const bool is_pixels = pixels && py::isinstance<py::array_t<std::uint8_t, 0>>(value);
    if (!(is_float || is_pixels) || !contiguous(py::reinterpret_borrow<py::array>(value))) {
      throw InputError(kind + " '" + name + "' is " + described(value) +
                       "; pass a C-contiguous, writable numpy array of float32" +
                       (pixels ? ", or of uint8 for pixels" : ""));
    }
    out.emplace(name, py::reinterpret_borrow<py::array>(value));
  }
  return out;
}

std::vector<std::string> PyGraph::names(const Buffers& buffers) {
  std::vector<std::string> out;
  for (const auto& [name, array] : buffers) out.push_back(name);
  return out;
}

Tensor PyGraph::find(Buffers& buffers, std::string_view name, const std::string& kind) {
  const auto found = buffers.find(name);
  if (found == buffers.end()) {
    std::string known;
    for (const std::string& other : names(buffers)) known += (known.empty() ? "" : ", ") + other;
    throw ArtifactError("the graph has no " + kind + " '" + std::string(name) + "' (it has: " + known +
                        "); export the artifact again");
  }
  py::array& array = found->second;
  Tensor tensor{nullptr, {array.shape(), array.shape() + array.ndim()}};
  if (array.itemsize() == 1) {
    tensor.pixels = static_cast<std::uint8_t*>(array.mutable_data());
  } else {
    tensor.data = static_cast<float*>(array.mutable_data());
  }
  return tensor;
}

void init_graph(py::module_& module) {
  py::class_<PyGraph, std::shared_ptr<PyGraph>>(module, "Graph", py::is_final(),
                                                "One compiled network at fixed shapes.")
      .def(py::init<const py::dict&, const py::dict&, py::function, py::object, py::object>(), py::arg("inputs"),
           py::arg("outputs"), py::arg("run"), py::arg("fill") = py::none(), py::arg("run_filled") = py::none());
}

}  // namespace edgetrack::python
