// Frames from Python: arrays seen as image views, never copied.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "edgetrack/image.hpp"

namespace edgetrack::python {

// A uint8 array in a device's memory.
struct DeviceArray {
  std::uintptr_t address = 0;  // of the first element
  std::vector<std::ptrdiff_t> shape;
  std::vector<std::ptrdiff_t> strides;  // in bytes
  pybind11::object owner;               // keeps the memory
};

// Returns a view of a uint8 array, numpy's or a DeviceArray: HxWx3 ("bgr", "rgb"), HxW or HxWx1 ("gray"), HxWx4
// ("bgra", "rgba"), (H*3/2)xW
// ("nv12"). Any strides. Throws InputError for anything else. The array must outlive the view; hold the GIL.
ImageView view_of(pybind11::handle frame, const std::string& color);

}  // namespace edgetrack::python
