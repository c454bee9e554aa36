// MVLM's vision-language margin (CVPR 2026): which of the boxes in a frame stand out by agreeing with a sentence.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace edgetrack {

// What a box needs to be trusted.
struct GateSpec {
  double alpha = 1;     // share of the agreement with the sentence in a margin; the rest is the head's score
  double tau = 0.1;     // least confidence
  double omega = 0.4;   // weight of the remembered margin in the confidence
  double lambda = 0.4;  // weight of the past in what is remembered
  double psi = 0;       // largest overlap (IoU) at which two boxes count as different places
};

// A value of a gate that may be changed while it is at work, and what it can be.
struct Threshold {
  const char* name;
  double GateSpec::* value;
  double least;
  double most;

  bool allows(double number) const noexcept { return number >= least && number <= most; }
};

inline constexpr std::array<Threshold, 4> thresholds{{
    {"tau", &GateSpec::tau, -1, 1},
    {"omega", &GateSpec::omega, 0, 1},
    {"lambda", &GateSpec::lambda, 0, 1},
    {"psi", &GateSpec::psi, 0, 1},
}};

// Throws ArtifactError for a value no gate can have.
void check(const GateSpec& spec);

// What a network says about each cell, float32, contiguous; it belongs to the engine.
struct Candidates {
  const float* cls = nullptr;    // (count): the head's score, weighted with the window
  const float* boxes = nullptr;  // (count, 4): cx, cy, w, h in parts of the network's input
  const float* sims = nullptr;   // (count): cosine between what the box covers and the sentence
};

// Margins of all boxes of a frame, and what is remembered of them per cell. In float32, in the published order of
// operations; only the hyperbolic tangent is rounded from float64, so that it is the same on all machines. One object
// serves one thread at a time.
class MarginGate {
 public:
  // count: boxes in a frame, at least 1. All memory is taken here. Throws ArtifactError as check does.
  MarginGate(const GateSpec& spec, std::size_t count);

  const GateSpec& spec() const noexcept { return spec_; }

  // Judges by other values from the next `read` on; what is remembered stays. Throws ArtifactError as check does, and
  // the gate is as before then.
  void set_spec(const GateSpec& spec);

  // Computes the margins and confidences of a frame for the calls below; they read `candidates` too, so these must keep
  // their values. False: a value is NaN or infinite, and there is nothing to read.
  bool read(const Candidates& candidates) noexcept;

  // Takes the margins that were read into the memory.
  void remember() noexcept;

  // Forgets the past: the next frame is the first.
  void forget() noexcept { has_past_ = false; }

  // Returns how many boxes are confident.
  std::size_t selected() const noexcept { return selected_; }

  // Returns the box with the largest windowed score, the first one of equals: of the confident ones, or of all if there
  // is none.
  std::size_t best() const noexcept { return best_; }

  // Returns the least change of a score or a confidence that would turn that choice; infinity for a single box.
  double lead() const noexcept;

  // Return, for each box, its margin, what will be remembered of it, and its confidence.
  const std::vector<float>& margins() const noexcept { return margins_; }
  const std::vector<float>& memory() const noexcept { return next_; }
  const std::vector<float>& confidences() const noexcept { return confidences_; }

  // Returns the windowed score of a box.
  float response(std::size_t cell) const noexcept { return seen_.cls[cell]; }

  // Returns cx, cy, w, h of a box in parts of the network's input.
  std::array<float, 4> target(std::size_t cell) const noexcept;

 private:
  std::size_t count() const noexcept { return margins_.size(); }
  void find_corners() noexcept;
  void find_margins() noexcept;
  void choose() noexcept;

  GateSpec spec_;
  Candidates seen_;
  std::vector<float> left_, top_, right_, bottom_, area_;  // of each box
  std::vector<float> margins_;
  std::vector<float> past_;  // remembered until this frame
  std::vector<float> next_;  // what will be
  std::vector<float> confidences_;
  bool has_past_ = false;
  double tau_ = 0;  // that the last `read` judged by
  std::size_t selected_ = 0;
  std::size_t best_ = 0;
};

}  // namespace edgetrack
