#include "numpy_image.hpp"

#include <pybind11/numpy.h>

#include <cstddef>

#include "edgetrack/error.hpp"

namespace py = pybind11;

namespace edgetrack::python {
namespace {

std::string shape_of(const py::array& array) { return py::str(array.attr("shape")).cast<std::string>(); }

[[noreturn]] void refuse(const py::array& array, const std::string& color, const std::string& wanted) {
  throw InputError("the frame's shape is " + shape_of(array) + ", but \"" + color + "\" frames are " + wanted +
                   "; pass such an array or name its color");
}

int side(const py::array& array, py::ssize_t axis) {
  const py::ssize_t size = array.shape(axis);
  if (size < 1 || size > max_frame_side) {
    throw InputError("the frame's shape is " + shape_of(array) + "; every side must have 1 to " +
                     std::to_string(max_frame_side) + " pixels");
  }
  return static_cast<int>(size);
}

ImageView interleaved_view(const py::array& array, const std::string& color, PixelFormat format) {
  const int channels = channel_count(format);
  if (array.ndim() != 3 || array.shape(2) != channels) {
    refuse(array, color, "(height, width, " + std::to_string(channels) + ")");
  }
  ImageView view;
  view.width = side(array, 1);
  view.height = side(array, 0);
  view.data = static_cast<const std::uint8_t*>(array.data());
  view.row_stride = array.strides(0);
  view.pixel_stride = array.strides(1);
  view.channel_stride = array.strides(2);
  view.format = format;
  return view;
}

ImageView gray_view(const py::array& array, const std::string& color) {
  if (array.ndim() != 2 && !(array.ndim() == 3 && array.shape(2) == 1)) {
    refuse(array, color, "(height, width) or (height, width, 1)");
  }
  ImageView view;
  view.width = side(array, 1);
  view.height = side(array, 0);
  view.data = static_cast<const std::uint8_t*>(array.data());
  view.row_stride = array.strides(0);
  view.pixel_stride = array.strides(1);
  view.format = PixelFormat::gray;
  return view;
}

ImageView nv12_view(const py::array& array, const std::string& color) {
  if (array.ndim() != 2 || array.shape(0) % 3 != 0 || array.shape(1) % 2 != 0) {
    refuse(array, color, "(height * 3 / 2, width) with even height and width");
  }
  ImageView view;
  view.width = side(array, 1);
  view.height = side(array, 0) / 3 * 2;
  view.data = static_cast<const std::uint8_t*>(array.data());
  view.row_stride = array.strides(0);
  view.pixel_stride = array.strides(1);
  view.format = PixelFormat::nv12;
  view.chroma = view.data + view.height * view.row_stride;
  view.chroma_row_stride = view.row_stride;
  view.chroma_stride = view.pixel_stride;
  return view;
}

}  // namespace

ImageView view_of(py::handle frame, const std::string& color) {
  const PixelFormat format = parse_format(color);
  if (!py::isinstance<py::array>(frame)) {
    throw InputError("the frame is a " + py::str(py::type::of(frame).attr("__name__")).cast<std::string>() +
                     "; pass a numpy array of uint8");
  }
  const auto array = py::reinterpret_borrow<py::array>(frame);
  if (!py::isinstance<py::array_t<std::uint8_t, 0>>(frame)) {
    throw InputError("the frame's dtype is " + py::str(array.dtype()).cast<std::string>() +
                     "; pass uint8 values from 0 to 255");
  }
  switch (format) {
    case PixelFormat::gray:
      return gray_view(array, color);
    case PixelFormat::nv12:
      return nv12_view(array, color);
    default:
      return interleaved_view(array, color, format);
  }
}

}  // namespace edgetrack::python
