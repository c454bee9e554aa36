#include "edgetrack/crop_loop.hpp"

#include <cmath>
#include <string>
#include <utility>

#include "edgetrack/error.hpp"
#include "require.hpp"
#include "stopwatch.hpp"

namespace edgetrack {

namespace {
constexpr double kMostFactor = 1000;  // a larger crop of any box that can be followed would leave the numbers' range
}

void check(const LoopSpec& spec) {
  require(spec.template_factor > 0 && spec.template_factor <= kMostFactor, "template.factor", spec.template_factor,
          "positive and at most 1000");
  require(spec.search_factor > 0 && spec.search_factor <= kMostFactor, "search.factor", spec.search_factor,
          "positive and at most 1000");
  require(spec.clip_margin_px > 0 && std::isfinite(spec.clip_margin_px), "clip_margin_px", spec.clip_margin_px,
          "above 0: a box needs a size");
  check(spec.score);
}

CropLoop::CropLoop(const LoopSpec& spec, std::shared_ptr<Graph> template_graph)
    : loop_(spec),
      normalizer_(spec.mean, spec.stddev),
      template_cropper_(spec.template_size),
      search_cropper_(spec.search_size),
      template_graph_(std::move(template_graph)) {
  if (!template_graph_) return;
  template_image_ = ImagePort(*template_graph_, "image", spec.template_size, "the template graph's input 'image'");
}

void CropLoop::check_frame(const ImageView& frame) const {
  if (!started_) throw InputError("update was called before init; call init(frame, box) on the first frame");
  check(frame);
  if (frame.width != width_ || frame.height != height_) {
    throw InputError("the frame is " + std::to_string(frame.width) + "x" + std::to_string(frame.height) +
                     " but the init frame was " + std::to_string(width_) + "x" + std::to_string(height_) +
                     "; call init again when the frame size changes");
  }
}

void CropLoop::init(const ImageView& frame, const Box& box) {
  check(frame);
  check_box(box, frame.width, frame.height);
  crop_window(box, loop_.search_factor);  // throws now for a box that the first update could not look around
  start(frame, box, {true, box, 1.0, State::tracking});
}

void CropLoop::init(const ImageView& frame) {
  check(frame);
  if (needs_box()) throw InputError("this tracker needs the target's box; call init(frame, box)");
  const Box all{0, 0, static_cast<double>(frame.width), static_cast<double>(frame.height)};
  start(frame, all, {false, all, 0.0, State::lost});
}

void CropLoop::start(const ImageView& frame, const Box& box, const Result& result) {
  Timings timings;
  if (template_graph_ && !embed(frame, box, timings)) {
    throw ArtifactError(
        "the template graph gave values that are not finite for the init frame; export the artifact again");
  }
  reset();
  begin();
  started_ = true;
  width_ = frame.width;
  height_ = frame.height;
  state_ = box;
  result_ = result;
}

Result CropLoop::update(const ImageView& frame) {
  Stopwatch total;
  check_frame(frame);
  seen_ = false;
  Timings timings;
  Stopwatch watch;
  const CropInfo crop = see(frame);
  timings.crop_ms = watch.lap();
  Sight sight;
  if (!crop.blank()) sight = look(crop.resize_factor, timings);
  seen_ = sight.finite && remember(frame, sight, timings);
  if (seen_) {
    ++frame_index_;
    state_ = sight.box;
    report(sight);
  } else {
    report_lost();
  }
  timings.total_ms = total.lap();
  timings_ = timings;
  return result_;
}

CropInfo CropLoop::crop_search(const ImageView& frame) {
  return search_image().crop(search_cropper_, frame, state_, loop_.search_factor, normalizer_);
}

CropInfo CropLoop::squeeze_frame(const ImageView& frame) {
  return search_image().squeeze(search_cropper_, frame, normalizer_);
}

bool CropLoop::remember(const ImageView& /*frame*/, const Sight& /*sight*/, Timings& /*timings*/) { return true; }

bool CropLoop::embed(const ImageView& frame, const Box& box, Timings& timings) {
  Stopwatch watch;
  template_image_.crop(template_cropper_, frame, box, loop_.template_factor, normalizer_);
  timings.crop_ms += watch.lap();
  template_image_.run();
  timings.run_ms += watch.lap();
  return template_is_finite();
}

CropLoop::Sight CropLoop::sight_of(const Box& mapped, double raw_score) const noexcept {
  const auto [x, y, w, h] = mapped;
  const bool finite = std::isfinite(x) && std::isfinite(y) && std::isfinite(w) && std::isfinite(h);
  return {finite, clip_box(mapped, height_, width_, loop_.clip_margin_px), raw_score};
}

void CropLoop::report(const Sight& sight) noexcept {
  raw_score_ = sight.raw_score;
  result_.score = score_of(sight.raw_score, loop_.score);
  result_.state = state_of(result_.score, loop_.score);
  result_.ok = result_.state != State::lost;
  if (result_.ok) result_.box = sight.box;
}

void CropLoop::report_lost() noexcept {
  raw_score_ = 0;
  result_.ok = false;
  result_.score = 0;
  result_.state = State::lost;
}

void CropLoop::reset() noexcept {
  forget();
  started_ = seen_ = false;
  frame_index_ = 0;
  width_ = height_ = 0;
  state_ = {};
  raw_score_ = 0;
  result_ = {};
  timings_ = {};
}

void CropLoop::set_state(const Box& box) {
  if (!started_) throw InputError("set_state was called before init; call init(frame, box) on the first frame");
  check_box(box, width_, height_);
  crop_window(box, loop_.search_factor);
  state_ = box;
  placed();
}

}  // namespace edgetrack
