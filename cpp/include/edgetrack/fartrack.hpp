// FARTrack's tracking loop (ICLR 2026): crop, one network call, decode, template history.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "edgetrack/crop_loop.hpp"
#include "edgetrack/decode.hpp"
#include "edgetrack/engine.hpp"
#include "edgetrack/template_memory.hpp"

namespace edgetrack {

// All that distinguishes one FARTrack model from another: the "tracker" object of an artifact's manifest.
struct FarTrackSpec : LoopSpec {
  FarTrackSpec() {
    template_size = 112;
    search_size = 224;
  }
  int tokens = 49;  // per template
  int channels = 192;
  BinLayout decode;
  EarlySlots early = EarlySlots::shift;
  int prune = 12;  // tokens dropped from a template once it is not the newest; 0: none
  std::size_t memory_limit_bytes = std::size_t{60} << 20;
  int score_radius = 8;  // bins
};

// Throws ArtifactError for a value no tracker can have, or a combination that cannot be run.
void check(const FarTrackSpec& spec);

// The published loop over three graphs; see CropLoop for its guards. Beside those it departs from the published one for
// videos longer than memory().exact_frames() in the age of some templates (see TemplateMemory). A frame whose score
// says "lost" still gives a template, as published.
//
// Graphs (all float32, batch 1; kept = tokens - prune):
//   template: image (1,3,T,T) -> tokens (1,tokens,channels)
//   search:   search (1,3,S,S), old (1,4,kept,channels), newest (1,tokens,channels)
//             -> logits (1,4,classes); with prune > 0 also score (1,tokens)
//   first:    as search, with kept = tokens; for the first tracked frame. May be `search` when prune is 0.
class FarTracker final : public CropLoop {
 public:
  // Throws ArtifactError when the spec is wrong or a graph does not fit it.
  FarTracker(const FarTrackSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> first,
             std::shared_ptr<Graph> search);

  const FarTrackSpec& spec() const noexcept { return spec_; }
  std::array<double, 4> corners() const noexcept override;
  std::array<double, 4> leads() const noexcept override;  // of the logits
  const TemplateMemory& memory() const noexcept { return memory_; }

  // Returns the history index of the template that each slot will show for the next frame.
  std::array<std::int64_t, template_slot_count> slots() const noexcept;

  // Returns the last network call's logits, (4, classes), or nullptr before it.
  const float* logits() const noexcept { return logits_; }

  // Returns which tokens of the template in the last slot were kept after the last frame seen (1: kept), one
  // per token; empty before it, and when nothing is pruned.
  const std::vector<unsigned char>& mask() const noexcept { return mask_; }

 private:
  // A search graph and the addresses of its buffers.
  struct SearchPort {
    std::shared_ptr<Graph> graph;
    ImagePort search;
    float* old = nullptr;
    float* newest = nullptr;
    const float* logits = nullptr;
    const float* score = nullptr;
    int kept = 0;
  };

  SearchPort bind_search(std::shared_ptr<Graph> graph, const char* role, int kept) const;
  SearchPort& port() noexcept { return frame_index() == 0 ? first_ : search_; }
  void fill_slots(const SearchPort& port) const noexcept;
  Sight read(const SearchPort& port, double resize_factor);

  ImagePort& search_image() noexcept override { return port().search; }
  bool template_is_finite() const noexcept override;
  void forget() noexcept override;
  void begin() noexcept override;
  Sight look(double resize_factor, Timings& timings) override;
  bool remember(const ImageView& frame, const Sight& sight, Timings& timings) override;
  std::size_t token_values() const noexcept;

  FarTrackSpec spec_;
  const float* template_tokens_ = nullptr;
  SearchPort first_;
  SearchPort search_;
  TemplateMemory memory_;      // entries 0 .. frame_index() - 1
  std::vector<float> newest_;  // entry frame_index(), all of its tokens
  std::vector<int> keep_;      // rows of the newest template that will stay
  std::vector<unsigned char> mask_;
  const float* logits_ = nullptr;
};

}  // namespace edgetrack
