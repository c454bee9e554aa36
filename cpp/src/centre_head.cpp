#include "edgetrack/centre_head.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "edgetrack/error.hpp"
#include "finite.hpp"
#include "ports.hpp"
#include "require.hpp"
#include "stopwatch.hpp"

namespace edgetrack {
namespace {

constexpr const char* image_input = "search";

const CentreHeadSpec& checked(const CentreHeadSpec& spec) {
  check(spec);
  return spec;
}

std::array<double, 4> filled(double value) { return {value, value, value, value}; }

// Bytes of a template's crop.
std::size_t crop_bytes(const CentreHeadSpec& spec) {
  return 3 * static_cast<std::size_t>(spec.template_size) * static_cast<std::size_t>(spec.template_size);
}

std::size_t count_of(const Tensor& tensor) {
  std::size_t count = 1;
  for (const std::int64_t side : tensor.shape) count *= static_cast<std::size_t>(side);
  return count;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text.empty() ? std::string("none") : text;
}

}  // namespace

void check(const CentreHeadSpec& spec) {
  check(static_cast<const LoopSpec&>(spec));
  check(spec.slots);
  require(spec.state.kept >= 0, "state.kept", spec.state.kept, "0 or more");
}

CentreHeadTracker::CentreHeadTracker(const CentreHeadSpec& spec, std::shared_ptr<Graph> template_graph,
                                     std::shared_ptr<Graph> search)
    : CropLoop(checked(spec), required(std::move(template_graph), "template")),
      spec_(spec),
      search_(std::move(search)),
      slots_(spec.slots, crop_bytes(spec)),
      decoder_(spec.grid, spec.divisor) {
  search_image_ =
      ImagePort(present(search_, "search"), image_input, spec.search_size, "the search graph's input 'search'");
  bind_told();
  bind_links();
  bind_maps();
  bind_state();
}

void CentreHeadTracker::bind_told() {
  for (const std::string& name : spec_.told) {
    if (name == image_input) throw ArtifactError("the input 'search' cannot be told; export the artifact again");
    const Tensor to = search_->input(name);
    told_.push_back({name, checked(to, to.shape, "the search graph's input '" + name + "'"), count_of(to), false});
  }
}

void CentreHeadTracker::bind_links() {
  std::vector<std::string> given = template_graph().output_names();
  std::vector<std::string> wanted = search_->input_names();
  const auto is_other = [&](const std::string& name) {
    const bool told = std::find(spec_.told.begin(), spec_.told.end(), name) != spec_.told.end();
    return name == image_input || told || (!spec_.state.output.empty() && name == spec_.state.input);
  };
  wanted.erase(std::remove_if(wanted.begin(), wanted.end(), is_other), wanted.end());
  std::sort(given.begin(), given.end());
  std::sort(wanted.begin(), wanted.end());
  if (given != wanted || given.empty()) {
    throw ArtifactError("the template graph's outputs are " + listed(given) +
                        ", the search graph's inputs beside 'search'" + (told_.empty() ? "" : " and what is told") +
                        " are " + listed(wanted) +
                        "; they must be the same and at least one: export the artifact again");
  }
  for (const std::string& name : given) {
    const Tensor from = template_graph().output(name);
    const Tensor to = search_->input(name);
    std::vector<std::int64_t> all = from.shape;
    if (all.size() > 1) all[1] *= slots_.count();
    Link link;
    link.from = checked(from, from.shape, "the template graph's output '" + name + "'");
    link.to = checked(
        to, all, "the search graph's input '" + name + "'",
        slots_.count() > 1 ? "the template graph's output, once for every slot," : "the template graph's output");
    link.count = count_of(from);
    if (slots_.count() > 1 && (all.size() < 2 || all[0] != 1)) {
      throw ArtifactError("the template graph's output '" + name + "' has shape " + text_of(from.shape) +
                          ", which cannot be shown several times; export the artifact again");
    }
    slot_values_ += link.count;
    links_.push_back(link);
  }
  staged_.resize(slot_values_ * static_cast<std::size_t>(slots_.count() - 1));
}

void CentreHeadTracker::bind_state() {
  if (spec_.state.output.empty()) return;
  const Tensor from = search_->output(spec_.state.output);
  const Tensor to = search_->input(spec_.state.input);
  state_output_ = checked(from, from.shape, "the search graph's output '" + spec_.state.output + "'");
  state_input_ = checked(to, from.shape, "the search graph's input '" + spec_.state.input + "'", "its output");
  first_state_.resize(count_of(from));
  state_ = first_state_;
  if (static_cast<std::size_t>(spec_.state.kept) > state_.size()) {
    throw ArtifactError("tracker spec: state.kept is " + std::to_string(spec_.state.kept) + ", the state has " +
                        std::to_string(state_.size()) + " values; export the artifact again");
  }
}

void CentreHeadTracker::bind_maps() {
  const std::int64_t grid = spec_.grid;
  const auto map = [&](const char* name, std::int64_t channels) {
    return checked(search_->output(name), {1, channels, grid, grid},
                   std::string("the search graph's output '") + name + "'");
  };
  maps_ = {map("score", 1), map("size", 2), map("offset", 2)};
}

bool CentreHeadTracker::template_is_finite() const noexcept {
  return std::all_of(links_.begin(), links_.end(), [](const Link& link) { return all_finite(link.from, link.count); });
}

void CentreHeadTracker::forget() noexcept {
  seen_maps_ = {};
  cell_.reset();
  slots_.clear();
  std::copy(first_state_.begin(), first_state_.end(), state_.begin());
}

void CentreHeadTracker::begin() noexcept {
  for (const Link& link : links_) {
    float* to = link.to;
    for (int slot = 0; slot < slots_.count(); ++slot) to = std::copy_n(link.from, link.count, to);
  }
}

void CentreHeadTracker::set_told(std::string_view name, const float* values, std::size_t count) {
  const auto told = std::find_if(told_.begin(), told_.end(), [&](const Told& known) { return known.name == name; });
  if (told == told_.end()) {
    throw InputError("the tracker is told nothing called '" + std::string(name) + "', only " + listed(spec_.told));
  }
  if (values == nullptr || count != told->count) {
    throw InputError("'" + told->name + "' has " + std::to_string(count) + " values; this tracker takes " +
                     std::to_string(told->count));
  }
  if (!all_finite(values, count)) {
    throw InputError("'" + told->name + "' has values that are not finite; describe the target again");
  }
  if (told->to == state_input_) {
    begin_state(values);
  } else {
    std::copy_n(values, count, told->to);
  }
  told->given = true;
}

void CentreHeadTracker::begin_state(const float* values) noexcept {
  std::copy_n(values, first_state_.size(), first_state_.begin());
  const auto kept = static_cast<std::ptrdiff_t>(frame_index() == 0 ? 0 : spec_.state.kept);
  std::copy(first_state_.begin() + kept, first_state_.end(), state_.begin() + kept);
}

bool CentreHeadTracker::is_told() const noexcept {
  return std::all_of(told_.begin(), told_.end(), [](const Told& told) { return told.given; });
}

CropInfo CentreHeadTracker::see(const ImageView& frame) {
  if (!is_told()) {
    throw InputError("the tracker was not told what to follow; give it all of " + listed(spec_.told) +
                     " with set_told, or init(frame, box, text=...)");
  }
  if (slots_.count() > 1 && frame.memory == Memory::device) {
    throw InputError(
        "the frame lies in a device's memory; this tracker keeps crops of frames, so pass it in host memory");
  }
  return crop_search(frame);
}

CropLoop::Sight CentreHeadTracker::look(double resize_factor, Timings& timings) {
  seen_maps_ = {};  // the engine may fail half-way
  cell_.reset();
  looked_from_ = raw_box();
  resize_factor_ = resize_factor;
  std::copy(state_.begin(), state_.end(), state_input_);
  Stopwatch watch;
  search_image_.run();
  timings.run_ms = watch.lap();
  seen_maps_ = maps_;
  Sight sight;
  if (decoder_.read(maps_) && all_finite(state_output_, state_.size())) {
    cell_ = decoder_.best();
    sight = sight_at(*cell_);
  }
  timings.decode_ms = watch.lap();
  return sight;
}

bool CentreHeadTracker::remember(const ImageView& frame, const Sight& sight, Timings& timings) {
  if (slots_.count() > 1 && !renew_slots(frame, sight.box, timings)) return false;
  std::copy_n(state_output_, state_.size(), state_.begin());
  return true;
}

bool CentreHeadTracker::renew_slots(const ImageView& frame, const Box& box, Timings& timings) {
  const std::int64_t number = frame_index() + 1;
  const bool renew = slots_.due(number, static_cast<double>(decoder_.highest_score()));
  if (renew) cut_template(frame, box, slots_.fresh());
  slots_.plan(number, renew);
  const auto changes = [&](int slot) { return slots_.planned(slot) != slots_.shown(slot); };
  const int last = slots_.count() - 1;
  for (int slot = last; slot > 0; --slot) {
    if (!changes(slot)) continue;
    if (slot < last && changes(slot + 1) && slots_.planned(slot) == slots_.planned(slot + 1)) {
      std::copy_n(staged(slot + 1), slot_values_, staged(slot));
      continue;
    }
    if (!embed(slots_.crop(slot), timings)) return false;
    stage(slot);
  }
  Stopwatch watch;
  for (int slot = 1; slot <= last; ++slot) {
    if (!changes(slot)) continue;
    const float* from = staged(slot);
    for (const Link& link : links_) {
      std::copy_n(from, link.count, link.to + static_cast<std::size_t>(slot) * link.count);
      from += link.count;
    }
  }
  slots_.commit();
  timings.memory_ms += watch.lap();
  return true;
}

void CentreHeadTracker::stage(int slot) noexcept {
  float* to = staged(slot);
  for (const Link& link : links_) to = std::copy_n(link.from, link.count, to);
}

CropLoop::Sight CentreHeadTracker::sight_at(std::size_t cell) const noexcept {
  const Box mapped = place_box(decoder_.target(cell), looked_from_, resize_factor_, spec_.search_size);
  return sight_of(mapped, static_cast<double>(decoder_.score(cell)));
}

std::vector<Candidate> CentreHeadTracker::candidates(int k) const {
  if (k < 1) throw InputError("candidates was asked for " + std::to_string(k) + " boxes; ask for 1 or more");
  std::vector<Candidate> out;
  if (!seen()) return out;
  for (const std::size_t cell : decoder_.peaks(static_cast<std::size_t>(k))) {
    const Sight sight = sight_at(cell);
    if (sight.finite) out.push_back({sight.box, sight.raw_score});
  }
  return out;
}

std::array<double, 4> CentreHeadTracker::corners() const noexcept {
  if (!cell_) return filled(std::numeric_limits<double>::quiet_NaN());
  const auto target = decoder_.target(*cell_);
  const double x = target[0];
  const double y = target[1];
  const double half_w = 0.5 * static_cast<double>(target[2]);
  const double half_h = 0.5 * static_cast<double>(target[3]);
  return {x - half_w, y - half_h, x + half_w, y + half_h};
}

std::array<double, 4> CentreHeadTracker::leads() const noexcept {
  return filled(cell_ ? static_cast<double>(decoder_.lead()) : std::numeric_limits<double>::quiet_NaN());
}

}  // namespace edgetrack
