// Crop, zero padding, bilinear resize and normalisation in one pass over the output.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "edgetrack/geometry.hpp"
#include "edgetrack/image.hpp"
#include "edgetrack/kernels/crop.hpp"

namespace edgetrack {

// Turns uint8 RGB values into network input: (v / 255 - mean) / std in float32, by table (exact).
class Normalizer {
 public:
  // mean, std: per RGB channel, of values in 0..1. Throws ArtifactError unless all are finite and std
  // positive.
  Normalizer(const std::array<float, 3>& mean, const std::array<float, 3>& std);

  // The 256 values of a channel (0 red, 1 green, 2 blue).
  const float* table(int channel) const { return table_[static_cast<std::size_t>(channel)].data(); }

  const std::array<float, 3>& mean() const { return mean_; }
  const std::array<float, 3>& stddev() const { return stddev_; }

 private:
  std::array<float, 3> mean_;
  std::array<float, 3> stddev_;
  std::array<std::array<float, 256>, 3> table_;
};

// What a crop was made of.
struct CropInfo {
  CropWindow window;         // the source pixels, before padding; empty for a squeezed frame
  double resize_factor = 0;  // output pixels per source pixel: size / window.side; 0 for a squeezed frame
  // The largest difference, in any channel, between two output pixels made of frame pixels alone (padding does
  // not count), in grey levels 0..255; 0 where there are none: all padding.
  int spread = 0;

  // Whether there is nothing to see: one colour throughout. Not more than that: small targets on sky or road were
  // seen to spread over 3 grey levels, and the published loop goes on there.
  bool blank() const { return spread == 0; }
};

// Returns what a crop of `size` pixels around a box is made of, all but its spread. Throws InputError as crop_window
// does.
CropInfo crop_info(const Box& box, double factor, int size);

// Return the crops below as work for a device, which gets from it the same values. Throw InputError as check(view)
// does.
CropTask crop_task(const ImageView& view, const CropWindow& window, int size, const Normalizer& normalizer);
CropTask squeeze_task(const ImageView& view, int size, const Normalizer& normalizer);

// Cuts a square around a box and resizes it to size x size pixels, or squeezes a whole frame into them.
//
// The pixels are those of the published pipeline: pad with zeros (at the right and bottom border one column
// and row more than needed), then OpenCV's 8-bit INTER_LINEAR, byte for byte. nv12 is converted as
// cv2.cvtColor does before. Only source pixels that the result depends on are read, so the work depends on
// `size` alone, never on the frame. All scratch memory is allocated in the constructor. One object serves one
// thread at a time. Frames have to lie in host memory (InputError).
class Cropper {
 public:
  // size: side of the output in pixels, 1..4096; throws ArtifactError otherwise.
  explicit Cropper(int size);
  ~Cropper();
  Cropper(Cropper&&) noexcept;
  Cropper& operator=(Cropper&&) noexcept;

  int size() const { return size_; }

  // Writes the uint8 RGB crop, (size, size, 3) contiguous. Throws InputError as check(view) and crop_window
  // do.
  CropInfo crop(const ImageView& view, const Box& box, double factor, std::uint8_t* rgb);

  // Writes the normalised crop, float32 RGB planes (3, size, size) contiguous: the engine's input buffer.
  CropInfo crop(const ImageView& view, const Box& box, double factor, const Normalizer& normalizer, float* planes);

  // The same for the whole frame, its aspect ignored: cv2.resize(frame, (size, size)). Nothing is padded, and the last
  // column and row are seen.
  CropInfo squeeze(const ImageView& view, std::uint8_t* rgb);
  CropInfo squeeze(const ImageView& view, const Normalizer& normalizer, float* planes);

 private:
  struct Scratch;

  template <class Sink>
  CropInfo run(const ImageView& view, const Box& box, double factor, const Sink& sink);
  template <class Sink>
  CropInfo run_whole(const ImageView& view, const Sink& sink);
  template <class Sink>
  int render(const ImageView& view, const Sink& sink);
  void write(std::ptrdiff_t row, std::uint8_t* rgb) const;
  void write(std::ptrdiff_t row, const Normalizer& normalizer, float* planes) const;

  int size_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace edgetrack
