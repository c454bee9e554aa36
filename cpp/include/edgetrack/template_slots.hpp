// Which crops a tracker with several templates shows (ATSTrack), and the bounded history that they are taken from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace edgetrack {

// How templates are renewed.
struct SlotRule {
  int count = 1;          // slots; with one, nothing is ever renewed
  int interval = 10;      // frames between two replacements of the newest
  double at_least = 0.5;  // the score that a frame needs to give a template
  int history = 64;       // crops that are kept
};

// Throws ArtifactError for a rule no tracker can have.
void check(const SlotRule& rule);

// The slots in order of time: slot 0 shows the first crop for ever, the last one the newest that a frame gave. Those
// between show, after frame t, the crop in the history whose frame is closest to slot * t / (count - 1), of two equally
// close ones the earlier; while the history is empty, the first crop.
//
// Every crop that becomes the newest enters the history, unless the last entry is younger than the history's interval,
// at first the rule's. When the history is full, every second entry goes, and the interval doubles: memory is bounded,
// and the entries stay spread over all that was seen.
//
// A change is planned, then committed: a frame that comes to nothing in between leaves no trace. All memory is taken in
// the constructor and left uninitialised.
class TemplateSlots {
 public:
  // crop_bytes: of one crop. Throws ArtifactError as check(rule) does, and where all crops would take over 256 MiB.
  TemplateSlots(const SlotRule& rule, std::size_t crop_bytes);

  // Forgets everything: all slots show the first crop.
  void clear() noexcept;

  int count() const noexcept { return rule_.count; }

  // Whether a frame with this score gives a template; frames are counted from 1.
  bool due(std::int64_t frame, double score) const noexcept;

  // Where the crop of a frame that is due is to be written, before plan.
  std::uint8_t* fresh() noexcept { return place(fresh_); }

  // Plans what the slots show after `frame`; renew: fresh() holds a crop of it.
  void plan(std::int64_t frame, bool renew) noexcept;

  // Returns the frame whose crop a slot shows, now or by the plan; 0: the first crop.
  std::int64_t shown(int slot) const noexcept { return shown_[static_cast<std::size_t>(slot)]; }
  std::int64_t planned(int slot) const noexcept { return planned_[static_cast<std::size_t>(slot)]; }

  // Returns the crop that a slot, whose crop changes, shows by the plan.
  const std::uint8_t* crop(int slot) const noexcept;

  // Makes the plan true.
  void commit() noexcept;

  std::size_t stored() const noexcept { return now_.entries.size(); }  // entries of the history
  std::int64_t interval() const noexcept { return now_.interval; }     // frames between two of them

 private:
  struct Entry {
    std::int64_t frame = 0;
    std::size_t place = 0;
  };
  struct History {
    std::vector<Entry> entries;  // in order; never more than the rule's history
    std::int64_t interval = 0;
  };

  void add(std::int64_t frame) noexcept;
  const Entry* closest(std::int64_t frame, int slot) const noexcept;
  std::size_t free_place() const noexcept;
  std::uint8_t* place(std::size_t number) const noexcept { return pool_.get() + number * crop_bytes_; }

  SlotRule rule_;
  std::size_t crop_bytes_;
  std::unique_ptr<std::uint8_t[]> pool_;  // one place more than entries
  History now_;
  History next_;
  std::vector<std::int64_t> shown_;
  std::vector<std::int64_t> planned_;
  std::vector<std::size_t> places_;  // of the planned crops, by slot
  std::size_t fresh_ = 0;
};

}  // namespace edgetrack
