// FARTrack's loop over graphs written in C++, without Python.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/fartrack.hpp"
#include "fake_graph.hpp"

namespace {

using namespace edgetrack;

std::shared_ptr<FakeGraph> search_graph(const FarTrackSpec& spec, int kept) {
  auto graph = std::make_shared<FakeGraph>();
  graph->add_input("search", {1, 3, spec.search_size, spec.search_size});
  graph->add_input("old", {1, 4, kept, spec.channels});
  graph->add_input("newest", {1, spec.tokens, spec.channels});
  graph->add_output("logits", {1, 4, spec.decode.classes});
  if (spec.prune > 0) graph->add_output("score", {1, spec.tokens});
  // A box a quarter of the crop wide, in its middle: it stays where it is.
  float* logits = graph->output("logits").data;
  const float corners[] = {0.375F, 0.375F, 0.625F, 0.625F};
  for (int row = 0; row < 4; ++row) {
    const float centre = (corners[row] + 0.5F) * static_cast<float>(spec.decode.bins - 1);
    for (int k = 0; k < spec.decode.classes; ++k) {
      const float distance = static_cast<float>(k) - centre;
      logits[row * spec.decode.classes + k] = -0.2F * distance * distance;
    }
  }
  return graph;
}

// A tracker, its graphs, and a textured frame. Template k's tokens are k everywhere, plus the row over 100,
// so that what the slots show can be read from the inputs.
struct Rig {
  explicit Rig(const FarTrackSpec& s = {})
      : spec(s),
        embed(std::make_shared<FakeGraph>()),
        first(search_graph(s, s.tokens)),
        search(search_graph(s, s.tokens - s.prune)),
        pixels(textured_pixels()) {
    embed->add_input("image", {1, 3, s.template_size, s.template_size});
    embed->add_output("tokens", {1, s.tokens, s.channels});
    embed->network = [this, out = embed->output("tokens").data] {
      for (int i = 0; i < spec.tokens * spec.channels; ++i) {
        out[i] = static_cast<float>(embed->runs - 1) + static_cast<float>(i / spec.channels) / 100;
      }
    };
    tracker = std::make_unique<FarTracker>(s, embed, first, search);
  }

  ImageView frame() const { return frame_of(pixels); }

  FarTrackSpec spec;
  std::shared_ptr<FakeGraph> embed, first, search;
  std::vector<std::uint8_t> pixels;
  std::unique_ptr<FarTracker> tracker;
};

FarTrackSpec unpruned(EarlySlots early) {
  FarTrackSpec spec;
  spec.prune = 0;
  spec.early = early;
  return spec;
}

// Checks that the slots of the last network call showed templates[0..4].
void check_shown(const Rig& rig, FakeGraph& graph, int kept, const std::array<std::int64_t, 5>& templates) {
  const float* old = graph.input("old").data;
  for (std::size_t p = 0; p < 4; ++p) {
    for (int row = 0; row < kept; ++row) {
      const auto values = old + (p * static_cast<std::size_t>(kept) + static_cast<std::size_t>(row)) *
                                    static_cast<std::size_t>(rig.spec.channels);
      // Pruned templates keep rows prune .. tokens-1, as their scores ascend.
      const int source = row + rig.spec.tokens - kept;
      CHECK(std::abs(values[0] - (static_cast<float>(templates[p]) + static_cast<float>(source) / 100)) < 1e-3F);
      CHECK(std::equal(values + 1, values + rig.spec.channels, values));
    }
  }
  const float* newest = graph.input("newest").data;
  CHECK(std::abs(newest[0] - static_cast<float>(templates[4])) < 1e-3F);
}

void slots_show_the_published_templates(const FarTrackSpec& spec) {
  Rig rig(spec);
  if (spec.prune > 0) {
    for (FakeGraph* graph : {rig.first.get(), rig.search.get()}) {
      float* score = graph->output("score").data;
      for (int i = 0; i < spec.tokens; ++i) score[i] = static_cast<float>(i);
    }
  }
  rig.tracker->init(rig.frame(), start);
  CHECK(rig.embed->runs == 1);
  for (std::int64_t n = 1; n <= 40; ++n) {
    const auto expected = template_slots(n - 1, spec.early);
    CHECK(rig.tracker->slots() == expected);
    CHECK(rig.tracker->update(rig.frame()).ok);
    const bool is_first = n == 1;
    check_shown(rig, is_first ? *rig.first : *rig.search, is_first ? spec.tokens : spec.tokens - spec.prune, expected);
    CHECK(rig.tracker->frame_index() == n);
    CHECK(rig.tracker->mask().size() == (spec.prune > 0 ? static_cast<std::size_t>(spec.tokens) : 0));
  }
  CHECK(rig.first->runs == 1);
  CHECK(rig.search->runs == 39);
}

void steady_updates_allocate_nothing() {
  FarTrackSpec spec;
  spec.memory_limit_bytes = std::size_t{1} << 20;  // 36 templates: the stride doubles while we count
  Rig rig(spec);
  rig.tracker->init(rig.frame(), start);
  for (int n = 0; n < 3; ++n) rig.tracker->update(rig.frame());
  const std::size_t before = allocation_count;
  for (int n = 0; n < 300; ++n) CHECK(rig.tracker->update(rig.frame()).ok);
  CHECK(allocation_count == before);
  CHECK(rig.tracker->memory().stride() > 1);
}

void a_throwing_engine_leaves_the_loop_consistent() {
  for (const bool search_fails : {true, false}) {
    Rig rig;
    rig.tracker->init(rig.frame(), start);
    for (int n = 0; n < 5; ++n) rig.tracker->update(rig.frame());
    const auto slots = rig.tracker->slots();
    const std::size_t stored = rig.tracker->memory().stored();
    FakeGraph& graph = search_fails ? *rig.search : *rig.embed;
    const auto network = std::exchange(graph.network, [] { throw std::runtime_error("device gone"); });
    CHECK_THROWS(rig.tracker->update(rig.frame()), std::runtime_error);
    CHECK(rig.tracker->slots() == slots);
    CHECK(rig.tracker->frame_index() == 5);
    CHECK(rig.tracker->memory().stored() == stored);
    graph.network = network;
    CHECK(rig.tracker->update(rig.frame()).ok);
    CHECK(rig.tracker->frame_index() == 6);
  }
}

void guards_report_lost_and_touch_nothing() {
  Rig rig;
  rig.tracker->init(rig.frame(), start);
  rig.tracker->update(rig.frame());
  const Box box = rig.tracker->result().box;
  const auto check_unseen = [&](const ImageView& frame) {
    const Result result = rig.tracker->update(frame);
    CHECK(!result.ok);
    CHECK(result.state == State::lost);
    CHECK(result.score == 0);
    CHECK(result.box.x == box.x && result.box.w == box.w);
    CHECK(rig.tracker->frame_index() == 1);
    CHECK(rig.tracker->memory().size() == 1);
  };
  const std::vector<std::uint8_t> black(rig.pixels.size(), 0);
  check_unseen(frame_of(black));
  CHECK(rig.search->runs == 0);
  for (const char* name : {"logits", "score"}) {
    float& value = rig.search->output(name).data[7];
    const float good = std::exchange(value, std::numeric_limits<float>::quiet_NaN());
    check_unseen(rig.frame());
    value = good;
  }
  CHECK(rig.tracker->update(rig.frame()).ok);
}

void init_refuses_tokens_that_are_not_finite() {
  Rig rig;
  rig.embed->network = [out = rig.embed->output("tokens").data] { out[5] = std::numeric_limits<float>::infinity(); };
  CHECK_THROWS(rig.tracker->init(rig.frame(), start), ArtifactError);
  CHECK(!rig.tracker->started());
}

void wrong_calls_are_refused() {
  Rig rig;
  CHECK_THROWS(rig.tracker->update(rig.frame()), InputError);
  CHECK_THROWS(rig.tracker->set_state(start), InputError);
  CHECK_THROWS(rig.tracker->init(rig.frame(), Box{1000, 0, 5, 5}), InputError);
  CHECK_THROWS(rig.tracker->init(ImageView{}, start), InputError);
  CHECK_THROWS(rig.tracker->update(rig.frame()), InputError);
  rig.tracker->init(rig.frame(), start);
  CHECK_THROWS(rig.tracker->update(packed_view(rig.pixels.data(), 80, 60, PixelFormat::bgr)), InputError);
  CHECK_THROWS(rig.tracker->set_state(Box{0, 0, std::nan(""), 1}), InputError);
  rig.tracker->reset();
  CHECK_THROWS(rig.tracker->update(rig.frame()), InputError);
}

void wrong_specs_and_graphs_are_refused() {
  const Rig rig;
  const auto build = [&](const FarTrackSpec& spec) { FarTracker(spec, rig.embed, rig.first, rig.search); };
  FarTrackSpec spec;
  spec.prune = 49;
  CHECK_THROWS(build(spec), ArtifactError);
  spec = {};
  spec.early = EarlySlots::distill;
  CHECK_THROWS(build(spec), ArtifactError);
  spec = {};
  spec.score.lost_below = 0.5;
  CHECK_THROWS(build(spec), ArtifactError);
  spec = {};
  spec.score.calibration = Calibration{std::nan(""), 0};
  CHECK_THROWS(build(spec), ArtifactError);
  for (const double margin : {0.0, -1.0, std::nan("")}) {
    spec = {};
    spec.clip_margin_px = margin;
    CHECK_THROWS(build(spec), ArtifactError);
  }
  spec = {};
  spec.channels = 64;
  CHECK_THROWS(build(spec), ArtifactError);
  CHECK_THROWS(FarTracker({}, rig.embed, rig.search, rig.search), ArtifactError);
  CHECK_THROWS(FarTracker({}, rig.embed, rig.first, nullptr), ArtifactError);
  CHECK_THROWS(FarTracker({}, rig.search, rig.first, rig.search), ArtifactError);
}

}  // namespace

int main() {
  slots_show_the_published_templates({});
  slots_show_the_published_templates(unpruned(EarlySlots::shift));
  slots_show_the_published_templates(unpruned(EarlySlots::distill));
  steady_updates_allocate_nothing();
  a_throwing_engine_leaves_the_loop_consistent();
  guards_report_lost_and_touch_nothing();
  init_refuses_tokens_that_are_not_finite();
  wrong_calls_are_refused();
  wrong_specs_and_graphs_are_refused();
  return failures;
}
