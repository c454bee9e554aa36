// The tracking loop of trackers with a centre head (OSTrack, GRM, ATSTrack): one network call a frame.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edgetrack/centre_maps.hpp"
#include "edgetrack/crop_loop.hpp"
#include "edgetrack/engine.hpp"
#include "edgetrack/template_slots.hpp"

namespace edgetrack {

// What the search network hands on from frame to frame: an output that is an input of the next call.
struct StateSpec {
  std::string output;  // none: ""
  std::string input;
  int kept = 0;  // of its values, how many belong to what was seen: they stay when the description changes
};

// All that distinguishes one such model from another: the "tracker" object of an artifact's manifest.
struct CentreHeadSpec : LoopSpec {
  int grid = 16;  // cells per side of the head's maps
  SlotRule slots;
  std::vector<std::string> told;  // inputs of the search graph that a description of the target fills, if any
  StateSpec state;
};

// Throws ArtifactError for a value no tracker can have.
void check(const CentreHeadSpec& spec);

// A box that the network would accept, and how sure it is of it.
struct Candidate {
  Box box;               // in frame pixels, clipped as the tracker's own box is
  double raw_score = 0;  // before calibration
};

// The published loop over two graphs; see CropLoop for its guards. From frame to frame only the box changes, and, where
// the spec has them, templates in slots (see TemplateSlots) and a state that the network hands on. The raw score is the
// network's score at the chosen cell, without the window; templates are renewed by the largest score of all cells.
//
// Graphs (all float32, batch 1):
//   template: image (1,3,T,T) -> any outputs, say tokens (1,Lz,C)
//   search:   search (1,3,S,S), an input of the name and shape of each of the template graph's outputs (with several
//             slots that many of them along the second axis), and those that the spec names
//             -> score (1,1,grid,grid), size (1,2,grid,grid), offset (1,2,grid,grid), and the state
// What the template graph gives is copied to the search graph's inputs by init, and where a slot changes.
class CentreHeadTracker final : public CropLoop {
 public:
  // Throws ArtifactError when the spec is wrong or a graph does not fit it or the other one.
  CentreHeadTracker(const CentreHeadSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> search);

  const CentreHeadSpec& spec() const noexcept { return spec_; }
  std::array<double, 4> corners() const noexcept override;
  std::array<double, 4> leads() const noexcept override;  // four times that of the chosen cell's response

  // Returns up to k boxes of the last update's frame, best first: where the response has a peak among its eight
  // neighbours. They are ordered by response, so a raw score may exceed the one before it. The first is the frame's
  // raw_box. Empty before an update, and when the last frame counts as not seen. Throws InputError unless k is 1 or
  // more.
  std::vector<Candidate> candidates(int k) const;

  // Returns the last network call's maps; null pointers before it.
  const CentreMaps& maps() const noexcept { return seen_maps_; }

  // Says that the inputs in the spec's `told` hold a new description; update needs one. It stays until the next one,
  // through init and reset too. values: what the state begins with, or null where there is none; between two frames
  // those of them that belong to what was seen stay as they are. Throws InputError unless all are finite and as many as
  // there must be; the tracker then stands as before.
  void set_text(const float* values, std::size_t count);
  bool has_text() const noexcept { return has_text_; }

  const TemplateSlots& slots() const noexcept { return slots_; }

  // Returns what the next frame's network call is handed; empty without a state.
  const std::vector<float>& state() const noexcept { return state_; }

 private:
  // A value that is carried from the template graph to the search graph, into the places of all slots.
  struct Link {
    const float* from = nullptr;
    float* to = nullptr;
    std::size_t count = 0;
  };

  void bind_links();
  void bind_maps();
  void bind_state();
  bool renew_slots(const ImageView& frame, const Box& box, Timings& timings);
  void stage(int slot) noexcept;
  float* staged(int slot) noexcept { return staged_.data() + static_cast<std::size_t>(slot - 1) * slot_values_; }
  Sight sight_at(std::size_t cell) const noexcept;

  float* search_input() noexcept override { return search_image_; }
  bool template_is_finite() const noexcept override;
  void forget() noexcept override;
  void begin() noexcept override;
  CropInfo see(const ImageView& frame) override;
  Sight look(double resize_factor, Timings& timings) override;
  bool remember(const ImageView& frame, const Sight& sight, Timings& timings) override;

  CentreHeadSpec spec_;
  std::shared_ptr<Graph> search_;
  float* search_image_ = nullptr;
  std::vector<Link> links_;
  TemplateSlots slots_;
  std::size_t slot_values_ = 0;   // of all links together
  std::vector<float> staged_;     // what the slots but the first will show, while others are still to be embedded
  float* state_input_ = nullptr;  // null without a state
  const float* state_output_ = nullptr;
  std::vector<float> first_state_;
  std::vector<float> state_;
  bool has_text_ = false;
  CentreMaps maps_;  // of the graph; filled by each call
  CentreDecoder decoder_;
  CentreMaps seen_maps_;             // maps_ once they hold something
  std::optional<std::size_t> cell_;  // chosen in the last network call; none if that was not finite
  Box looked_from_;                  // the box that the last search crop was centred on
  double resize_factor_ = 1;         // of that crop
};

}  // namespace edgetrack
