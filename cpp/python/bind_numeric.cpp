// The numeric pieces of the core as Python functions, for tests and tools.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "edgetrack/centre_maps.hpp"
#include "edgetrack/crop.hpp"
#include "edgetrack/decode.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/geometry.hpp"
#include "numpy_image.hpp"

namespace py = pybind11;

namespace edgetrack::python {
namespace {

using Quad = std::array<double, 4>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

Box box_of(const Quad& box) { return {box[0], box[1], box[2], box[3]}; }

std::tuple<double, double, double, double> tuple_of(const Box& box) { return {box.x, box.y, box.w, box.h}; }

template <class Work>
auto without_gil(const Work& work) {
  const py::gil_scoped_release released;
  return work();
}

std::pair<py::array_t<std::uint8_t>, double> crop(py::handle frame, const Quad& box, double factor, int size,
                                                  const std::string& color) {
  Cropper cropper(size);
  py::array_t<std::uint8_t> out({size, size, 3});
  const ImageView view = view_of(frame, color);
  std::uint8_t* pixels = out.mutable_data();
  return {out, without_gil([&] { return cropper.crop(view, box_of(box), factor, pixels); }).resize_factor};
}

py::array_t<std::uint8_t> squeeze(py::handle frame, int size, const std::string& color) {
  Cropper cropper(size);
  py::array_t<std::uint8_t> out({size, size, 3});
  const ImageView view = view_of(frame, color);
  std::uint8_t* pixels = out.mutable_data();
  without_gil([&] { return cropper.squeeze(view, pixels); });
  return out;
}

std::pair<py::array_t<float>, double> crop_normalized(py::handle frame, const Quad& box, double factor, int size,
                                                      const std::array<float, 3>& mean, const std::array<float, 3>& std,
                                                      const std::string& color) {
  Cropper cropper(size);
  const Normalizer normalizer(mean, std);
  py::array_t<float> out({3, size, size});
  const ImageView view = view_of(frame, color);
  float* planes = out.mutable_data();
  return {out, without_gil([&] { return cropper.crop(view, box_of(box), factor, normalizer, planes); }).resize_factor};
}

int classes_of(const Floats& logits) {
  if (logits.ndim() != 2 || logits.shape(0) != 4) {
    throw InputError("logits have the shape " + py::str(logits.attr("shape")).cast<std::string>() +
                     "; pass (4, classes)");
  }
  return static_cast<int>(logits.shape(1));
}

py::array_t<float> decode(const Floats& logits, int bins, int range, bool expectation) {
  const BinLayout layout{bins, range, classes_of(logits), expectation};
  check(layout);
  const BinDecode result = decode_bins(logits.data(), layout);
  if (!result.finite) {
    throw InputError("the logits are not finite; pass finite numbers");
  }
  return py::array_t<float>(4, result.corners.data());
}

float mass(const Floats& logits, int used, int radius) {
  const int classes = classes_of(logits);
  if (used < 1 || used > classes || radius < 0) {
    throw InputError("used " + std::to_string(used) + ", radius " + std::to_string(radius) +
                     " do not fit: 1 <= used <= " + std::to_string(classes) + " and radius >= 0 are needed");
  }
  return bin_mass(logits.data(), classes, used, radius).value;
}

py::array_t<float> window(int grid) {
  const CentreDecoder decoder(grid);
  return py::array_t<float>({grid, grid}, decoder.window().data());
}

// Checks an array of (channels, side, side) and returns the side.
py::ssize_t side_of(const Floats& map, py::ssize_t channels, const char* name) {
  if (map.ndim() != 3 || map.shape(0) != channels || map.shape(1) != map.shape(2)) {
    throw InputError(std::string("the ") + name + " map has the shape " +
                     py::str(map.attr("shape")).cast<std::string>() + "; pass (" + std::to_string(channels) +
                     ", grid, grid)");
  }
  return map.shape(1);
}

using Peak = std::tuple<std::size_t, float, std::array<float, 4>>;

std::vector<Peak> peaks(const Floats& score, const Floats& size, const Floats& offset, std::size_t k) {
  const py::ssize_t side = side_of(score, 1, "score");
  if (side_of(size, 2, "size") != side || side_of(offset, 2, "offset") != side) {
    throw InputError("the maps do not have the same sides; pass (1, grid, grid), (2, grid, grid), (2, grid, grid)");
  }
  CentreDecoder decoder(static_cast<int>(side));
  if (!decoder.read({score.data(), size.data(), offset.data()})) {
    throw InputError("the maps are not finite; pass finite numbers");
  }
  std::vector<Peak> out;
  for (const std::size_t cell : decoder.peaks(k)) {
    out.emplace_back(cell, decoder.response(cell), decoder.target(cell));
  }
  return out;
}

py::array_t<int> rows_to_keep(const Floats& score, int prune) {
  if (score.ndim() != 1) {
    throw InputError("the score has the shape " + py::str(score.attr("shape")).cast<std::string>() +
                     "; pass one number per token");
  }
  const auto count = static_cast<int>(score.shape(0));
  py::array_t<int> kept(prune >= 0 && prune <= count ? count - prune : 0);
  keep_rows(score.data(), count, prune, kept.mutable_data());
  return kept;
}

}  // namespace

void init_numeric(py::module_& module) {
  using py::literals::operator""_a;
  module.def("crop", &crop, "frame"_a, "box"_a, "factor"_a, "size"_a, "color"_a = "bgr",
             "Cut the published square around a box and resize it; uint8 RGB (size, size, 3), resize factor.");
  module.def("squeeze", &squeeze, "frame"_a, "size"_a, "color"_a = "bgr",
             "Resize a whole frame, its aspect ignored; uint8 RGB (size, size, 3).");
  module.def("crop_normalized", &crop_normalized, "frame"_a, "box"_a, "factor"_a, "size"_a, "mean"_a, "std"_a,
             "color"_a = "bgr", "The same as normalised float32 RGB planes (3, size, size).");
  module.def("decode_bins", &decode, "logits"_a, "bins"_a = 300, "range"_a = 2, "expectation"_a = true,
             "Decode logits (4, classes) to corners (x1, y1, x2, y2) in units of the crop, centred on it.");
  module.def(
      "map_box",
      [](const std::array<float, 4>& corners, const Quad& state, double resize_factor, int search_size) {
        return tuple_of(map_box(corners, box_of(state), resize_factor, search_size));
      },
      "corners"_a, "state"_a, "resize_factor"_a, "search_size"_a, "Map decoded corners to a box in the frame.");
  module.def(
      "place_box",
      [](const std::array<float, 4>& centre_size, const Quad& state, double resize_factor, int search_size) {
        return tuple_of(place_box(centre_size, box_of(state), resize_factor, search_size));
      },
      "centre_size"_a, "state"_a, "resize_factor"_a, "search_size"_a,
      "Map a decoded centre and size to a box in the frame.");
  module.def("hann_window", &window, "grid"_a, "Return the window (grid, grid) that centre maps are weighted with.");
  module.def("centre_peaks", &peaks, "score"_a, "size"_a, "offset"_a, "k"_a = 1,
             "Return cell, response and centre and size of the k best peaks of centre maps.");
  module.def(
      "clip_box",
      [](const Quad& box, int height, int width, double margin) {
        return tuple_of(clip_box(box_of(box), height, width, margin));
      },
      "box"_a, "height"_a, "width"_a, "margin"_a, "Clip a box to the frame as published.");
  module.def("bin_mass", &mass, "logits"_a, "used"_a, "radius"_a,
             "Return how concentrated four distributions are, 0 to 1.");
  module.def("keep_rows", &rows_to_keep, "score"_a, "prune"_a,
             "Return the indices that stay when the `prune` lowest scores go, ascending.");
}

}  // namespace edgetrack::python
