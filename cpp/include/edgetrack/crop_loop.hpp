// What the families' tracking loops share: crop around the last box, ask a network, clip and report the new box.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "edgetrack/crop.hpp"
#include "edgetrack/engine.hpp"
#include "edgetrack/image_port.hpp"
#include "edgetrack/score.hpp"
#include "edgetrack/tracker.hpp"

namespace edgetrack {

// The numbers that the spec of every family has.
struct LoopSpec {
  std::array<float, 3> mean{0.485F, 0.456F, 0.406F};  // per RGB channel, of values in 0..1
  std::array<float, 3> stddev{0.229F, 0.224F, 0.225F};
  int template_size = 128;  // pixels
  double template_factor = 2.0;
  int search_size = 256;  // pixels
  double search_factor = 4.0;
  double clip_margin_px = 10;  // above 0
  ScoreRule score;
};

// Throws ArtifactError for a value no loop can have. Crop sizes, mean and std are checked where they are used.
void check(const LoopSpec& spec);

// A published loop over one template and one search crop per frame; a family says what its networks are fed and how
// their outputs are read. All families depart from the published loops in two guards, and in boxes of frames
// narrower than the clip margin (see clip_box). The guards:
//  1. a search crop without information: what it shows of the frame has one colour throughout, or it shows nothing
//     of it, and
//  2. a network output that is not finite
// are reported as lost and the frame counts as not seen: box, history and frame index stay as they were.
//
// A frame whose score says "lost" is reported so, with the last box that was ok; the loop itself goes on from
// the network's box (raw_box) as published, so it can find the target again.
class CropLoop : public Tracker {
 public:
  // Also throws ArtifactError when the template graph's output is not finite. A blank frame is accepted.
  void init(const ImageView& frame, const Box& box) final;
  void init(const ImageView& frame) final;
  Result update(const ImageView& frame) final;
  void reset() noexcept final;
  const Result& result() const noexcept final { return result_; }
  const Timings& timings() const noexcept final { return timings_; }

  bool started() const noexcept { return started_; }                  // init has been called
  const Box& raw_box() const noexcept { return state_; }              // the published loop's box, ok or not
  double raw_score() const noexcept { return raw_score_; }            // before calibration
  std::int64_t frame_index() const noexcept { return frame_index_; }  // frames seen; 0 after init

  // Returns x1, y1, x2, y2 as decoded from the last network call, in units of the search crop (0..1 spans it), before
  // mapping and clipping; NaN before that call, and when its output was not finite. For tests that compare decodings.
  virtual std::array<double, 4> corners() const noexcept = 0;

  // Returns by how much the best choice led the second best in that decoding, for each of `corners`; NaN as there.
  virtual std::array<double, 4> leads() const noexcept = 0;

  // Replaces the loop's box before the next update, for tests that force a path. Throws as init does.
  void set_state(const Box& box);

 protected:
  // What a network call said about a frame.
  struct Sight {
    bool finite = false;
    Box box;
    double raw_score = 0;
  };

  // template_graph: null where the network is shown no template. Throws ArtifactError when it has no fitting input
  // "image". The spec is checked by the family before.
  CropLoop(const LoopSpec& spec, std::shared_ptr<Graph> template_graph);

  // Returns where the next search crop is to be written: an input of (1, 3, search_size, search_size).
  virtual ImagePort& search_image() noexcept = 0;

  // Says whether a box must be given to start with.
  virtual bool needs_box() const noexcept { return true; }

  // Writes the next search input and says what it was made of; by default a crop around the last box. A resize factor
  // of 0 stands for a frame that was squeezed.
  virtual CropInfo see(const ImageView& frame) { return crop_search(frame); }

  // Says whether all that the template graph gave is finite.
  virtual bool template_is_finite() const noexcept = 0;

  // Forgets the last target; part of reset.
  virtual void forget() noexcept = 0;

  // Makes what the template graph gave, if there is one, the target's first template; the end of init.
  virtual void begin() noexcept = 0;

  // Follows set_state.
  virtual void placed() noexcept {}

  // Runs the search network on the crop that was written, and decodes what it gave. Adds to `timings`.
  virtual Sight look(double resize_factor, Timings& timings) = 0;

  // Takes a finite sight into the family's memory; false: it cannot be, so the frame counts as not seen.
  virtual bool remember(const ImageView& frame, const Sight& sight, Timings& timings);

  // Crops a template, runs the template graph, and says whether its output is finite. Adds to `timings`.
  bool embed(const ImageView& frame, const Box& box, Timings& timings);

  // The same in two steps, for crops that are kept: cuts a template as uint8 RGB (template_size, template_size, 3), and
  // runs the template graph on one.
  void cut_template(const ImageView& frame, const Box& box, std::uint8_t* rgb);
  bool embed(const std::uint8_t* rgb, Timings& timings);

  // Returns the sight of a box that was mapped to the frame: clipped to it, and finite if that box is.
  Sight sight_of(const Box& mapped, double raw_score) const noexcept;

  // The two ways to write search_image(): the square around the last box, or the whole frame without its aspect.
  CropInfo crop_search(const ImageView& frame);
  CropInfo squeeze_frame(const ImageView& frame);

  // Judges scores by another rule from the next frame on; the rule is a good one.
  void set_rule(const ScoreRule& rule) noexcept { loop_.score = rule; }

  int frame_width() const noexcept { return width_; }
  int frame_height() const noexcept { return height_; }

  Graph& template_graph() const noexcept { return *template_graph_; }

  // Whether the last update's frame counts as seen; false before it, and when it threw.
  bool seen() const noexcept { return seen_; }

 private:
  void start(const ImageView& frame, const Box& box, const Result& result);
  void check_frame(const ImageView& frame) const;
  void report(const Sight& sight) noexcept;
  void report_lost() noexcept;

  LoopSpec loop_;
  Normalizer normalizer_;
  Cropper template_cropper_;
  Cropper search_cropper_;
  std::shared_ptr<Graph> template_graph_;
  ImagePort template_image_;
  bool started_ = false;
  bool seen_ = false;
  int width_ = 0;
  int height_ = 0;
  std::int64_t frame_index_ = 0;
  Box state_;
  double raw_score_ = 0;
  Result result_;
  Timings timings_;
};

}  // namespace edgetrack
