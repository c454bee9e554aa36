// The tracking loop of trackers with a centre head (OSTrack, GRM, GLAD, ATSTrack): one network call a frame.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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
  int grid = 16;    // cells per side of the head's maps
  int divisor = 0;  // see CentreDecoder
  SlotRule slots;
  // Inputs of the search graph that hold what the target was described with, for trackers that read a sentence.
  std::vector<std::string> told;
  StateSpec state;  // its input is one of `told`, where a description says what it begins with
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
// What the template graph gives is copied to the search graph's inputs by init, and where a slot changes. Inputs of the
// search graph that the spec lists as told are filled by set_told, of any shape; without all of them update throws
// InputError.
class CentreHeadTracker final : public CropLoop {
 public:
  // Throws ArtifactError when the spec is wrong or a graph does not fit it or the other one.
  CentreHeadTracker(const CentreHeadSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> search);

  const CentreHeadSpec& spec() const noexcept { return spec_; }

  // Gives the search graph what the target was described with. It stays until the next one, through init and reset too;
  // between two frames the next one is searched for the new target. Of the state's input, values say what the state
  // begins with; between two frames those of it that belong to what was seen stay as they are. Throws InputError for a
  // name that the spec does not list, another number of values than the input has, and values that are not finite; all
  // is then as it was before.
  void set_told(std::string_view name, const float* values, std::size_t count);

  // Says whether all that the spec lists was told.
  bool is_told() const noexcept;
  std::array<double, 4> corners() const noexcept override;
  std::array<double, 4> leads() const noexcept override;  // four times that of the chosen cell's response

  // Returns up to k boxes of the last update's frame, best first: where the response has a peak among its eight
  // neighbours. They are ordered by response, so a raw score may exceed the one before it. The first is the frame's
  // raw_box. Empty before an update, and when the last frame counts as not seen. Throws InputError unless k is 1 or
  // more.
  std::vector<Candidate> candidates(int k) const;

  // Returns the last network call's maps; null pointers before it.
  const CentreMaps& maps() const noexcept { return seen_maps_; }

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

  // An input that set_told fills.
  struct Told {
    std::string name;
    float* to = nullptr;
    std::size_t count = 0;
    bool given = false;
  };

  void bind_told();
  void bind_links();
  void bind_maps();
  void bind_state();
  void begin_state(const float* values) noexcept;
  bool renew_slots(const ImageView& frame, const Box& box, Timings& timings);
  void stage(int slot) noexcept;
  float* staged(int slot) noexcept { return staged_.data() + static_cast<std::size_t>(slot - 1) * slot_values_; }
  Sight sight_at(std::size_t cell) const noexcept;

  ImagePort& search_image() noexcept override { return search_image_; }
  bool template_is_finite() const noexcept override;
  void forget() noexcept override;
  void begin() noexcept override;
  CropInfo see(const ImageView& frame) override;
  Sight look(double resize_factor, Timings& timings) override;
  bool remember(const ImageView& frame, const Sight& sight, Timings& timings) override;

  CentreHeadSpec spec_;
  std::shared_ptr<Graph> search_;
  ImagePort search_image_;
  std::vector<Told> told_;
  std::vector<Link> links_;
  TemplateSlots slots_;
  std::size_t slot_values_ = 0;   // of all links together
  std::vector<float> staged_;     // what the slots but the first will show, while others are still to be embedded
  float* state_input_ = nullptr;  // null without a state
  const float* state_output_ = nullptr;
  std::vector<float> first_state_;
  std::vector<float> state_;
  CentreMaps maps_;  // of the graph; filled by each call
  CentreDecoder decoder_;
  CentreMaps seen_maps_;             // maps_ once they hold something
  std::optional<std::size_t> cell_;  // chosen in the last network call; none if that was not finite
  Box looked_from_;                  // the box that the last search crop was centred on
  double resize_factor_ = 1;         // of that crop
};

}  // namespace edgetrack
