#include "numpy_image.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <utility>

#include "edgetrack/error.hpp"

namespace py = pybind11;

namespace edgetrack::python {
namespace {

// What a view is made from, wherever the array lies.
struct Layout {
  const std::uint8_t* data;
  std::size_t axes;
  const std::ptrdiff_t* shape;
  const std::ptrdiff_t* strides;  // in bytes
  Memory memory;
};

std::string shape_of(const Layout& array) {
  const std::vector<std::ptrdiff_t> shape(array.shape, array.shape + array.axes);
  return py::str(py::tuple(py::cast(shape))).cast<std::string>();
}

[[noreturn]] void refuse(const Layout& array, const std::string& color, const std::string& wanted) {
  throw InputError("the frame's shape is " + shape_of(array) + ", but \"" + color + "\" frames are " + wanted +
                   "; pass such an array or name its color");
}

int side(const Layout& array, std::size_t axis) {
  const std::ptrdiff_t size = array.shape[axis];
  if (size < 1 || size > max_frame_side) {
    throw InputError("the frame's shape is " + shape_of(array) + "; every side must have 1 to " +
                     std::to_string(max_frame_side) + " pixels");
  }
  return static_cast<int>(size);
}

// Fills in what all formats have: the first axis goes down, the second to the right.
ImageView plane_view(const Layout& array, PixelFormat format) {
  ImageView view;
  view.width = side(array, 1);
  view.height = side(array, 0);
  view.data = array.data;
  view.row_stride = array.strides[0];
  view.pixel_stride = array.strides[1];
  view.format = format;
  view.memory = array.memory;
  return view;
}

ImageView interleaved_view(const Layout& array, const std::string& color, PixelFormat format) {
  const int channels = channel_count(format);
  if (array.axes != 3 || array.shape[2] != channels) {
    refuse(array, color, "(height, width, " + std::to_string(channels) + ")");
  }
  ImageView view = plane_view(array, format);
  view.channel_stride = array.strides[2];
  return view;
}

ImageView gray_view(const Layout& array, const std::string& color) {
  if (array.axes != 2 && !(array.axes == 3 && array.shape[2] == 1)) {
    refuse(array, color, "(height, width) or (height, width, 1)");
  }
  return plane_view(array, PixelFormat::gray);
}

ImageView nv12_view(const Layout& array, const std::string& color) {
  if (array.axes != 2 || array.shape[0] % 3 != 0 || array.shape[1] % 2 != 0) {
    refuse(array, color, "(height * 3 / 2, width) with even height and width");
  }
  ImageView view = plane_view(array, PixelFormat::nv12);
  view.height = view.height / 3 * 2;
  view.chroma = view.data + view.height * view.row_stride;
  view.chroma_row_stride = view.row_stride;
  view.chroma_stride = view.pixel_stride;
  return view;
}

Layout layout_of(py::handle frame) {
  if (py::isinstance<DeviceArray>(frame)) {
    const auto& array = frame.cast<const DeviceArray&>();
    return {reinterpret_cast<const std::uint8_t*>(array.address), array.shape.size(), array.shape.data(),
            array.strides.data(), Memory::device};
  }
  if (!py::isinstance<py::array>(frame)) {
    throw InputError("the frame is a " + py::str(py::type::of(frame).attr("__name__")).cast<std::string>() +
                     "; pass a numpy array of uint8");
  }
  const auto array = py::reinterpret_borrow<py::array>(frame);
  if (!py::isinstance<py::array_t<std::uint8_t, 0>>(frame)) {
    throw InputError("the frame's dtype is " + py::str(array.dtype()).cast<std::string>() +
                     "; pass uint8 values from 0 to 255");
  }
  return {static_cast<const std::uint8_t*>(array.data()), static_cast<std::size_t>(array.ndim()), array.shape(),
          array.strides(), Memory::host};
}

}  // namespace

ImageView view_of(py::handle frame, const std::string& color) {
  const PixelFormat format = parse_format(color);
  const Layout array = layout_of(frame);
  switch (format) {
    case PixelFormat::gray:
      return gray_view(array, color);
    case PixelFormat::nv12:
      return nv12_view(array, color);
    default:
      return interleaved_view(array, color, format);
  }
}

void init_device_array(py::module_& module) {
  py::class_<DeviceArray>(module, "DeviceArray", py::is_final(), "A uint8 array in a device's memory.")
      .def(py::init([](std::uintptr_t address, std::vector<std::ptrdiff_t> shape, std::vector<std::ptrdiff_t> strides,
                       py::object owner) {
             if (shape.size() != strides.size()) {
               throw InputError("a device array has " + std::to_string(shape.size()) + " sizes and " +
                                std::to_string(strides.size()) + " strides; pass one stride for each size");
             }
             return DeviceArray{address, std::move(shape), std::move(strides), std::move(owner)};
           }),
           py::arg("address"), py::arg("shape"), py::arg("strides"), py::arg("owner") = py::none())
      .def_readonly("address", &DeviceArray::address)
      .def_property_readonly("shape", [](const DeviceArray& array) { return py::tuple(py::cast(array.shape)); })
      .def_property_readonly("strides", [](const DeviceArray& array) { return py::tuple(py::cast(array.strides)); });
}

}  // namespace edgetrack::python
