// Crops as work for a device.
#include "edgetrack/crop.hpp"
#include "pixels.hpp"
#include "taps.hpp"

namespace edgetrack {
namespace {

CropTask task_of(const ImageView& view, const Area& area, Range columns, Range rows, int size,
                 const Normalizer& normalizer) {
  check(view);
  CropTask task{};
  task.data = view.data;
  task.row_stride = view.row_stride;
  task.pixel_stride = view.pixel_stride;
  if (view.format == PixelFormat::nv12) {
    task.chroma = view.chroma;
    task.chroma_row_stride = view.chroma_row_stride;
    task.chroma_stride = view.chroma_stride;
  } else if (view.format != PixelFormat::gray) {
    const bool blue_first = pixels::is_blue_first(view.format);
    for (int channel = 0; channel < 3; ++channel) {
      task.channel[channel] = (blue_first ? 2 - channel : channel) * view.channel_stride;
    }
  }
  task.column_step = kernels::axis_step(size, area.width);
  task.row_step = kernels::axis_step(size, area.height);
  task.x = area.x;
  task.y = area.y;
  task.width = area.width;
  task.height = area.height;
  task.left = columns.begin;
  task.right = columns.end;
  task.top = rows.begin;
  task.bottom = rows.end;
  task.size = size;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    task.mean[channel] = normalizer.mean()[channel];
    task.stddev[channel] = normalizer.stddev()[channel];
  }
  return task;
}

}  // namespace

CropTask crop_task(const ImageView& view, const CropWindow& window, int size, const Normalizer& normalizer) {
  return task_of(view, {window.x1, window.y1, window.side, window.side},
                 real_pixels(window.x1, window.side, view.width), real_pixels(window.y1, window.side, view.height),
                 size, normalizer);
}

CropTask squeeze_task(const ImageView& view, int size, const Normalizer& normalizer) {
  return task_of(view, {0, 0, view.width, view.height}, {0, view.width}, {0, view.height}, size, normalizer);
}

}  // namespace edgetrack
