// A centre head's maps (OSTrack and the trackers that share its head): from three maps to boxes.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace edgetrack {

// The largest side of a map, far above any model.
inline constexpr int max_grid = 1024;

// The maps of one network call, float32, row-major, contiguous; they belong to the engine.
struct CentreMaps {
  const float* score = nullptr;   // (grid, grid): how likely the target's centre lies in a cell
  const float* size = nullptr;    // (2, grid, grid): width and height as a share of the search crop
  const float* offset = nullptr;  // (2, grid, grid): x and y of the centre inside its cell, in cells
};

// Reads centre maps as published: the score is weighted with a Hann window that favours the middle of the crop, and
// the box is read at the cell with the largest response. One object serves one thread at a time.
class CentreDecoder {
 public:
  // grid: cells per side of the maps; throws ArtifactError unless it is 1 to max_grid. All memory is taken here.
  // divisor: what a cell's index is split by into row and column, and both are divided by; 0: grid. Another one is a
  // published oddity of GLAD-L384, which decodes 24 x 24 cells with 27; throws unless it is 0 to max_grid.
  explicit CentreDecoder(int grid, int divisor = 0);

  int grid() const noexcept { return grid_; }

  // The window (grid, grid): the outer product of h_n = 0.5 (1 - cos(2 pi n / (grid + 1))), n = 1..grid, with
  // itself, computed in float32 steps as published. Every cell is above 0.
  const std::vector<float>& window() const noexcept { return window_; }

  // Computes the response to `maps`, window * score in float32, for the calls below; they read `maps` too, so it must
  // keep its values. False: a value is NaN or infinite, and there is nothing to read.
  bool read(const CentreMaps& maps) noexcept;

  // Returns the first cell (row-major) with the largest response.
  std::size_t best() const noexcept;

  // Returns the largest response minus the second largest of all cells; infinity when there is one cell.
  float lead() const noexcept;

  // Returns up to `count` cells whose response is largest among their eight neighbours, best first; of equal
  // neighbours the first one counts, and of equal responses the first one leads. The first of them is best().
  // Allocates.
  std::vector<std::size_t> peaks(std::size_t count) const;

  // Returns the target whose centre lies in `cell` as centre and size (cx, cy, w, h) in units of the search crop, in
  // float32 as published: cx = (column + offset_x) / divisor, w = size_x.
  std::array<float, 4> target(std::size_t cell) const noexcept;

  // Returns the score in `cell` as the network gave it, without the window.
  float score(std::size_t cell) const noexcept { return maps_.score[cell]; }

  // Returns the response in `cell`.
  float response(std::size_t cell) const noexcept { return response_[cell]; }

 private:
  std::size_t cells() const noexcept { return window_.size(); }
  bool is_peak(std::size_t cell) const noexcept;

  int grid_;
  int divisor_;
  std::vector<float> window_;
  std::vector<float> response_;
  CentreMaps maps_;
};

}  // namespace edgetrack
