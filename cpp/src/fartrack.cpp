#include "edgetrack/fartrack.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <string>
#include <utility>

#include "edgetrack/error.hpp"
#include "finite.hpp"

namespace edgetrack {
namespace {

// Milliseconds since the last lap.
class Stopwatch {
 public:
  double lap() {
    const auto now = Clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

std::string text_of(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

float* checked(const Tensor& tensor, const std::vector<std::int64_t>& expected, const std::string& what) {
  if (tensor.shape != expected) {
    throw ArtifactError(what + " has shape " + text_of(tensor.shape) + " where the tracker spec asks for " +
                        text_of(expected) + "; export the artifact again");
  }
  if (tensor.data == nullptr) throw ArtifactError(what + " has no memory; bind a buffer to it");
  return tensor.data;
}

Graph& present(const std::shared_ptr<Graph>& graph, const std::string& role) {
  if (!graph) throw ArtifactError("the " + role + " graph is missing; pass a graph for every role");
  return *graph;
}

const FarTrackSpec& checked(const FarTrackSpec& spec) {
  check(spec);
  return spec;
}

}  // namespace

FarTracker::FarTracker(const FarTrackSpec& spec, std::shared_ptr<Graph> template_graph, std::shared_ptr<Graph> first,
                       std::shared_ptr<Graph> search)
    : spec_(checked(spec)),
      normalizer_(spec.mean, spec.stddev),
      template_cropper_(spec.template_size),
      search_cropper_(spec.search_size),
      template_graph_(std::move(template_graph)),
      first_(bind_search(std::move(first), "first", spec.tokens)),
      search_(bind_search(std::move(search), "search", spec.tokens - spec.prune)),
      memory_(spec.tokens - spec.prune, spec.channels, spec.memory_limit_bytes),
      newest_(token_values()),
      keep_(static_cast<std::size_t>(spec.tokens - spec.prune)) {
  Graph& graph = present(template_graph_, "template");
  const std::int64_t size = spec.template_size;
  template_image_ = checked(graph.input("image"), {1, 3, size, size}, "the template graph's input 'image'");
  template_tokens_ =
      checked(graph.output("tokens"), {1, spec.tokens, spec.channels}, "the template graph's output 'tokens'");
  // Without pruning every row stays, in order; with it, read() rewrites this every frame.
  std::iota(keep_.begin(), keep_.end(), 0);
  mask_.reserve(static_cast<std::size_t>(spec.tokens));
}

FarTracker::SearchPort FarTracker::bind_search(std::shared_ptr<Graph> graph, const char* role, int kept) const {
  Graph& g = present(graph, role);
  const std::string of = std::string("the ") + role + " graph's ";
  const std::int64_t size = spec_.search_size;
  SearchPort port;
  port.search = checked(g.input("search"), {1, 3, size, size}, of + "input 'search'");
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

void FarTracker::check_frame(const ImageView& frame) const {
  if (!started_) throw InputError("update was called before init; call init(frame, box) on the first frame");
  check(frame);
  if (frame.width != width_ || frame.height != height_) {
    throw InputError("the frame is " + std::to_string(frame.width) + "x" + std::to_string(frame.height) +
                     " but the init frame was " + std::to_string(width_) + "x" + std::to_string(height_) +
                     "; call init again when the frame size changes");
  }
}

void FarTracker::init(const ImageView& frame, const Box& box) {
  check(frame);
  check_box(box, frame.width, frame.height);
  crop_window(box, spec_.search_factor);  // throws now for a box that the first update could not look around
  Timings timings;
  if (!embed(frame, box, timings)) {
    throw ArtifactError(
        "the template graph gave values that are not finite for the init frame; export the artifact again");
  }
  reset();
  std::copy_n(template_tokens_, token_values(), newest_.begin());
  started_ = true;
  width_ = frame.width;
  height_ = frame.height;
  state_ = box;
  result_ = {true, box, 1.0, State::tracking};
}

Result FarTracker::update(const ImageView& frame) {
  Stopwatch total;
  check_frame(frame);
  const SearchPort& port = frame_index_ == 0 ? first_ : search_;
  Timings timings;
  Stopwatch watch;
  const CropInfo crop = search_cropper_.crop(frame, state_, spec_.search_factor, normalizer_, port.search);
  timings.crop_ms = watch.lap();
  Sight sight;
  if (!crop.blank()) {
    fill_slots(port);
    timings.memory_ms = watch.lap();
    port.graph->run();
    timings.run_ms = watch.lap();
    sight = read(port, crop.resize_factor);
    timings.decode_ms = watch.lap();
  }
  if (sight.finite && embed(frame, sight.box, timings)) {
    watch.lap();
    remember(sight);
    timings.memory_ms += watch.lap();
  } else {
    report_lost();
  }
  timings.total_ms = total.lap();
  timings_ = timings;
  return result_;
}

void FarTracker::fill_slots(const SearchPort& port) const noexcept {
  const std::size_t values = static_cast<std::size_t>(port.kept) * static_cast<std::size_t>(spec_.channels);
  const auto slots = template_slots(frame_index_, spec_.early);
  const auto entry = [&](std::int64_t k) { return k == frame_index_ ? newest_.data() : memory_.get(k); };
  float* out = port.old;
  for (std::size_t p = 0; p + 1 < slots.size(); ++p) out = std::copy_n(entry(slots[p]), values, out);
  // Only unpruned flavours show an older template here, so it has all of its tokens.
  std::copy_n(entry(slots.back()), token_values(), port.newest);
}

FarTracker::Sight FarTracker::read(const SearchPort& port, double resize_factor) {
  logits_ = port.logits;
  Sight sight;
  const BinDecode bins = decode_bins(port.logits, spec_.decode);
  if (!bins.finite) return sight;
  if (port.score != nullptr) {
    if (!all_finite(port.score, static_cast<std::size_t>(spec_.tokens))) return sight;
    keep_rows(port.score, spec_.tokens, spec_.prune, keep_.data());
  }
  const Box mapped = map_box(bins.corners, state_, resize_factor, spec_.search_size);
  sight.box = clip_box(mapped, height_, width_, spec_.clip_margin_px);
  const int used = spec_.decode.bins * spec_.decode.range;
  sight.raw_score = static_cast<double>(bin_mass(port.logits, spec_.decode.classes, used, spec_.score_radius).value);
  sight.finite = true;
  return sight;
}

bool FarTracker::embed(const ImageView& frame, const Box& box, Timings& timings) {
  Stopwatch watch;
  template_cropper_.crop(frame, box, spec_.template_factor, normalizer_, template_image_);
  timings.crop_ms += watch.lap();
  template_graph_->run();
  timings.run_ms += watch.lap();
  return all_finite(template_tokens_, token_values());
}

void FarTracker::remember(const Sight& sight) noexcept {
  memory_.put(newest_.data(), keep_.data());
  std::copy_n(template_tokens_, token_values(), newest_.begin());
  if (spec_.prune > 0) {
    mask_.assign(static_cast<std::size_t>(spec_.tokens), 0);
    for (const int row : keep_) mask_[static_cast<std::size_t>(row)] = 1;
  }
  ++frame_index_;
  state_ = sight.box;
  raw_score_ = sight.raw_score;
  report(sight);
}

void FarTracker::report(const Sight& sight) noexcept {
  result_.score = score_of(sight.raw_score, spec_.score);
  result_.state = state_of(result_.score, spec_.score);
  result_.ok = result_.state != State::lost;
  if (result_.ok) result_.box = sight.box;
}

void FarTracker::report_lost() noexcept {
  raw_score_ = 0;
  result_.ok = false;
  result_.score = 0;
  result_.state = State::lost;
}

void FarTracker::reset() noexcept {
  memory_.clear();
  mask_.clear();
  logits_ = nullptr;
  started_ = false;
  frame_index_ = 0;
  width_ = height_ = 0;
  state_ = {};
  raw_score_ = 0;
  result_ = {};
  timings_ = {};
}

std::array<std::int64_t, template_slot_count> FarTracker::slots() const noexcept {
  auto slots = template_slots(frame_index_, spec_.early);
  for (std::int64_t& k : slots) {
    if (k != frame_index_) k = memory_.shown(k);
  }
  return slots;
}

void FarTracker::set_state(const Box& box) {
  if (!started_) throw InputError("set_state was called before init; call init(frame, box) on the first frame");
  check_box(box, width_, height_);
  crop_window(box, spec_.search_factor);
  state_ = box;
}

}  // namespace edgetrack
