// Measuring how far the values of a crop spread. Internal to the library.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "pixels.hpp"

namespace edgetrack {

// Takes rows of pixels (pixels::lanes bytes each) and tells how far apart their values are.
class SpreadMeter {
 public:
  // row_bytes: length of every row.
  explicit SpreadMeter(std::size_t row_bytes) : lowest_(row_bytes), highest_(row_bytes) {}

  void clear() {
    std::fill(lowest_.begin(), lowest_.end(), std::uint8_t{255});
    std::fill(highest_.begin(), highest_.end(), std::uint8_t{0});
  }

  // By columns, not into one number: this vectorises.
  void add(const std::uint8_t* row) {
    const std::size_t size = lowest_.size();
    std::uint8_t* low = lowest_.data();
    std::uint8_t* high = highest_.data();
    for (std::size_t i = 0; i < size; ++i) {
      low[i] = std::min(low[i], row[i]);
      high[i] = std::max(high[i], row[i]);
    }
  }

  // Returns the largest difference, in any of three channels, between pixels of columns [begin, end) in the rows
  // added; 0 if there are none. order: the lanes that hold a channel.
  int spread(const pixels::Order& order, int begin, int end) const {
    int widest = 0;
    for (const int lane : order) {
      int low = 255;
      int high = 0;
      for (int column = begin; column < end; ++column) {
        const std::size_t at = pixels::lanes * static_cast<std::size_t>(column) + static_cast<std::size_t>(lane);
        low = std::min<int>(low, lowest_[at]);
        high = std::max<int>(high, highest_[at]);
      }
      widest = std::max(widest, high - low);  // negative without rows or columns
    }
    return widest;
  }

 private:
  std::vector<std::uint8_t> lowest_;   // of every byte of the rows added
  std::vector<std::uint8_t> highest_;  // the same
};

}  // namespace edgetrack
