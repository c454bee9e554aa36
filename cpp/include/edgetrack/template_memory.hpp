// Which past templates a FARTrack frame looks at, and the bounded memory that holds them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace edgetrack {

// Number of template slots of the published "exponential" sampling.
inline constexpr int template_slot_count = 5;

// How slots are filled while fewer than four frames have been tracked.
enum class EarlySlots {
  shift,    // frame-level and sparse flavours: the newest templates move in from the right
  distill,  // distilled flavour: the newest template goes to slot 2, then to slot 3
};

// Returns the history index shown in each slot for frame n+1, after frame n (0: only the init frame so far).
//
// For n >= 4: 0, floor(0.3 n), floor(0.51 n), floor(0.657 n), n, computed as 3n/10, 51n/100, 657n/1000, which
// equals the published int(n * (1 - 0.7**i)).
std::array<std::int64_t, template_slot_count> template_slots(std::int64_t n, EarlySlots early) noexcept;

// A history of embedded templates that never grows past a limit.
//
// Each entry is rows x channels float32; entries are put in the order of their index k = 0, 1, 2, ... After
// frame n the published rule asks, then and later, for k = 0 and k >= floor(0.3 n) only, so older entries are
// dropped. The rest still grows as 0.7 n (the published code keeps everything). Here there is room for
//
//     capacity = floor(limit_bytes / (rows * channels * 4))
//
// entries. While they suffice, all that the rule can ask for is kept: the boxes are exactly the published
// ones up to frame exact_frames(), about capacity / 0.7. Each time the room runs out, the stride s (1 at
// first) doubles: from then on only entries whose index is a multiple of s are kept, and
//
//     shown(k) = k - k mod s
//
// is shown in place of k: a template at most s - 1 frames older than the rule asks. Memory stays constant for
// ever, and as s < 1.4 n / (capacity - 5), the shift is always a small share of the n frames tracked. With
// the default 60 MiB and 37 x 192: exact for 3161 frames (105 s at 30 frames/s), then shifts of under 0.07 %.
//
// All memory is taken in the constructor and left uninitialised, so pages become resident as entries are
// first used; put and get allocate nothing. A doubling moves indices, never templates.
class TemplateMemory {
 public:
  // Fewest entries a memory may have room for: below it, the slots of the first frames could not be exact.
  static constexpr std::size_t min_capacity = 16;

  // Throws ArtifactError when limit_bytes has no room for min_capacity entries of rows x channels float32.
  TemplateMemory(int rows, int channels, std::size_t limit_bytes);

  // Forgets every entry; the next put is entry 0.
  void clear() noexcept;

  // Stores the next entry, k = size(): row keep[0], keep[1], ... keep[rows-1] of `tokens`, whose rows have
  // `channels` values.
  void put(const float* tokens, const int* keep) noexcept;

  // Returns the rows x channels values that stand for index k, valid until the next put or clear. k must be
  // 0, or lie in [floor(0.3 size()), size()).
  const float* get(std::int64_t k) const noexcept;

  // Returns the index of the entry that get(k) gives: k itself while everything is exact.
  std::int64_t shown(std::int64_t k) const noexcept { return k - k % stride_; }

  // Returns the last frame number n after which every slot still shows exactly the template that the rule
  // asks for.
  std::int64_t exact_frames() const noexcept;

  std::int64_t size() const noexcept { return size_; }                  // entries put so far
  std::int64_t stride() const noexcept { return stride_; }              // 1 while exact
  std::size_t stored() const noexcept { return count_ + (size_ > 0); }  // entries held now
  std::size_t capacity() const noexcept { return capacity_; }           // entries there is room for
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }     // as asked for

  // Returns how much of the pool was ever touched, in bytes; never shrinks.
  std::size_t used_bytes() const noexcept { return touched_ * entry_bytes(); }

 private:
  std::size_t entry_bytes() const noexcept { return rows_ * channels_ * sizeof(float); }
  std::uint32_t& at(std::size_t position) noexcept { return order_[(head_ + position) % order_.size()]; }
  void pop_front() noexcept;
  void double_stride() noexcept;

  std::size_t rows_;
  std::size_t channels_;
  std::size_t limit_bytes_;
  std::size_t capacity_ = 0;
  std::unique_ptr<float[]> pool_;     // capacity_ places; place 0 holds entry 0
  std::vector<std::uint32_t> free_;   // unused places; the last one is taken first
  std::vector<std::uint32_t> order_;  // ring: the places of entries first_, first_ + stride_, ...
  std::size_t head_ = 0;
  std::size_t count_ = 0;
  std::size_t touched_ = 0;
  std::int64_t first_ = 0;
  std::int64_t size_ = 0;
  std::int64_t stride_ = 1;
};

}  // namespace edgetrack
