// FARTrack's tracking loop (ICLR 2026): crop, one network call, decode, template history.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "edgetrack/crop.hpp"
#include "edgetrack/decode.hpp"
#include "edgetrack/engine.hpp"
#include "edgetrack/score.hpp"
#include "edgetrack/template_memory.hpp"
#include "edgetrack/tracker.hpp"

namespace edgetrack {

// All that distinguishes one FARTrack model from another: the "tracker" object of an artifact's manifest.
struct FarTrackSpec {
  std::array<float, 3> mean{0.485F, 0.456F, 0.406F};  // per RGB channel, of values in 0..1
  std::array<float, 3> stddev{0.229F, 0.224F, 0.225F};
  int template_size = 112;  // pixels
  double template_factor = 2.0;
  int tokens = 49;  // per template
  int channels = 192;
  int search_size = 224;  // pixels
  double search_factor = 4.0;
  BinLayout decode;
  EarlySlots early = EarlySlots::shift;
  int prune = 12;  // tokens dropped from a template once it is not the newest; 0: none
  std::size_t memory_limit_bytes = std::size_t{60} << 20;
  double clip_margin_px = 10;  // above 0
  int score_radius = 8;        // bins
  ScoreRule score;
};

// Throws ArtifactError for a value no tracker can have, or a combination that cannot be run.
void check(const FarTrackSpec& spec);

// The published loop over three graphs. It departs from the published one in two guards, in boxes of frames
// narrower than the clip margin (see clip_box), and for videos longer than memory().exact_frames() in the age of
// some templates (see TemplateMemory). The guards:
//  1. a search crop without information: what it shows of the frame has one colour throughout, or it shows nothing
//     of it, and
//  2. a network output that is not finite
// are reported as lost and the frame counts as not seen: box, history and frame index stay as they were.
//
// A frame whose score says "lost" is reported so, with the last box that was ok; the loop itself goes on from
// the network's box (raw_box) and template as published, so it can find the target again.
//
// Graphs (all float32, batch 1; kept = tokens - prune):
//   template: image (1,3,T,T) -> tokens (1,tokens,channels)
//   search:   search (1,3,S,S), old (1,4,kept,channels), newest (1,tokens,channels)
//             -> logits (1,4,classes); with prune > 0 also score (1,tokens)
//   first:    as search, with kept = tokens; for the first tracked frame. May be `search` when prune is 0.
class FarTracker final : public Tracker {
 public:
  // Throws ArtifactError when the spec is wrong or a graph does not fit it.
  FarTracker(const FarTrackSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> first,
             std::shared_ptr<Graph> search);

  // Also throws ArtifactError when the template graph's output is not finite. A blank frame is accepted.
  void init(const ImageView& frame, const Box& box) override;
  Result update(const ImageView& frame) override;
  void reset() noexcept override;
  const Result& result() const noexcept override { return result_; }
  const Timings& timings() const noexcept override { return timings_; }

  const FarTrackSpec& spec() const noexcept { return spec_; }
  bool started() const noexcept { return started_; }                  // init has been called
  const Box& raw_box() const noexcept { return state_; }              // the published loop's box, ok or not
  double raw_score() const noexcept { return raw_score_; }            // before calibration
  std::int64_t frame_index() const noexcept { return frame_index_; }  // frames seen; 0 after init
  const TemplateMemory& memory() const noexcept { return memory_; }

  // Returns the history index of the template that each slot will show for the next frame.
  std::array<std::int64_t, template_slot_count> slots() const noexcept;

  // Returns the last network call's logits, (4, classes), or nullptr before it.
  const float* logits() const noexcept { return logits_; }

  // Returns which tokens of the template in the last slot were kept after the last frame seen (1: kept), one
  // per token; empty before it, and when nothing is pruned.
  const std::vector<unsigned char>& mask() const noexcept { return mask_; }

  // Replaces the loop's box before the next update, for tests that force a path. Throws as init does.
  void set_state(const Box& box);

 private:
  // A search graph and the addresses of its buffers.
  struct SearchPort {
    std::shared_ptr<Graph> graph;
    float* search = nullptr;
    float* old = nullptr;
    float* newest = nullptr;
    const float* logits = nullptr;
    const float* score = nullptr;
    int kept = 0;
  };
  // What a network call said about a frame.
  struct Sight {
    bool finite = false;
    Box box;
    double raw_score = 0;
  };

  SearchPort bind_search(std::shared_ptr<Graph> graph, const char* role, int kept) const;
  void check_frame(const ImageView& frame) const;
  void fill_slots(const SearchPort& port) const noexcept;
  Sight read(const SearchPort& port, double resize_factor);
  bool embed(const ImageView& frame, const Box& box, Timings& timings);
  void remember(const Sight& sight) noexcept;
  void report(const Sight& sight) noexcept;
  void report_lost() noexcept;
  std::size_t token_values() const noexcept;

  FarTrackSpec spec_;
  Normalizer normalizer_;
  Cropper template_cropper_;
  Cropper search_cropper_;
  std::shared_ptr<Graph> template_graph_;
  float* template_image_ = nullptr;
  const float* template_tokens_ = nullptr;
  SearchPort first_;
  SearchPort search_;
  TemplateMemory memory_;      // entries 0 .. frame_index_ - 1
  std::vector<float> newest_;  // entry frame_index_, all of its tokens
  std::vector<int> keep_;      // rows of the newest template that will stay
  std::vector<unsigned char> mask_;
  const float* logits_ = nullptr;
  bool started_ = false;
  int width_ = 0;
  int height_ = 0;
  std::int64_t frame_index_ = 0;
  Box state_;
  double raw_score_ = 0;
  Result result_;
  Timings timings_;
};

}  // namespace edgetrack
