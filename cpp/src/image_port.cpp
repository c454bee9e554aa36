#include "edgetrack/image_port.hpp"

#include <utility>

#include "ports.hpp"

namespace edgetrack {

ImagePort::ImagePort(Graph& graph, std::string name, int size, const std::string& what)
    : graph_(&graph), name_(std::move(name)), planes_(checked(graph.input(name_), {1, 3, size, size}, what)) {}

CropInfo ImagePort::crop(Cropper& cropper, const ImageView& frame, const Box& box, double factor,
                         const Normalizer& normalizer) {
  filled_ = frame.memory == Memory::device;
  if (!filled_) return cropper.crop(frame, box, factor, normalizer, planes_);
  CropInfo info = crop_info(box, factor, cropper.size());
  info.spread = graph_->fill(name_, crop_task(frame, info.window, cropper.size(), normalizer));
  return info;
}

CropInfo ImagePort::squeeze(Cropper& cropper, const ImageView& frame, const Normalizer& normalizer) {
  filled_ = frame.memory == Memory::device;
  if (!filled_) return cropper.squeeze(frame, normalizer, planes_);
  CropInfo info;
  info.spread = graph_->fill(name_, squeeze_task(frame, cropper.size(), normalizer));
  return info;
}

void ImagePort::run() {
  if (filled_) {
    graph_->run_filled(name_);
  } else {
    graph_->run();
  }
}

}  // namespace edgetrack
