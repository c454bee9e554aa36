#include "edgetrack/fartrack.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "edgetrack/error.hpp"
#include "finite.hpp"
#include "lead.hpp"
#include "ports.hpp"
#include "stopwatch.hpp"

namespace edgetrack {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::array<double, 4> unknown{nan, nan, nan, nan};

const FarTrackSpec& checked(const FarTrackSpec& spec) {
  check(spec);
  return spec;
}

}  // namespace

FarTracker::FarTracker(const FarTrackSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> first,
                       std::shared_ptr<Graph> search)
    : CropLoop(checked(spec), required(std::move(template_graph), "template")),
      spec_(spec),
      first_(bind_search(std::move(first), "first", spec.tokens)),
      search_(bind_search(std::move(search), "search", spec.tokens - spec.prune)),
      memory_(spec.tokens - spec.prune, spec.channels, spec.memory_limit_bytes),
      newest_(token_values()),
      keep_(static_cast<std::size_t>(spec.tokens - spec.prune)) {
  template_tokens_ = checked(this->template_graph().output("tokens"), {1, spec.tokens, spec.channels},
                             "the template graph's output 'tokens'");
  // Without pruning every row stays, in order; with it, read() rewrites this every frame.
  std::iota(keep_.begin(), keep_.end(), 0);
  mask_.reserve(static_cast<std::size_t>(spec.tokens));
}

FarTracker::SearchPort FarTracker::bind_search(std::shared_ptr<Graph> graph, const char* role, int kept) const {
  Graph& g = present(graph, role);
  const std::string of = std::string("the ") + role + " graph's ";
  SearchPort port;
  port.search = ImagePort(g, "search", spec_.search_size, of + "input 'search'");
  port.old = checked(g.input("old"), {1, template_slot_count - 1, kept, spec_.channels}, of + "input 'old'");
  port.newest = checked(g.input("newest"), {1, spec_.tokens, spec_.channels}, of + "input 'newest'");
  port.logits = checked(g.output("logits"), {1, 4, spec_.decode.classes}, of + "output 'logits'");
  if (spec_.prune > 0) port.score = checked(g.output("score"), {1, spec_.tokens}, of + "output 'score'");
  port.kept = kept;
  port.graph = std::move(graph);
  return port;
}

std::size_t FarTracker::token_values() const noexcept {
  return static_cast<std::size_t>(spec_.tokens) * static_cast<std::size_t>(spec_.channels);
}

bool FarTracker::template_is_finite() const noexcept { return all_finite(template_tokens_, token_values()); }

void FarTracker::begin() noexcept { std::copy_n(template_tokens_, token_values(), newest_.begin()); }

void FarTracker::forget() noexcept {
  memory_.clear();
  mask_.clear();
  logits_ = nullptr;
}

CropLoop::Sight FarTracker::look(double resize_factor, Timings& timings) {
  SearchPort& used = port();
  Stopwatch watch;
  fill_slots(used);
  timings.memory_ms = watch.lap();
  used.search.run();
  timings.run_ms = watch.lap();
  const Sight sight = read(used, resize_factor);
  timings.decode_ms = watch.lap();
  return sight;
}

void FarTracker::fill_slots(const SearchPort& port) const noexcept {
  const std::size_t values = static_cast<std::size_t>(port.kept) * static_cast<std::size_t>(spec_.channels);
  const auto slots = template_slots(frame_index(), spec_.early);
  const auto entry = [&](std::int64_t k) { return k == frame_index() ? newest_.data() : memory_.get(k); };
  float* out = port.old;
  for (std::size_t p = 0; p + 1 < slots.size(); ++p) out = std::copy_n(entry(slots[p]), values, out);
  // Only unpruned flavours show an older template here, so it has all of its tokens.
  std::copy_n(entry(slots.back()), token_values(), port.newest);
}

CropLoop::Sight FarTracker::read(const SearchPort& port, double resize_factor) {
  logits_ = port.logits;
  const BinDecode bins = decode_bins(port.logits, spec_.decode);
  if (!bins.finite) return {};
  if (port.score != nullptr) {
    if (!all_finite(port.score, static_cast<std::size_t>(spec_.tokens))) return {};
    keep_rows(port.score, spec_.tokens, spec_.prune, keep_.data());
  }
  const int used = spec_.decode.bins * spec_.decode.range;
  const BinMass mass = bin_mass(port.logits, spec_.decode.classes, used, spec_.score_radius);
  const Box mapped = map_box(bins.corners, raw_box(), resize_factor, spec_.search_size);
  return sight_of(mapped, static_cast<double>(mass.value));
}

bool FarTracker::remember(const ImageView& frame, const Sight& sight, Timings& timings) {
  if (!embed(frame, sight.box, timings)) return false;
  Stopwatch watch;
  memory_.put(newest_.data(), keep_.data());
  std::copy_n(template_tokens_, token_values(), newest_.begin());
  if (spec_.prune > 0) {
    mask_.assign(static_cast<std::size_t>(spec_.tokens), 0);
    for (const int row : keep_) mask_[static_cast<std::size_t>(row)] = 1;
  }
  timings.memory_ms += watch.lap();
  return true;
}

std::array<double, 4> FarTracker::corners() const noexcept {
  std::array<double, 4> out = unknown;
  if (logits_ == nullptr) return out;
  const BinDecode bins = decode_bins(logits_, spec_.decode);
  if (bins.finite) std::copy(bins.corners.begin(), bins.corners.end(), out.begin());
  return out;
}

std::array<double, 4> FarTracker::leads() const noexcept {
  std::array<double, 4> out = unknown;
  const auto classes = static_cast<std::size_t>(spec_.decode.classes);
  if (logits_ == nullptr || !all_finite(logits_, out.size() * classes)) return out;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(lead_of(logits_ + i * classes, classes));
  return out;
}

std::array<std::int64_t, template_slot_count> FarTracker::slots() const noexcept {
  auto slots = template_slots(frame_index(), spec_.early);
  for (std::int64_t& k : slots) {
    if (k != frame_index()) k = memory_.shown(k);
  }
  return slots;
}

}  // namespace edgetrack
