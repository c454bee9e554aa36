#include "edgetrack/mvlm.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "edgetrack/centre_maps.hpp"
#include "edgetrack/error.hpp"
#include "finite.hpp"
#include "ports.hpp"
#include "require.hpp"
#include "stopwatch.hpp"

namespace edgetrack {
namespace {

// Far above any model; they keep sizes in bytes from overflowing.
constexpr int most_tokens = 1 << 16;
constexpr int most_channels = 1 << 16;
constexpr int most_templates = 64;

const MvlmSpec& checked(const MvlmSpec& spec) {
  check(spec);
  return spec;
}

std::size_t cells_of(const MvlmSpec& spec) {
  return static_cast<std::size_t>(spec.grid) * static_cast<std::size_t>(spec.grid);
}

std::array<double, 4> filled(double value) { return {value, value, value, value}; }

}  // namespace

void check(const MvlmSpec& spec) {
  check(static_cast<const LoopSpec&>(spec));
  check(spec.gate);
  require(spec.grid >= 1 && spec.grid <= max_grid, "decode.grid", spec.grid, "1 to 1024");
  require(spec.text_tokens > 0 && spec.text_tokens <= most_tokens, "text.tokens", spec.text_tokens, "1 to 65536");
  require(spec.channels > 0 && spec.channels <= most_channels, "text.channels", spec.channels, "1 to 65536");
  require(spec.templates >= 0 && spec.templates <= most_templates, "template.count", spec.templates, "0 to 64");
  require(spec.template_tokens > 0 && spec.template_tokens <= most_tokens, "template.tokens", spec.template_tokens,
          "1 to 65536");
  require(spec.update_interval >= 1, "template.update.interval", spec.update_interval, "1 or more");
  require(spec.update_above >= 0 && spec.update_above <= 1, "template.update.above", spec.update_above, "0 to 1");
}

MvlmTracker::MvlmTracker(const MvlmSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> search)
    : CropLoop(checked(spec), spec.templates > 0 ? required(std::move(template_graph), "template") : nullptr),
      spec_(spec),
      search_(std::move(search)),
      gate_(spec.gate, cells_of(spec)) {
  bind(present(search_, "search"));
  look_afresh();
}

void MvlmTracker::bind(Graph& search) {
  const auto in = [&](const char* name, const std::vector<std::int64_t>& shape) {
    return checked(search.input(name), shape, std::string("the search graph's input '") + name + "'");
  };
  const auto out = [&](const char* name, const std::vector<std::int64_t>& shape) {
    return checked(search.output(name), shape, std::string("the search graph's output '") + name + "'");
  };
  const auto cells = static_cast<std::int64_t>(cells_of(spec_));
  search_image_ = ImagePort(search, "search", spec_.search_size, "the search graph's input 'search'");
  text_ = in("text", {1, spec_.text_tokens, spec_.channels});
  candidates_ = {out("cls", {1, cells}), out("boxes", {1, cells, 4}), out("sims", {1, cells})};
  if (spec_.templates == 0) return;
  const std::int64_t tokens = spec_.template_tokens;
  templates_ = in("templates", {1, spec_.templates * tokens, spec_.channels});
  template_tokens_ =
      checked(template_graph().output("tokens"), {1, tokens, spec_.channels}, "the template graph's output 'tokens'");
}

std::size_t MvlmTracker::template_values() const noexcept {
  return static_cast<std::size_t>(spec_.template_tokens) * static_cast<std::size_t>(spec_.channels);
}

void MvlmTracker::set_text(const float* values, std::size_t count) {
  const std::size_t wanted = static_cast<std::size_t>(spec_.text_tokens) * static_cast<std::size_t>(spec_.channels);
  if (values == nullptr || count != wanted) {
    throw InputError("the sentence has " + std::to_string(count) + " values; this tracker takes " +
                     std::to_string(wanted) + ": " + std::to_string(spec_.text_tokens) + " tokens of " +
                     std::to_string(spec_.channels));
  }
  if (!all_finite(values, count)) {
    throw InputError("the sentence's features are not finite; encode it again, or export the artifact again");
  }
  std::copy_n(values, count, text_);
  has_text_ = true;
  look_afresh();
}

void MvlmTracker::set_gate(const GateSpec& gate) {
  gate_.set_spec(gate);
  // A raw score is a confidence, moved into 0..1 as `look` does.
  ScoreRule rule = moved(spec_.score, 0.5 * (gate.tau - spec_.gate.tau));
  // Where the spec has "lost" at its tau, rounded, it stays at the gate's own, to the last bit of float32.
  const double edge = 0.5 * (1 + static_cast<double>(static_cast<float>(gate.tau)));
  if (!rule.calibration && std::abs(rule.lost_below - edge) < 1e-6) rule.lost_below = edge;
  rule.uncertain_below = std::max(rule.uncertain_below, rule.lost_below);
  set_rule(rule);
}

void MvlmTracker::look_afresh() noexcept {
  gate_.forget();
  is_global_ = !needs_box();
}

bool MvlmTracker::template_is_finite() const noexcept {
  return template_tokens_ == nullptr || all_finite(template_tokens_, template_values());
}

void MvlmTracker::forget() noexcept {
  look_afresh();
  cell_.reset();
  looked_global_ = updated_ = false;
}

void MvlmTracker::begin() noexcept {
  float* out = templates_;
  for (int n = 0; n < spec_.templates; ++n) out = std::copy_n(template_tokens_, template_values(), out);
}

void MvlmTracker::placed() noexcept {
  gate_.forget();
  is_global_ = false;
}

CropInfo MvlmTracker::see(const ImageView& frame) {
  if (!has_text_) {
    throw InputError("the tracker has no sentence to follow; give it one with set_text, or init(frame, text=...)");
  }
  cell_.reset();  // the engine may fail half-way
  updated_ = false;
  looked_global_ = is_global_;
  return is_global_ ? squeeze_frame(frame) : crop_search(frame);
}

CropLoop::Sight MvlmTracker::look(double resize_factor, Timings& timings) {
  Stopwatch watch;
  search_image_.run();
  timings.run_ms = watch.lap();
  Sight sight;
  if (gate_.read(candidates_)) {
    cell_ = gate_.best();
    const auto target = gate_.target(*cell_);
    const Box mapped = looked_global_ ? place_box_in_frame(target, frame_width(), frame_height(), spec_.search_size)
                                      : place_box(target, raw_box(), resize_factor, spec_.search_size);
    sight = sight_of(mapped, 0.5 * (1 + static_cast<double>(gate_.confidences()[*cell_])));
  }
  timings.decode_ms = watch.lap();
  return sight;
}

bool MvlmTracker::update_is_due() const noexcept {
  const bool due = spec_.templates > 1 && (frame_index() + 1) % spec_.update_interval == 0;
  return due && static_cast<double>(gate_.response(*cell_)) > spec_.update_above;
}

bool MvlmTracker::remember(const ImageView& frame, const Sight& sight, Timings& timings) {
  if (update_is_due()) {
    if (!embed(frame, sight.box, timings)) return false;
    // The first template stays; the others move up and the newest comes last.
    const std::size_t values = template_values();
    float* last = templates_ + values * static_cast<std::size_t>(spec_.templates - 1);
    std::copy(templates_ + 2 * values, last + values, templates_ + values);
    std::copy_n(template_tokens_, values, last);
    updated_ = true;
  }
  gate_.remember();
  is_global_ = gate_.selected() == 0;
  return true;
}

std::array<double, 4> MvlmTracker::corners() const noexcept {
  if (!cell_) return filled(std::numeric_limits<double>::quiet_NaN());
  const auto target = gate_.target(*cell_);
  const double x = target[0];
  const double y = target[1];
  const double half_w = 0.5 * static_cast<double>(target[2]);
  const double half_h = 0.5 * static_cast<double>(target[3]);
  return {x - half_w, y - half_h, x + half_w, y + half_h};
}

std::array<double, 4> MvlmTracker::leads() const noexcept {
  return filled(cell_ ? gate_.lead() : std::numeric_limits<double>::quiet_NaN());
}

}  // namespace edgetrack
