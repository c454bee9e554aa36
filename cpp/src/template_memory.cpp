#include "edgetrack/template_memory.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "edgetrack/error.hpp"

namespace edgetrack {
namespace {

// The oldest index, 0 aside, that the slots after frame n (and every later frame) ask for.
constexpr std::int64_t oldest_needed(std::int64_t n) noexcept { return 3 * n / 10; }

// What a memory of stride s has to keep from: the oldest needed entry, rounded down to what it will be
// rounded to once the stride has doubled.
constexpr std::int64_t keep_from(std::int64_t n, std::int64_t stride) noexcept {
  const std::int64_t oldest = oldest_needed(n);
  return oldest - oldest % (2 * stride);
}

}  // namespace

std::array<std::int64_t, template_slot_count> template_slots(std::int64_t n, EarlySlots early) noexcept {
  if (n >= 4) return {0, 3 * n / 10, 51 * n / 100, 657 * n / 1000, n};
  if (early == EarlySlots::distill && n == 1) return {0, 0, 1, 0, 0};
  if (early == EarlySlots::distill && n == 2) return {0, 0, 1, 2, 0};
  std::array<std::int64_t, template_slot_count> slots{};
  for (int p = 0; p < template_slot_count; ++p) {
    slots[static_cast<std::size_t>(p)] = std::max<std::int64_t>(0, p - 4 + n);
  }
  return slots;
}

TemplateMemory::TemplateMemory(int rows, int channels, std::size_t limit_bytes)
    : rows_(static_cast<std::size_t>(std::max(rows, 0))),
      channels_(static_cast<std::size_t>(std::max(channels, 0))),
      limit_bytes_(limit_bytes) {
  if (entry_bytes() == 0) {
    throw ArtifactError("a template of " + std::to_string(rows) + " x " + std::to_string(channels) +
                        " values cannot be stored; both must be positive");
  }
  // Places are numbered in 32 bits; no sensible limit comes near that.
  capacity_ = std::min<std::size_t>(limit_bytes / entry_bytes(), UINT32_MAX);
  if (capacity_ < min_capacity) {
    throw ArtifactError("the template memory limit of " + std::to_string(limit_bytes) + " bytes holds " +
                        std::to_string(capacity_) + " templates of " + std::to_string(entry_bytes()) +
                        " bytes; raise it to at least " + std::to_string(min_capacity * entry_bytes()));
  }
  pool_.reset(new float[capacity_ * rows_ * channels_]);
  free_.reserve(capacity_);
  order_.resize(capacity_);
  clear();
}

void TemplateMemory::clear() noexcept {
  // Place 0 always holds entry 0. The others are handed out in ascending order, so that pages already touched
  // by an earlier track are used first.
  free_.clear();
  for (std::size_t place = capacity_ - 1; place > 0; --place) free_.push_back(static_cast<std::uint32_t>(place));
  head_ = count_ = 0;
  first_ = size_ = 0;
  stride_ = 1;
}

void TemplateMemory::pop_front() noexcept {
  free_.push_back(at(0));
  head_ = (head_ + 1) % order_.size();
  --count_;
  first_ += stride_;
}

void TemplateMemory::double_stride() noexcept {
  // first_ stays: a full memory begins at keep_from(), a multiple of the doubled stride.
  std::size_t kept = 0;
  for (std::size_t position = 0; position < count_; ++position) {
    if (position % 2 == 0) {
      at(kept++) = at(position);
    } else {
      free_.push_back(at(position));
    }
  }
  count_ = kept;
  stride_ *= 2;
}

void TemplateMemory::put(const float* tokens, const int* keep) noexcept {
  const std::int64_t k = size_++;
  std::size_t place = 0;
  if (k > 0) {
    if (k % stride_ != 0) return;
    const std::int64_t oldest = keep_from(size_, stride_);
    while (count_ > 0 && first_ < oldest) pop_front();
    if (free_.empty()) double_stride();
    if (k % stride_ != 0) return;
    place = free_.back();
    free_.pop_back();
    if (count_ == 0) first_ = k;
    at(count_++) = static_cast<std::uint32_t>(place);
  }
  touched_ = std::max(touched_, place + 1);
  float* row = pool_.get() + place * rows_ * channels_;
  for (std::size_t i = 0; i < rows_; ++i, row += channels_) {
    std::memcpy(row, tokens + static_cast<std::size_t>(keep[i]) * channels_, channels_ * sizeof(float));
  }
}

const float* TemplateMemory::get(std::int64_t k) const noexcept {
  const std::int64_t index = shown(k);
  std::size_t place = 0;
  if (index > 0) {
    const auto position = static_cast<std::size_t>((index - first_) / stride_);
    place = order_[(head_ + position) % order_.size()];
  }
  return pool_.get() + place * rows_ * channels_;
}

std::int64_t TemplateMemory::exact_frames() const noexcept {
  const auto capacity = static_cast<std::int64_t>(capacity_);
  // put(n - 1) holds entry 0 and entries max(1, keep_from(n)) .. n - 1; at most 0.7 n + 2.9 of them.
  std::int64_t n = (capacity - 3) * 10 / 7;
  while (n - std::max<std::int64_t>(1, keep_from(n, 1)) + 1 <= capacity) ++n;
  return n - 1;
}

}  // namespace edgetrack
