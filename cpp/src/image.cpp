#include "edgetrack/image.hpp"

#include <string>

#include "edgetrack/error.hpp"

namespace edgetrack {

int channel_count(PixelFormat format) {
  switch (format) {
    case PixelFormat::bgr:
    case PixelFormat::rgb:
      return 3;
    case PixelFormat::bgra:
    case PixelFormat::rgba:
      return 4;
    case PixelFormat::gray:
    case PixelFormat::nv12:
      return 1;
  }
  throw InputError("pixel format " + std::to_string(static_cast<int>(format)) + " is unknown: use one of PixelFormat");
}

PixelFormat parse_format(std::string_view name) {
  if (name == "bgr") return PixelFormat::bgr;
  if (name == "rgb") return PixelFormat::rgb;
  if (name == "gray") return PixelFormat::gray;
  if (name == "bgra") return PixelFormat::bgra;
  if (name == "rgba") return PixelFormat::rgba;
  if (name == "nv12") return PixelFormat::nv12;
  throw InputError("color '" + std::string(name) + "' is unknown: use bgr, rgb, gray, bgra, rgba or nv12");
}

ImageView packed_view(const std::uint8_t* data, int width, int height, PixelFormat format, std::ptrdiff_t row_stride) {
  ImageView view;
  view.data = data;
  view.width = width;
  view.height = height;
  view.format = format;
  view.pixel_stride = channel_count(format);
  view.row_stride = row_stride != 0 ? row_stride : width * view.pixel_stride;
  if (format == PixelFormat::nv12) {
    view.chroma = data + height * view.row_stride;
    view.chroma_row_stride = view.row_stride;
  }
  return view;
}

void check(const ImageView& view) {
  const std::string size = std::to_string(view.width) + "x" + std::to_string(view.height);
  if (view.width < 1 || view.height < 1 || view.data == nullptr) {
    throw InputError("frame is empty (" + size + "): give a frame with at least one pixel");
  }
  if (view.width > max_frame_side || view.height > max_frame_side) {
    throw InputError("frame of " + size + " is too large: its sides may be " + std::to_string(max_frame_side) +
                     " px at most");
  }
  if (view.format == PixelFormat::nv12) {
    if (view.width % 2 != 0 || view.height % 2 != 0) {
      throw InputError("nv12 frame of " + size + " has an odd side: nv12 needs an even width and height");
    }
    if (view.chroma == nullptr) {
      throw InputError("nv12 frame of " + size + " has no chroma plane: set ImageView::chroma");
    }
  }
}

}  // namespace edgetrack
