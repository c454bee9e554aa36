// The slot rule and the bounded history.
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/template_memory.hpp"

namespace {

using edgetrack::EarlySlots;
using edgetrack::template_slots;
using edgetrack::TemplateMemory;
using Slots = std::array<std::int64_t, edgetrack::template_slot_count>;

// A history of one-value entries that hold their own index.
class IndexMemory {
 public:
  explicit IndexMemory(std::size_t capacity) : memory(1, 1, capacity * sizeof(float)) {}

  void put() {
    const float index = static_cast<float>(memory.size());
    const int row = 0;
    memory.put(&index, &row);
  }
  std::int64_t get(std::int64_t k) const { return static_cast<std::int64_t>(*memory.get(k)); }

  TemplateMemory memory;
};

void slots_follow_the_published_rule() {
  CHECK((template_slots(0, EarlySlots::shift) == Slots{0, 0, 0, 0, 0}));
  CHECK((template_slots(1, EarlySlots::shift) == Slots{0, 0, 0, 0, 1}));
  CHECK((template_slots(2, EarlySlots::shift) == Slots{0, 0, 0, 1, 2}));
  CHECK((template_slots(3, EarlySlots::shift) == Slots{0, 0, 1, 2, 3}));
  CHECK((template_slots(0, EarlySlots::distill) == Slots{0, 0, 0, 0, 0}));
  CHECK((template_slots(1, EarlySlots::distill) == Slots{0, 0, 1, 0, 0}));
  CHECK((template_slots(2, EarlySlots::distill) == Slots{0, 0, 1, 2, 0}));
  CHECK((template_slots(3, EarlySlots::distill) == Slots{0, 0, 1, 2, 3}));
  CHECK((template_slots(4, EarlySlots::shift) == Slots{0, 1, 2, 2, 4}));
  CHECK((template_slots(6, EarlySlots::distill) == Slots{0, 1, 3, 3, 6}));
  for (std::int64_t n = 4; n < 200000; n += 7) {
    const Slots slots = template_slots(n, EarlySlots::shift);
    for (std::size_t i = 0; i < 4; ++i) {
      const double part = static_cast<double>(n) * (1 - std::pow(0.7, static_cast<double>(i)));
      CHECK(slots[i] == static_cast<std::int64_t>(part));
    }
  }
}

void everything_is_exact_up_to_the_stated_frame() {
  for (std::size_t capacity = TemplateMemory::min_capacity; capacity < 200; capacity += 3) {
    IndexMemory history(capacity);
    const std::int64_t exact = history.memory.exact_frames();
    for (std::int64_t n = 1; n <= exact + 1; ++n) {
      history.put();
      CHECK((history.memory.stride() == 1) == (n <= exact));
      if (n > exact) continue;
      for (std::int64_t k = 3 * n / 10; k < n; ++k) CHECK(history.get(k) == k);
      CHECK(history.get(0) == 0);
    }
  }
}

void past_it_slots_show_slightly_older_entries() {
  for (const std::size_t capacity : {std::size_t{16}, std::size_t{21}, std::size_t{64}}) {
    IndexMemory history(capacity);
    for (std::int64_t n = 1; n < 20000; ++n) {
      history.put();
      const std::int64_t stride = history.memory.stride();
      CHECK(history.memory.stored() <= capacity);
      for (const std::int64_t k : template_slots(n, EarlySlots::shift)) {
        if (k < n) CHECK(history.get(k) == k - k % stride);
      }
      if (stride > 1)
        CHECK(static_cast<double>(stride) < 1.4 * static_cast<double>(n) / (static_cast<double>(capacity) - 5));
    }
    CHECK(history.memory.used_bytes() <= history.memory.limit_bytes());
  }
}

void rows_are_gathered() {
  TemplateMemory memory(2, 3, 4096);
  std::vector<float> tokens(12);
  std::iota(tokens.begin(), tokens.end(), 0.0F);
  const int keep[] = {3, 1};
  memory.put(tokens.data(), keep);
  const std::vector<float> expected{9, 10, 11, 3, 4, 5};
  CHECK(std::equal(expected.begin(), expected.end(), memory.get(0)));
}

void nothing_is_allocated_after_construction() {
  IndexMemory history(32);
  const std::size_t before = allocation_count;
  for (int n = 0; n < 5000; ++n) history.put();
  history.memory.clear();
  for (int n = 0; n < 500; ++n) history.put();
  CHECK(allocation_count == before);
}

void limits_without_room_are_refused() {
  CHECK_THROWS(TemplateMemory(37, 192, 15 * 37 * 192 * 4), edgetrack::ArtifactError);
  CHECK_THROWS(TemplateMemory(0, 192, 1 << 20), edgetrack::ArtifactError);
  CHECK_THROWS(TemplateMemory(37, -1, 1 << 20), edgetrack::ArtifactError);
  CHECK(TemplateMemory(37, 192, 16 * 37 * 192 * 4).capacity() == 16);
  CHECK(TemplateMemory(37, 192, std::size_t{60} << 20).exact_frames() == 3161);
}

}  // namespace

int main() {
  slots_follow_the_published_rule();
  everything_is_exact_up_to_the_stated_frame();
  past_it_slots_show_slightly_older_entries();
  rows_are_gathered();
  nothing_is_allocated_after_construction();
  limits_without_room_are_refused();
  return failures;
}
