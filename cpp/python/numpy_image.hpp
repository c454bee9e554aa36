// Frames from Python: numpy arrays seen as image views, never copied.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "edgetrack/image.hpp"

namespace edgetrack::python {

// Returns a view of a uint8 array: HxWx3 ("bgr", "rgb"), HxW or HxWx1 ("gray"), HxWx4 ("bgra", "rgba"),
// (H*3/2)xW
// ("nv12"). Any strides. Throws InputError for anything else. The array must outlive the view; hold the GIL.
ImageView view_of(pybind11::handle frame, const std::string& color);

}  // namespace edgetrack::python
