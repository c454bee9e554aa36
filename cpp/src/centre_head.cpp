#include "edgetrack/centre_head.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "edgetrack/error.hpp"
#include "finite.hpp"
#include "ports.hpp"
#include "stopwatch.hpp"

namespace edgetrack {
namespace {

constexpr const char* image_input = "search";

const CentreHeadSpec& checked(const CentreHeadSpec& spec) {
  check(spec);
  return spec;
}

std::array<double, 4> filled(double value) { return {value, value, value, value}; }

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

void check(const CentreHeadSpec& spec) { check(static_cast<const LoopSpec&>(spec)); }

CentreHeadTracker::CentreHeadTracker(const CentreHeadSpec& spec, std::shared_ptr<Graph> template_graph,
                                     std::shared_ptr<Graph> search)
    : CropLoop(checked(spec), required(std::move(template_graph), "template")),
      spec_(spec),
      search_(std::move(search)),
      decoder_(spec.grid, spec.divisor) {
  search_image_ =
      ImagePort(present(search_, "search"), image_input, spec.search_size, "the search graph's input 'search'");
  bind_told();
  bind_links();
  bind_maps();
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
  wanted.erase(std::remove(wanted.begin(), wanted.end(), image_input), wanted.end());
  for (const Told& told : told_) wanted.erase(std::remove(wanted.begin(), wanted.end(), told.name), wanted.end());
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
    Link link;
    link.from = checked(from, from.shape, "the template graph's output '" + name + "'");
    link.to = checked(to, from.shape, "the search graph's input '" + name + "'", "the template graph's output");
    link.count = count_of(from);
    links_.push_back(link);
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
}

void CentreHeadTracker::begin() noexcept {
  for (const Link& link : links_) std::copy_n(link.from, link.count, link.to);
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
  std::copy_n(values, count, told->to);
  told->given = true;
}

bool CentreHeadTracker::is_told() const noexcept {
  return std::all_of(told_.begin(), told_.end(), [](const Told& told) { return told.given; });
}

CropInfo CentreHeadTracker::see(const ImageView& frame) {
  if (!is_told()) {
    throw InputError("the tracker was not told what to follow; give it all of " + listed(spec_.told) +
                     " with set_told, or init(frame, box, text=...)");
  }
  return crop_search(frame);
}

CropLoop::Sight CentreHeadTracker::look(double resize_factor, Timings& timings) {
  forget();  // the engine may fail half-way
  looked_from_ = raw_box();
  resize_factor_ = resize_factor;
  Stopwatch watch;
  search_image_.run();
  timings.run_ms = watch.lap();
  seen_maps_ = maps_;
  Sight sight;
  if (decoder_.read(maps_)) {
    cell_ = decoder_.best();
    sight = sight_at(*cell_);
  }
  timings.decode_ms = watch.lap();
  return sight;
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
