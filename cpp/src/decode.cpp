#include "edgetrack/decode.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "edgetrack/error.hpp"
#include "finite.hpp"

namespace edgetrack {
namespace {

constexpr int coordinates = 4;
constexpr int max_classes = 1 << 16;

// Whether all logits (4, classes) are finite.
bool usable(const float* logits, int classes) {
  return all_finite(logits, coordinates * static_cast<std::size_t>(classes));
}

int index_of_max(const float* values, int count) {
  return static_cast<int>(std::max_element(values, values + count) - values);
}

// The published expectation: softmax over the first `used` classes, weighted with -range/4 + k/bins.
float expectation(const float* logits, int used, const BinLayout& layout) {
  const float top = logits[index_of_max(logits, used)];
  const float origin = -0.25f * static_cast<float>(layout.range);
  double mass = 0;
  double weighted = 0;
  for (int k = 0; k < used; ++k) {
    const double weight = std::exp(logits[k] - top);
    mass += weight;
    weighted += weight * static_cast<double>(origin + static_cast<float>(k) / static_cast<float>(layout.bins));
  }
  return static_cast<float>(weighted / mass);
}

}  // namespace

void check(const BinLayout& layout) {
  const bool sane = layout.bins >= 2 && layout.range >= 1 && layout.classes <= max_classes &&
                    layout.bins <= max_classes && layout.range <= max_classes &&
                    static_cast<std::int64_t>(layout.bins) * layout.range <= layout.classes;
  if (!sane) {
    throw ArtifactError("decode: bins " + std::to_string(layout.bins) + ", range " + std::to_string(layout.range) +
                        ", classes " + std::to_string(layout.classes) +
                        " do not fit together; bins >= 2, range >= 1 and bins * range <= classes <= " +
                        std::to_string(max_classes) + " are needed");
  }
}

BinDecode decode_bins(const float* logits, const BinLayout& layout) {
  BinDecode out;
  out.finite = usable(logits, layout.classes);
  if (!out.finite) {
    return out;
  }
  const int used = layout.bins * layout.range;
  const auto scale = static_cast<float>(layout.bins - 1);
  const float origin = 0.25f * static_cast<float>(layout.range);
  for (std::size_t i = 0; i < coordinates; ++i) {
    const float* row = logits + i * static_cast<std::size_t>(layout.classes);
    const int best = index_of_max(row, layout.classes);
    double mass = 0;
    for (int k = 0; k < layout.classes; ++k) {
      mass += std::exp(row[k] - row[best]);
    }
    out.argmax[i] = best;
    out.probability[i] = static_cast<float>(1 / mass);
    out.corners[i] = layout.expectation
                         ? ((static_cast<float>(best) + 0.5f) / scale - origin + expectation(row, used, layout)) / 2
                         : static_cast<float>(best) / scale - origin;
  }
  return out;
}

BinMass bin_mass(const float* logits, int classes, int used, int radius) {
  if (!usable(logits, classes)) {
    return {0, false};
  }
  double product = 1;
  for (std::size_t i = 0; i < coordinates; ++i) {
    const float* row = logits + i * static_cast<std::size_t>(classes);
    const int best = index_of_max(row, used);
    double all = 0;
    double near = 0;
    for (int k = 0; k < used; ++k) {
      const double weight = std::exp(row[k] - row[best]);
      all += weight;
      if (std::abs(k - best) <= radius) {
        near += weight;
      }
    }
    product *= near / all;
  }
  return {static_cast<float>(std::pow(product, 1.0 / coordinates)), true};
}

void keep_rows(const float* score, int count, int prune, int* kept) {
  if (prune < 0 || prune > count) {
    throw InputError("cannot prune " + std::to_string(prune) + " of " + std::to_string(count) +
                     " tokens; give a number between");
  }
  // Counting who comes before is quadratic, but there are some fifty tokens, and it needs no memory.
  const auto key = [&](int i) { return std::isnan(score[i]) ? INFINITY : score[i]; };
  int* out = kept;
  for (int i = 0; i < count; ++i) {
    int before = 0;
    for (int j = 0; j < count; ++j) {
      before += key(j) < key(i) || (key(j) == key(i) && j < i) ? 1 : 0;
    }
    if (before >= prune) {
      *out++ = i;
    }
  }
}

}  // namespace edgetrack
