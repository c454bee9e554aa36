// A view of a uint8 frame that somebody else owns: any strides, no copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace edgetrack {

// How a frame's bytes are to be read. nv12 is a full-size luma plane and a half-size plane of U, V pairs.
enum class PixelFormat { bgr, rgb, gray, bgra, rgba, nv12 };

// Where a frame's bytes lie.
enum class Memory {
  host,
  device,  // of the device that runs the networks: addresses mean something to its kernels only
};

// A frame of width x height pixels. Strides are in bytes and may have any sign and size, so that numpy views
// such as frame[::-1], frame[:, ::-1] and frame[..., ::-1] are read where they lie. The memory must outlive
// the view.
struct ImageView {
  const std::uint8_t* data = nullptr;  // first channel of the top-left pixel (nv12: its luma)
  int width = 0;
  int height = 0;
  std::ptrdiff_t row_stride = 0;      // from a pixel to the one below it
  std::ptrdiff_t pixel_stride = 0;    // from a pixel to its right neighbour
  std::ptrdiff_t channel_stride = 1;  // from a channel to the next one of the same pixel; unused by gray and nv12
  PixelFormat format = PixelFormat::bgr;
  // nv12 only: the U of the top-left 2x2 block, and the strides to the block below, and from U to V (the next
  // block's U is two such steps to the right).
  const std::uint8_t* chroma = nullptr;
  std::ptrdiff_t chroma_row_stride = 0;
  std::ptrdiff_t chroma_stride = 1;
  Memory memory = Memory::host;
};

// The longest side of a frame, in pixels: a guard against damaged headers, far above any camera.
inline constexpr int max_frame_side = 1 << 16;

// Returns the view of a packed frame without gaps between pixels (nv12: `data` holds height rows of luma,
// then height/2 rows of chroma, all `row_stride` apart). row_stride 0 means: no gaps between rows either.
ImageView packed_view(const std::uint8_t* data, int width, int height, PixelFormat format,
                      std::ptrdiff_t row_stride = 0);

// Returns the number of interleaved channels of a pixel (1 for gray and nv12's planes).
int channel_count(PixelFormat format);

// Returns the format called `name` ("bgr", "rgb", "gray", "bgra", "rgba", "nv12"); throws InputError for
// another.
PixelFormat parse_format(std::string_view name);

// Throws InputError unless the view has data, a size within 1..max_frame_side and (nv12) even sides and
// chroma.
void check(const ImageView& view);

}  // namespace edgetrack
