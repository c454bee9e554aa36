#include "edgetrack/image_port.hpp"

#include <algorithm>
#include <utility>

#include "edgetrack/error.hpp"
#include "ports.hpp"

namespace edgetrack {

ImagePort::ImagePort(Graph& graph, std::string name, int size, const std::string& what)
    : graph_(&graph), name_(std::move(name)), pixels_(static_cast<std::size_t>(size) * static_cast<std::size_t>(size)) {
  const Tensor input = graph.input(name_);
  rgb_ = input.pixels;
  if (rgb_ == nullptr) {
    planes_ = checked(input, {1, 3, size, size}, what);
  } else {
    require_shape(input, {1, size, size, 3}, what);
  }
}

bool ImagePort::fills(const ImageView& frame) const {
  if (frame.memory != Memory::device) return false;
  if (rgb_ != nullptr) {
    throw InputError("input '" + name_ +
                     "' takes uint8 pixels, which are cropped in host memory; pass the frame there");
  }
  return true;
}

CropInfo ImagePort::crop(Cropper& cropper, const ImageView& frame, const Box& box, double factor,
                         const Normalizer& normalizer) {
  filled_ = fills(frame);
  if (rgb_ != nullptr) return cropper.crop(frame, box, factor, rgb_);
  if (!filled_) return cropper.crop(frame, box, factor, normalizer, planes_);
  CropInfo info = crop_info(box, factor, cropper.size());
  info.spread = graph_->fill(name_, crop_task(frame, info.window, cropper.size(), normalizer));
  return info;
}

CropInfo ImagePort::squeeze(Cropper& cropper, const ImageView& frame, const Normalizer& normalizer) {
  filled_ = fills(frame);
  if (rgb_ != nullptr) return cropper.squeeze(frame, rgb_);
  if (!filled_) return cropper.squeeze(frame, normalizer, planes_);
  CropInfo info;
  info.spread = graph_->fill(name_, squeeze_task(frame, cropper.size(), normalizer));
  return info;
}

void ImagePort::write(const std::uint8_t* rgb, const Normalizer& normalizer) {
  filled_ = false;
  if (rgb_ != nullptr) {
    std::copy_n(rgb, 3 * pixels_, rgb_);
    return;
  }
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const float* table = normalizer.table(static_cast<int>(channel));
    float* plane = planes_ + channel * pixels_;
    for (std::size_t i = 0; i < pixels_; ++i) plane[i] = table[rgb[3 * i + channel]];
  }
}

void ImagePort::run() {
  if (filled_) {
    graph_->run_filled(name_);
  } else {
    graph_->run();
  }
}

}  // namespace edgetrack
