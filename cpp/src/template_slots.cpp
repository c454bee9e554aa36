#include "edgetrack/template_slots.hpp"

#include <algorithm>
#include <cstdlib>

#include "require.hpp"

namespace edgetrack {
namespace {

constexpr int most_slots = 64;
constexpr int most_history = 1 << 12;
constexpr std::size_t most_bytes = std::size_t{256} << 20;

const SlotRule& checked(const SlotRule& rule) {
  check(rule);
  return rule;
}

// Slots between the first and the newest are what the history is for.
bool needs_history(const SlotRule& rule) { return rule.count > 2; }

// The bytes of a place for each entry of the history, and of one for the crop that may follow; 0 where nothing is
// renewed.
std::size_t pool_bytes(const SlotRule& rule, std::size_t crop_bytes) {
  const std::size_t kept = needs_history(rule) ? static_cast<std::size_t>(rule.history) : 0;
  const std::size_t places = rule.count > 1 ? kept + 1 : 0;
  require(crop_bytes == 0 || places <= most_bytes / crop_bytes, "template.slots.history", rule.history,
          "so small that all crops take at most 256 MiB");
  return places * crop_bytes;
}

}  // namespace

void check(const SlotRule& rule) {
  require(rule.count >= 1 && rule.count <= most_slots, "template.slots.count", rule.count, "1 to 64");
  require(rule.interval >= 1, "template.slots.interval", rule.interval, "1 or more");
  require(rule.at_least >= 0 && rule.at_least <= 1, "template.slots.at_least", rule.at_least, "0 to 1");
  require(rule.history >= 2 && rule.history <= most_history, "template.slots.history", rule.history, "2 to 4096");
}

TemplateSlots::TemplateSlots(const SlotRule& rule, std::size_t crop_bytes)
    : rule_(checked(rule)),
      crop_bytes_(crop_bytes),
      pool_(new std::uint8_t[pool_bytes(rule, crop_bytes)]),
      shown_(static_cast<std::size_t>(rule.count)),
      planned_(shown_),
      places_(static_cast<std::size_t>(rule.count)) {
  for (History* history : {&now_, &next_}) history->entries.reserve(static_cast<std::size_t>(rule.history));
  clear();
}

void TemplateSlots::clear() noexcept {
  now_.entries.clear();
  now_.interval = rule_.interval;
  std::fill(shown_.begin(), shown_.end(), 0);
  fresh_ = 0;
}

bool TemplateSlots::due(std::int64_t frame, double score) const noexcept {
  return rule_.count > 1 && frame % rule_.interval == 0 && score >= rule_.at_least;
}

void TemplateSlots::plan(std::int64_t frame, bool renew) noexcept {
  next_.entries.assign(now_.entries.begin(), now_.entries.end());
  next_.interval = now_.interval;
  std::copy(shown_.begin(), shown_.end(), planned_.begin());
  if (renew) {
    if (needs_history(rule_)) add(frame);
    planned_.back() = frame;
    places_.back() = fresh_;
  }
  for (int slot = 1; slot < rule_.count - 1; ++slot) {
    const Entry* entry = closest(frame, slot);
    if (entry == nullptr) continue;
    planned_[static_cast<std::size_t>(slot)] = entry->frame;
    places_[static_cast<std::size_t>(slot)] = entry->place;
  }
}

void TemplateSlots::add(std::int64_t frame) noexcept {
  std::vector<Entry>& entries = next_.entries;
  if (entries.size() == static_cast<std::size_t>(rule_.history)) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < entries.size(); i += 2) entries[kept++] = entries[i];
    entries.resize(kept);
    next_.interval *= 2;
  }
  if (entries.empty() || frame - entries.back().frame >= next_.interval) entries.push_back({frame, fresh_});
}

const TemplateSlots::Entry* TemplateSlots::closest(std::int64_t frame, int slot) const noexcept {
  const std::int64_t steps = rule_.count - 1;
  const auto distance = [&](const Entry& entry) { return std::abs(entry.frame * steps - slot * frame); };
  const auto best = std::min_element(next_.entries.begin(), next_.entries.end(), [&](const Entry& a, const Entry& b) {
    return distance(a) < distance(b);  // the first of equal ones
  });
  return best == next_.entries.end() ? nullptr : &*best;
}

const std::uint8_t* TemplateSlots::crop(int slot) const noexcept {
  return place(places_[static_cast<std::size_t>(slot)]);
}

void TemplateSlots::commit() noexcept {
  std::swap(now_, next_);
  std::swap(shown_, planned_);
  fresh_ = free_place();
}

std::size_t TemplateSlots::free_place() const noexcept {
  std::size_t found = 0;
  const auto taken = [&](std::size_t number) {
    return std::any_of(now_.entries.begin(), now_.entries.end(), [&](const Entry& e) { return e.place == number; });
  };
  while (taken(found)) ++found;
  return found;
}

}  // namespace edgetrack
