// The slots of several templates and their bounded history.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/template_slots.hpp"

using namespace edgetrack;

namespace {

constexpr std::size_t crop_bytes = 8;

// Renews as the tracker does, with crops that hold the number of their frame.
struct Rig {
  explicit Rig(const SlotRule& rule) : slots(rule, crop_bytes) {}

  void frame(std::int64_t number, double score = 0.9) {
    const bool renew = slots.due(number, score);
    if (renew) {
      for (std::size_t i = 0; i < crop_bytes; ++i) slots.fresh()[i] = static_cast<std::uint8_t>(number);
    }
    slots.plan(number, renew);
    for (int slot = 1; slot < slots.count(); ++slot) {
      if (slots.planned(slot) != slots.shown(slot)) {
        CHECK(slots.crop(slot)[3] == static_cast<std::uint8_t>(slots.planned(slot)));
      }
    }
    slots.commit();
  }

  std::vector<std::int64_t> shown() const {
    std::vector<std::int64_t> out;
    for (int slot = 0; slot < slots.count(); ++slot) out.push_back(slots.shown(slot));
    return out;
  }

  TemplateSlots slots;
};

SlotRule rule_of(int count, int history = 64) {
  SlotRule rule;
  rule.count = count;
  rule.history = history;
  return rule;
}

using Frames = std::vector<std::int64_t>;

void chosen_frames_are_those_of_the_rule() {
  Rig rig(rule_of(3));
  for (std::int64_t t = 1; t <= 1000; ++t) {
    rig.frame(t);
    if (t == 1) CHECK(rig.shown() == Frames({0, 0, 0}));
    if (t == 10 || t == 11) CHECK(rig.shown() == Frames({0, 10, 10}));
    if (t == 25) CHECK(rig.shown() == Frames({0, 10, 20}));  // 12.5 lies between 10 and 20
    if (t == 30) CHECK(rig.shown() == Frames({0, 10, 30}));  // 15 is as near to 20: the earlier one
  }
  CHECK(rig.slots.stored() <= 64 && rig.slots.interval() == 20);  // 100 replacements, thinned once
  CHECK(rig.shown() == Frames({0, 490, 1000}));                   // kept are 10, 30, 50, ...; 500 lies between two
}

void frames_of_a_low_score_give_no_template() {
  Rig rig(rule_of(3));
  for (std::int64_t t = 1; t <= 60; ++t) rig.frame(t, t < 40 ? 0.49 : 0.5);
  CHECK(rig.shown() == Frames({0, 40, 60}));
  CHECK(rig.slots.stored() == 3);
}

void one_or_two_slots_need_no_history() {
  Rig one(rule_of(1));
  Rig two(rule_of(2));
  for (std::int64_t t = 1; t <= 2000; ++t) {
    one.frame(t);
    two.frame(t);
  }
  CHECK(one.shown() == Frames({0}) && two.shown() == Frames({0, 2000}));
  CHECK(one.slots.stored() == 0 && two.slots.stored() == 0);
}

void a_plan_that_is_not_committed_leaves_no_trace() {
  Rig rig(rule_of(4, 4));
  for (std::int64_t t = 1; t <= 45; ++t) rig.frame(t);
  const Frames before = rig.shown();
  const std::size_t stored = rig.slots.stored();
  CHECK(stored == 4);
  for (std::size_t i = 0; i < crop_bytes; ++i) rig.slots.fresh()[i] = 255;
  rig.slots.plan(50, true);  // would thin the history
  CHECK(rig.slots.planned(3) == 50);
  CHECK(rig.shown() == before && rig.slots.stored() == stored && rig.slots.interval() == 10);
  Rig twin(rule_of(4, 4));
  for (std::int64_t t = 1; t <= 45; ++t) twin.frame(t);
  for (std::int64_t t = 46; t <= 300; ++t) {
    rig.frame(t);
    twin.frame(t);
    CHECK(rig.shown() == twin.shown());
  }
}

void clear_forgets_everything() {
  Rig rig(rule_of(3, 8));
  for (std::int64_t t = 1; t <= 500; ++t) rig.frame(t);
  rig.slots.clear();
  CHECK(rig.shown() == Frames({0, 0, 0}) && rig.slots.stored() == 0 && rig.slots.interval() == 10);
  rig.frame(10);
  CHECK(rig.shown() == Frames({0, 10, 10}));
}

void memory_is_bounded_and_taken_once() {
  Rig rig(rule_of(5, 16));
  const std::size_t before = allocation_count;
  for (std::int64_t t = 1; t <= 100000; ++t) {
    const bool renew = rig.slots.due(t, 0.9);
    rig.slots.plan(t, renew);
    rig.slots.commit();
    CHECK(rig.slots.stored() <= 16);
  }
  CHECK(allocation_count == before);
  CHECK(rig.slots.shown(4) == 100000);
  for (int slot = 1; slot < 4; ++slot) {
    const std::int64_t ideal = slot * 25000;
    CHECK(rig.slots.shown(slot) > ideal - 7000 && rig.slots.shown(slot) < ideal + 7000);
  }
}

void wrong_rules_are_refused() {
  for (const int count : {0, 65}) CHECK_THROWS(TemplateSlots(rule_of(count), crop_bytes), ArtifactError);
  for (const int history : {1, 5000}) CHECK_THROWS(TemplateSlots(rule_of(3, history), crop_bytes), ArtifactError);
  CHECK_THROWS(TemplateSlots(rule_of(3, 4096), std::size_t{1} << 20), ArtifactError);
  SlotRule rule;
  rule.interval = 0;
  CHECK_THROWS(TemplateSlots(rule, crop_bytes), ArtifactError);
  rule = {};
  rule.at_least = 1.5;
  CHECK_THROWS(TemplateSlots(rule, crop_bytes), ArtifactError);
}

}  // namespace

int main() {
  chosen_frames_are_those_of_the_rule();
  frames_of_a_low_score_give_no_template();
  one_or_two_slots_need_no_history();
  a_plan_that_is_not_committed_leaves_no_trace();
  clear_forgets_everything();
  memory_is_bounded_and_taken_once();
  wrong_rules_are_refused();
  return failures;
}
