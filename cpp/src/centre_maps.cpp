#include "edgetrack/centre_maps.hpp"

#include <algorithm>
#include <cmath>

#include "finite.hpp"
#include "lead.hpp"
#include "require.hpp"

namespace edgetrack {
namespace {

constexpr double pi = 3.14159265358979323846;

// The window, every step rounded to float32. The cosine is rounded from float64, so that it is the same on all
// machines; cosines computed in float32, the published one included, differ from it by a rounding here and there.
std::vector<float> hann_window(int grid) {
  const auto side = static_cast<std::size_t>(grid);
  const auto step = static_cast<float>(2 * pi / (grid + 1));
  std::vector<float> h(side);
  for (std::size_t n = 0; n < side; ++n) {
    const float angle = step * static_cast<float>(n + 1);
    h[n] = 0.5F * (1.0F - static_cast<float>(std::cos(static_cast<double>(angle))));
  }
  std::vector<float> window(side * side);
  for (std::size_t cell = 0; cell < window.size(); ++cell) window[cell] = h[cell / side] * h[cell % side];
  return window;
}

int checked(int grid) {
  require(grid >= 1 && grid <= max_grid, "decode.grid", grid, "1 to 1024");
  return grid;
}

int checked_divisor(int divisor, int grid) {
  require(divisor >= 0 && divisor <= max_grid, "decode.divisor", divisor, "1 to 1024");
  return divisor == 0 ? grid : divisor;
}

}  // namespace

CentreDecoder::CentreDecoder(int grid, int divisor)
    : grid_(checked(grid)),
      divisor_(checked_divisor(divisor, grid)),
      window_(hann_window(grid)),
      response_(window_.size()) {}

bool CentreDecoder::read(const CentreMaps& maps) noexcept {
  maps_ = maps;
  if (!all_finite(maps.score, cells()) || !all_finite(maps.size, 2 * cells()) ||
      !all_finite(maps.offset, 2 * cells())) {
    return false;
  }
  std::transform(window_.begin(), window_.end(), maps.score, response_.begin(), [](float w, float s) { return w * s; });
  return true;
}

std::size_t CentreDecoder::best() const noexcept {
  return static_cast<std::size_t>(std::max_element(response_.begin(), response_.end()) - response_.begin());
}

float CentreDecoder::lead() const noexcept { return lead_of(response_.data(), cells()); }

bool CentreDecoder::is_peak(std::size_t cell) const noexcept {
  const auto side = static_cast<std::size_t>(grid_);
  const std::size_t y = cell / side;
  const std::size_t x = cell % side;
  for (std::size_t row = y - std::min<std::size_t>(y, 1); row <= std::min(y + 1, side - 1); ++row) {
    for (std::size_t column = x - std::min<std::size_t>(x, 1); column <= std::min(x + 1, side - 1); ++column) {
      const std::size_t other = row * side + column;
      if (other < cell ? response_[other] >= response_[cell] : response_[other] > response_[cell]) return false;
    }
  }
  return true;
}

std::vector<std::size_t> CentreDecoder::peaks(std::size_t count) const {
  std::vector<std::size_t> found;
  for (std::size_t cell = 0; cell < cells(); ++cell) {
    if (is_peak(cell)) found.push_back(cell);
  }
  std::stable_sort(found.begin(), found.end(),
                   [&](std::size_t a, std::size_t b) { return response_[a] > response_[b]; });
  found.resize(std::min(count, found.size()));
  return found;
}

std::array<float, 4> CentreDecoder::target(std::size_t cell) const noexcept {
  const auto side = static_cast<std::size_t>(divisor_);
  const auto cells_per_crop = static_cast<float>(divisor_);
  return {(static_cast<float>(cell % side) + maps_.offset[cell]) / cells_per_crop,
          (static_cast<float>(cell / side) + maps_.offset[cells() + cell]) / cells_per_crop, maps_.size[cell],
          maps_.size[cells() + cell]};
}

}  // namespace edgetrack
