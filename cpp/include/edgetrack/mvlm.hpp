// MVLM's tracking loop (CVPR 2026): a sentence, with or without a first box, and a search that widens when in doubt.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "edgetrack/crop_loop.hpp"
#include "edgetrack/engine.hpp"
#include "edgetrack/margin_gate.hpp"

namespace edgetrack {

// All that distinguishes one MVLM model from another: the "tracker" object of an artifact's manifest.
struct MvlmSpec : LoopSpec {
  MvlmSpec() {
    template_size = 112;
    search_size = 224;
  }
  int grid = 14;  // cells per side: each gives a candidate
  int text_tokens = 77;
  int channels = 512;  // of a token
  int templates = 0;   // shown to the network; 0: it follows the sentence alone and needs no box
  int template_tokens = 49;
  int update_interval = 25;  // frames
  double update_above = 0.7;
  GateSpec gate;
};

// Throws ArtifactError for a value no tracker can have.
void check(const MvlmSpec& spec);

// The published loop over a search graph and, with templates, a template graph; see CropLoop for its guards.
//
// In each frame the network offers a box for every cell. The gate says which of them are trusted; of these the one with
// the largest windowed score is taken, and the next search stays around it. If none is trusted, the best of all is
// taken, and the next frame is searched as a whole. The raw score is the confidence of the box that was taken, moved
// from -1..1 into 0..1. Of several templates the first one stays and the newest is replaced by a rule.
//
// Graphs (all float32, batch 1; cells = grid * grid):
//   template: image (1,3,T,T) -> tokens (1,template_tokens,channels)
//   search:   search (1,3,S,S), text (1,text_tokens,channels); with templates also
//             templates (1,templates*template_tokens,channels)
//             -> cls (1,cells), boxes (1,cells,4), sims (1,cells), see Candidates
class MvlmTracker final : public CropLoop {
 public:
  // template_graph: null where the spec has no templates. Throws ArtifactError when the spec is wrong or a graph does
  // not fit it.
  MvlmTracker(const MvlmSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> search);

  const MvlmSpec& spec() const noexcept { return spec_; }

  // Gives the features of the sentence to follow, (text_tokens, channels). It stays until the next one, through init
  // and reset too; update needs it. Between two frames the target changes with it: margins are forgotten, and the next
  // search is as after init (with templates: around the box, and the templates stay). Throws InputError unless all
  // values are finite and as many as there must be; the tracker then stands as before.
  void set_text(const float* values, std::size_t count);
  bool has_text() const noexcept { return has_text_; }

  // Judges by other thresholds from the next frame on; margins stay remembered. What counts as lost and uncertain moves
  // with tau, so that a frame without a trusted box stays a lost one. Throws ArtifactError for a value no gate can
  // have; the tracker then stands as before.
  void set_gate(const GateSpec& gate);
  const GateSpec& gate_spec() const noexcept { return gate_.spec(); }

  std::array<double, 4> corners() const noexcept override;  // in units of what was searched: the crop, or the frame
  std::array<double, 4> leads() const noexcept override;    // four times that of the choice, see MarginGate::lead

  // Of the last network call, if its output was finite: what the gate made of it; else null.
  const MarginGate* gate() const noexcept { return cell_ ? &gate_ : nullptr; }

  // The candidate that was taken; only with gate().
  std::size_t chosen() const noexcept { return *cell_; }

  bool looked_global() const noexcept { return looked_global_; }  // whether the last frame was searched as a whole
  bool is_global() const noexcept { return is_global_; }          // whether the next one will be
  bool updated() const noexcept { return updated_; }              // whether the last frame gave a template

 private:
  void bind(Graph& search);
  void look_afresh() noexcept;
  bool update_is_due() const noexcept;

  ImagePort& search_image() noexcept override { return search_image_; }
  bool needs_box() const noexcept override { return spec_.templates > 0; }
  bool template_is_finite() const noexcept override;
  void forget() noexcept override;
  void begin() noexcept override;
  void placed() noexcept override;
  CropInfo see(const ImageView& frame) override;
  Sight look(double resize_factor, Timings& timings) override;
  bool remember(const ImageView& frame, const Sight& sight, Timings& timings) override;

  std::size_t template_values() const noexcept;

  MvlmSpec spec_;
  std::shared_ptr<Graph> search_;
  ImagePort search_image_;
  float* text_ = nullptr;
  float* templates_ = nullptr;              // null without templates
  const float* template_tokens_ = nullptr;  // the same
  Candidates candidates_;                   // of the graph; filled by each call
  MarginGate gate_;
  std::optional<std::size_t> cell_;
  bool has_text_ = false;
  bool is_global_ = false;
  bool looked_global_ = false;
  bool updated_ = false;
};

}  // namespace edgetrack
