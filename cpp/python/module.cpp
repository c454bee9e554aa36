// The extension module edgetrack._core.
#include <pybind11/pybind11.h>

#include <exception>

#include "edgetrack/error.hpp"

namespace py = pybind11;

namespace edgetrack::python {

void init_centre_head(py::module_& module);
void init_device_array(py::module_& module);
void init_fartrack(py::module_& module);
void init_graph(py::module_& module);
void init_loop(py::module_& module);
void init_memory(py::module_& module);
void init_mvlm(py::module_& module);
void init_numeric(py::module_& module);

namespace {

// The classes are looked up when an error happens: importing the core must not import the rest of the
// package.
void raise(const char* name, const char* message) {
  py::set_error(py::module_::import("edgetrack.errors").attr(name), message);
}

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const InputError& error) {
    raise("InputError", error.what());
  } catch (const ArtifactError& error) {
    raise("ArtifactError", error.what());
  } catch (const EngineError& error) {
    raise("EngineUnavailable", error.what());
  }
}

}  // namespace
}  // namespace edgetrack::python

PYBIND11_MODULE(_core, module) {
  module.doc() = "The tracker core: crops, decoding, template memory and tracking loops, in C++.";
  py::register_local_exception_translator(&edgetrack::python::translate);
  edgetrack::python::init_device_array(module);
  edgetrack::python::init_graph(module);
  edgetrack::python::init_loop(module);  // before the families, which derive from it
  edgetrack::python::init_fartrack(module);
  edgetrack::python::init_centre_head(module);
  edgetrack::python::init_mvlm(module);
  edgetrack::python::init_memory(module);
  edgetrack::python::init_numeric(module);
}
