// The tracking loop of trackers with a centre head (OSTrack, GRM, GLAD): one template, one network call a frame.
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

namespace edgetrack {

// All that distinguishes one such model from another: the "tracker" object of an artifact's manifest.
struct CentreHeadSpec : LoopSpec {
  int grid = 16;    // cells per side of the head's maps
  int divisor = 0;  // see CentreDecoder
  // Inputs of the search graph that hold what the target was described with, for trackers that read a sentence.
  std::vector<std::string> told;
};

// Throws ArtifactError for a value no tracker can have.
void check(const CentreHeadSpec& spec);

// A box that the network would accept, and how sure it is of it.
struct Candidate {
  Box box;               // in frame pixels, clipped as the tracker's own box is
  double raw_score = 0;  // before calibration
};

// The published loop over two graphs; see CropLoop for its guards. Nothing but the box changes from frame to frame.
// The raw score is the network's score at the chosen cell, without the window.
//
// Graphs (all float32, batch 1):
//   template: image (1,3,T,T) -> any outputs, say tokens (1,Lz,C)
//   search:   search (1,3,S,S) and an input of the name and shape of each of the template graph's outputs
//             -> score (1,1,grid,grid), size (1,2,grid,grid), offset (1,2,grid,grid)
// What the template graph gives is copied to the search graph's inputs once, by init. Inputs of the search graph that
// the spec lists as told are filled by set_told, of any shape; without all of them update throws InputError.
class CentreHeadTracker final : public CropLoop {
 public:
  // Throws ArtifactError when the spec is wrong or a graph does not fit it or the other one.
  CentreHeadTracker(const CentreHeadSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> search);

  const CentreHeadSpec& spec() const noexcept { return spec_; }

  // Gives the search graph what the target was described with. It stays until the next one, through init and reset too;
  // between two frames the next one is searched for the new target. Throws InputError for a name that the spec does not
  // list, another number of values than the input has, and values that are not finite; all is then as it was before.
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

 private:
  // A value that init carries from the template graph to the search graph.
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
  Sight sight_at(std::size_t cell) const noexcept;

  ImagePort& search_image() noexcept override { return search_image_; }
  bool template_is_finite() const noexcept override;
  void forget() noexcept override;
  void begin() noexcept override;
  CropInfo see(const ImageView& frame) override;
  Sight look(double resize_factor, Timings& timings) override;

  CentreHeadSpec spec_;
  std::shared_ptr<Graph> search_;
  ImagePort search_image_;
  std::vector<Told> told_;
  std::vector<Link> links_;
  CentreMaps maps_;  // of the graph; filled by each call
  CentreDecoder decoder_;
  CentreMaps seen_maps_;             // maps_ once they hold something
  std::optional<std::size_t> cell_;  // chosen in the last network call; none if that was not finite
  Box looked_from_;                  // the box that the last search crop was centred on
  double resize_factor_ = 1;         // of that crop
};

}  // namespace edgetrack
