// The loop of trackers with a centre head over graphs written in C++, without Python.
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/centre_head.hpp"
#include "edgetrack/error.hpp"
#include "fake_graph.hpp"

namespace {

const std::vector<std::int64_t> tokens_shape{1, 64, 8};
const std::vector<std::int64_t> words_shape{1, 5};

std::shared_ptr<FakeGraph> search_graph(const CentreHeadSpec& spec) {
  auto graph = std::make_shared<FakeGraph>();
  graph->add_input("search", {1, 3, spec.search_size, spec.search_size});
  graph->add_input("tokens", tokens_shape);
  graph->add_input("words", words_shape);
  graph->add_output("score", {1, 1, spec.grid, spec.grid});
  graph->add_output("size", {1, 2, spec.grid, spec.grid});
  graph->add_output("offset", {1, 2, spec.grid, spec.grid});
  return graph;
}

std::shared_ptr<FakeGraph> template_graph(const CentreHeadSpec& spec) {
  auto graph = std::make_shared<FakeGraph>();
  graph->add_input("image", {1, 3, spec.template_size, spec.template_size});
  graph->add_output("tokens", tokens_shape);
  graph->add_output("words", words_shape);
  return graph;
}

// A tracker, its graphs, and a textured frame. The head marks one box a quarter of the crop wide, near its middle.
struct Rig {
  explicit Rig(const CentreHeadSpec& s = {})
      : spec(s), embed(template_graph(s)), search(search_graph(s)), pixels(textured_pixels()) {
    embed->network = [this, tokens = embed->output("tokens").data, words = embed->output("words").data] {
      tokens[0] = words[4] = static_cast<float>(embed->runs);
    };
    mark(cell(8, 8), 0.75F);
    tracker = std::make_unique<CentreHeadTracker>(s, embed, search);
  }

  std::size_t cells() const { return static_cast<std::size_t>(spec.grid * spec.grid); }
  std::size_t cell(int x, int y) const { return static_cast<std::size_t>(y * spec.grid + x); }

  void mark(std::size_t where, float score) {
    search->output("score").data[where] = score;
    for (const std::size_t at : {where, cells() + where}) {
      search->output("size").data[at] = 0.25F;
      search->output("offset").data[at] = 0;
    }
  }

  ImageView frame() const { return frame_of(pixels); }

  CentreHeadSpec spec;
  std::shared_ptr<FakeGraph> embed, search;
  std::vector<std::uint8_t> pixels;
  std::unique_ptr<CentreHeadTracker> tracker;
};

bool same(const Box& a, const Box& b) { return a.x == b.x && a.y == b.y && a.w == b.w && a.h == b.h; }

void the_template_reaches_the_search_graph_once_per_target() {
  Rig rig;
  rig.tracker->init(rig.frame(), start);
  const float* tokens = rig.search->input("tokens").data;
  const float* words = rig.search->input("words").data;
  CHECK(tokens[0] == 1 && tokens[1] == 0 && words[4] == 1);
  for (int n = 1; n <= 5; ++n) {
    CHECK(rig.tracker->update(rig.frame()).ok);
    CHECK(rig.tracker->frame_index() == n);
  }
  CHECK(rig.embed->runs == 1 && rig.search->runs == 5);
  rig.tracker->init(rig.frame(), start);
  CHECK(tokens[0] == 2 && words[4] == 2);
  CHECK(rig.tracker->frame_index() == 0);
}

void boxes_are_those_of_the_formula() {
  Rig rig;
  rig.tracker->init(rig.frame(), start);
  const Result result = rig.tracker->update(rig.frame());
  // The crop's side is ceil(sqrt(480) * 4) = 88 frame pixels around (72, 60); the target is its middle quarter.
  CHECK_NEAR(result.box.w, 22, 1e-6);
  CHECK_NEAR(result.box.h, 22, 1e-6);
  CHECK_NEAR(result.box.x, 72 - 11, 1e-6);
  CHECK_NEAR(result.box.y, 60 - 11, 1e-6);
  CHECK(result.score == 0.75 && rig.tracker->raw_score() == 0.75 && result.state == State::tracking);
  const auto corners = rig.tracker->corners();
  CHECK(corners[0] == 0.375 && corners[1] == 0.375 && corners[2] == 0.625 && corners[3] == 0.625);
  const auto leads = rig.tracker->leads();
  CHECK_NEAR(leads[0], 0.75, 0.02);  // the window is nearly 1 there, and all else is 0
  CHECK(leads[0] == leads[3]);
}

void boxes_keep_inside_the_frame() {
  for (const auto& [x, y] : {std::pair{0, 0}, std::pair{15, 0}, std::pair{0, 15}, std::pair{15, 15}}) {
    Rig corner;
    corner.search->output("score").data[corner.cell(8, 8)] = 0;
    corner.mark(corner.cell(x, y), 0.9F);
    corner.tracker->init(corner.frame(), start);
    Box box;
    for (int n = 0; n < 20; ++n) box = corner.tracker->update(corner.frame()).box;
    CHECK(box.x == (x == 0 ? 0 : frame_width - box.w) && box.y == (y == 0 ? 0 : frame_height - box.h));
    CHECK(box.w >= 10 && box.h >= 10);
  }
}

void a_frame_narrower_than_the_margin_is_covered() {
  Rig rig;
  const ImageView strip = packed_view(rig.pixels.data(), 6, 120, PixelFormat::bgr, frame_width * 3);
  rig.tracker->init(strip, Box{1, 40, 3, 20});
  for (int n = 0; n < 5; ++n) {
    const Box box = rig.tracker->update(strip).box;
    CHECK(box.x == 0 && box.w == 6 && box.y >= 0 && box.y + box.h <= 120);
  }
}

void candidates_are_peaks_best_first() {
  Rig rig;
  CHECK(rig.tracker->candidates(3).empty());
  rig.tracker->init(rig.frame(), start);
  CHECK(rig.tracker->candidates(3).empty());
  rig.mark(rig.cell(3, 8), 0.99F);  // a higher score, but the window is low there
  rig.mark(rig.cell(8, 9), 0.5F);   // no peak: beside the best
  rig.mark(rig.cell(12, 12), 0.25F);
  const Result result = rig.tracker->update(rig.frame());
  const auto found = rig.tracker->candidates(10);
  CHECK(found.size() >= 3);  // more: cells without a score are equal, and the first of them counts
  CHECK(same(found[0].box, result.box) && found[0].raw_score == 0.75);
  CHECK_NEAR(found[1].raw_score, 0.99, 1e-7);
  CHECK_NEAR(found[1].box.x, result.box.x - 5.0 * 88 / 16, 1e-4);
  CHECK(found[2].raw_score == 0.25);
  CHECK(rig.tracker->candidates(1).size() == 1 && rig.tracker->candidates(2).size() == 2);
  CHECK(rig.tracker->candidates(std::numeric_limits<int>::max()).size() >= found.size());
  rig.tracker->set_state(Box{5, 5, 30, 30});
  CHECK(same(rig.tracker->candidates(1)[0].box, result.box));  // they belong to the frame that was seen
  for (const int k : {0, -1}) CHECK_THROWS(rig.tracker->candidates(k), InputError);
  const std::vector<std::uint8_t> black(rig.pixels.size(), 0);
  rig.tracker->update(frame_of(black));
  CHECK(rig.tracker->candidates(3).empty());
  rig.tracker->update(rig.frame());
  CHECK(!rig.tracker->candidates(3).empty());
  rig.tracker->reset();
  CHECK(rig.tracker->candidates(3).empty());
}

void steady_updates_allocate_nothing() {
  Rig rig;
  rig.tracker->init(rig.frame(), start);
  rig.tracker->update(rig.frame());
  const std::size_t before = allocation_count;
  for (int n = 0; n < 100; ++n) CHECK(rig.tracker->update(rig.frame()).ok);
  CHECK(allocation_count == before);
}

void a_throwing_engine_leaves_the_loop_consistent() {
  Rig rig;
  Rig twin;
  for (Rig* each : {&rig, &twin}) {
    each->tracker->init(each->frame(), start);
    for (int n = 0; n < 3; ++n) each->tracker->update(each->frame());
  }
  const Box box = rig.tracker->raw_box();
  rig.search->network = [] { throw std::runtime_error("device gone"); };
  CHECK_THROWS(rig.tracker->update(rig.frame()), std::runtime_error);
  CHECK(same(rig.tracker->raw_box(), box) && rig.tracker->frame_index() == 3);
  CHECK(rig.tracker->candidates(1).empty());
  CHECK(rig.tracker->maps().score == nullptr && std::isnan(rig.tracker->corners()[0]));
  rig.search->network = nullptr;
  CHECK(same(rig.tracker->update(rig.frame()).box, twin.tracker->update(twin.frame()).box));

  const auto network = std::exchange(rig.embed->network, [] { throw std::runtime_error("device gone"); });
  CHECK_THROWS(rig.tracker->init(rig.frame(), Box{0, 0, 50, 50}), std::runtime_error);
  CHECK(rig.search->input("tokens").data[0] == 1);  // the old target's
  CHECK(same(rig.tracker->update(rig.frame()).box, twin.tracker->update(twin.frame()).box));
}

void guards_report_lost_and_touch_nothing() {
  Rig rig;
  rig.tracker->init(rig.frame(), start);
  rig.tracker->update(rig.frame());
  const Box box = rig.tracker->result().box;
  const auto check_unseen = [&](const ImageView& frame) {
    const Result result = rig.tracker->update(frame);
    CHECK(!result.ok && result.state == State::lost && result.score == 0);
    CHECK(same(result.box, box) && same(rig.tracker->raw_box(), box));
    CHECK(rig.tracker->frame_index() == 1);
    CHECK(rig.tracker->candidates(1).empty());
  };
  const std::vector<std::uint8_t> black(rig.pixels.size(), 0);
  check_unseen(frame_of(black));
  CHECK(rig.search->runs == 1);
  for (const char* name : {"score", "size", "offset"}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      float& value = rig.search->output(name).data[7];
      const float good = std::exchange(value, bad);
      check_unseen(rig.frame());
      CHECK(std::isnan(rig.tracker->corners()[2]) && std::isnan(rig.tracker->leads()[2]));
      value = good;
    }
  }
  float& offset = rig.search->output("offset").data[rig.cell(8, 8)];
  const float good = std::exchange(offset, 3e38F);  // finite, but not in pixels
  check_unseen(rig.frame());
  offset = good;
  CHECK(rig.tracker->update(rig.frame()).ok);
}

void init_refuses_a_template_that_is_not_finite() {
  for (const char* name : {"tokens", "words"}) {
    Rig rig;
    rig.embed->network = [out = rig.embed->output(name).data] { out[3] = std::numeric_limits<float>::infinity(); };
    CHECK_THROWS(rig.tracker->init(rig.frame(), start), ArtifactError);
    CHECK(!rig.tracker->started());
  }
}

void lost_frames_keep_the_last_box_but_the_loop_goes_on() {
  CentreHeadSpec spec;
  spec.score.uncertain_below = 0.8;
  spec.score.lost_below = 0.5;
  Rig rig(spec);
  rig.tracker->init(rig.frame(), start);
  CHECK(rig.tracker->update(rig.frame()).state == State::uncertain);
  const Box box = rig.tracker->result().box;
  rig.search->output("score").data[rig.cell(8, 8)] = 0;
  rig.mark(rig.cell(9, 8), 0.4F);
  const Result lost = rig.tracker->update(rig.frame());
  CHECK(!lost.ok && lost.state == State::lost && same(lost.box, box));
  CHECK_NEAR(lost.score, 0.4, 1e-7);
  CHECK(rig.tracker->raw_box().x > box.x && rig.tracker->frame_index() == 2);
  CHECK(rig.tracker->candidates(1).size() == 1);
}

void scores_keep_within_bounds() {
  Rig rig;
  rig.tracker->init(rig.frame(), start);
  rig.search->output("score").data[rig.cell(8, 8)] = 7;
  CHECK(rig.tracker->update(rig.frame()).score == 1);
  CHECK(rig.tracker->raw_score() == 7);
}

void wrong_calls_are_refused() {
  Rig rig;
  CHECK_THROWS(rig.tracker->update(rig.frame()), InputError);
  CHECK_THROWS(rig.tracker->set_state(start), InputError);
  CHECK_THROWS(rig.tracker->init(rig.frame(), Box{1000, 0, 5, 5}), InputError);
  CHECK_THROWS(rig.tracker->init(ImageView{}, start), InputError);
  rig.tracker->init(rig.frame(), start);
  CHECK_THROWS(rig.tracker->update(packed_view(rig.pixels.data(), 80, 60, PixelFormat::bgr)), InputError);
  CHECK_THROWS(rig.tracker->set_state(Box{0, 0, std::nan(""), 1}), InputError);
  rig.tracker->reset();
  CHECK_THROWS(rig.tracker->update(rig.frame()), InputError);
}

void wrong_specs_and_graphs_are_refused() {
  const Rig rig;
  const auto refused = [&](const CentreHeadSpec& spec) {
    CHECK_THROWS(CentreHeadTracker(spec, rig.embed, rig.search), ArtifactError);
  };
  CentreHeadSpec spec;
  for (const int grid : {0, 15, 2000}) {
    spec.grid = grid;
    refused(spec);
  }
  spec = {};
  spec.clip_margin_px = 0;
  refused(spec);
  spec = {};
  spec.template_size = 112;
  refused(spec);
  CHECK_THROWS(CentreHeadTracker({}, nullptr, rig.search), ArtifactError);
  CHECK_THROWS(CentreHeadTracker({}, rig.embed, nullptr), ArtifactError);
  CHECK_THROWS(CentreHeadTracker({}, rig.search, rig.embed), ArtifactError);

  const auto with_template = [&](const std::function<void(FakeGraph&)>& change) {
    auto graph = std::make_shared<FakeGraph>();
    graph->add_input("image", {1, 3, 128, 128});
    change(*graph);
    CHECK_THROWS(CentreHeadTracker({}, graph, rig.search), ArtifactError);
  };
  with_template([](FakeGraph&) {});
  with_template([](FakeGraph& graph) { graph.add_output("tokens", tokens_shape); });
  with_template([](FakeGraph& graph) {
    graph.add_output("tokens", tokens_shape);
    graph.add_output("words", {1, 6});
  });
  with_template([](FakeGraph& graph) {
    graph.add_output("tokens", tokens_shape);
    graph.add_output("words", words_shape);
    graph.add_output("more", {1});
  });
}

// A tracker whose search graph has two inputs besides that are told.
struct ToldRig {
  ToldRig() : embed(template_graph(spec)), search(search_graph(spec)), pixels(textured_pixels()) {
    spec.told = {"key", "value"};
    search->add_input("key", {1, 2, 3});
    search->add_input("value", {4});
    search->output("score").data[136] = 0.5F;
    tracker = std::make_unique<CentreHeadTracker>(spec, embed, search);
  }

  ImageView frame() const { return frame_of(pixels); }
  float* at(const char* name) const { return search->input(name).data; }

  CentreHeadSpec spec;
  std::shared_ptr<FakeGraph> embed, search;
  std::vector<std::uint8_t> pixels;
  std::unique_ptr<CentreHeadTracker> tracker;
};

const std::vector<float> key{1, 2, 3, 4, 5, 6};
const std::vector<float> value{7, 8, 9, 10};

void what_is_told_reaches_the_search_graph_and_stays() {
  ToldRig rig;
  rig.tracker->set_told("key", key.data(), key.size());
  rig.tracker->set_told("value", value.data(), value.size());
  CHECK(rig.tracker->is_told());
  rig.tracker->init(rig.frame(), start);
  CHECK(rig.tracker->update(rig.frame()).ok);
  CHECK(rig.at("key")[5] == 6 && rig.at("value")[0] == 7);
  rig.tracker->reset();
  CHECK(rig.tracker->is_told());
  rig.tracker->init(rig.frame(), start);
  rig.tracker->set_told("value", key.data(), value.size());
  CHECK(rig.at("value")[0] == 1 && rig.tracker->update(rig.frame()).ok);
}

void nothing_is_tracked_before_all_is_told() {
  ToldRig rig;
  rig.tracker->init(rig.frame(), start);
  rig.tracker->set_told("key", key.data(), key.size());
  CHECK(!rig.tracker->is_told());
  CHECK_THROWS(rig.tracker->update(rig.frame()), InputError);
  CHECK(rig.search->runs == 0 && rig.tracker->frame_index() == 0);
  rig.tracker->set_told("value", value.data(), value.size());
  CHECK(rig.tracker->update(rig.frame()).ok);
}

void what_cannot_be_told_is_refused() {
  ToldRig rig;
  rig.tracker->set_told("key", key.data(), key.size());
  CHECK_THROWS(rig.tracker->set_told("other", key.data(), key.size()), InputError);
  CHECK_THROWS(rig.tracker->set_told("key", key.data(), 5), InputError);
  CHECK_THROWS(rig.tracker->set_told("key", nullptr, 6), InputError);
  const std::vector<float> bad(6, std::numeric_limits<float>::quiet_NaN());
  CHECK_THROWS(rig.tracker->set_told("key", bad.data(), bad.size()), InputError);
  CHECK(rig.at("key")[0] == 1);
  CentreHeadSpec spec;
  spec.told = {"search"};
  CHECK_THROWS(CentreHeadTracker(spec, template_graph(spec), search_graph(spec)), ArtifactError);
  spec.told = {"absent"};
  CHECK_THROWS(CentreHeadTracker(spec, template_graph(spec), search_graph(spec)), ArtifactError);
}

// A tracker with three template slots and a state of four values, to each of which the network adds 1.
struct SlotRig {
  SlotRig() : embed(template_graph(spec)), search(std::make_shared<FakeGraph>()), pixels(textured_pixels()) {
    spec.slots = {3, 2, 0.5, 4};
    spec.told = {"carry"};
    spec.state = {"carry_next", "carry", 2};
    search->add_input("search", {1, 3, spec.search_size, spec.search_size});
    search->add_input("tokens", {1, 3 * 64, 8});
    search->add_input("words", {1, 3 * 5});
    search->add_input("carry", {1, 4});
    search->add_output("carry_next", {1, 4});
    search->add_output("score", {1, 1, spec.grid, spec.grid});
    search->add_output("size", {1, 2, spec.grid, spec.grid});
    search->add_output("offset", {1, 2, spec.grid, spec.grid});
    search->output("score").data[136] = 0.75F;
    for (const std::size_t at : {136U, 136U + 256U}) search->output("size").data[at] = 0.25F;
    search->network = [from = search->input("carry").data, to = search->output("carry_next").data] {
      for (int i = 0; i < 4; ++i) to[i] = from[i] + 1;
    };
    embed->network = [this, tokens = embed->output("tokens").data, words = embed->output("words").data] {
      tokens[0] = words[0] = static_cast<float>(embed->runs);
    };
    tracker = std::make_unique<CentreHeadTracker>(spec, embed, search);
    tracker->set_told("carry", begins.data(), begins.size());
    tracker->init(frame(), start);
  }

  ImageView frame() const { return frame_of(pixels); }
  float shown(int slot) const { return search->input("tokens").data[slot * 64 * 8]; }

  const std::vector<float> begins{10, 20, 30, 40};
  CentreHeadSpec spec;
  std::shared_ptr<FakeGraph> embed, search;
  std::vector<std::uint8_t> pixels;
  std::unique_ptr<CentreHeadTracker> tracker;
};

void slots_are_renewed_and_the_state_is_handed_on() {
  SlotRig rig;
  CHECK(rig.shown(0) == 1 && rig.shown(1) == 1 && rig.shown(2) == 1);
  for (int n = 1; n <= 4; ++n) {
    CHECK(rig.tracker->update(rig.frame()).ok);
    CHECK(rig.tracker->state()[3] == 40 + static_cast<float>(n));
  }
  // Frame 2 filled both slots with one run, frame 4 the newest; the middle one still shows frame 2.
  CHECK(rig.embed->runs == 3 && rig.shown(0) == 1 && rig.shown(1) == 2 && rig.shown(2) == 3);
  CHECK(rig.search->input("words").data[10] == 3);
  const std::vector<float> other{1, 2, 3, 4};
  rig.tracker->set_told("carry", other.data(), other.size());
  CHECK(rig.tracker->state() == std::vector<float>({14, 24, 3, 4}));  // what was seen stays
  rig.tracker->init(rig.frame(), start);
  CHECK(rig.tracker->state() == other && rig.shown(2) == rig.shown(0));
}

void a_state_that_is_not_finite_counts_as_not_seen() {
  SlotRig rig;
  rig.tracker->update(rig.frame());
  const std::vector<float> before = rig.tracker->state();
  const auto network = std::exchange(rig.search->network, [to = rig.search->output("carry_next").data] {
    to[2] = std::numeric_limits<float>::infinity();
  });
  CHECK(rig.tracker->update(rig.frame()).state == State::lost);
  CHECK(rig.tracker->state() == before && rig.tracker->frame_index() == 1 && rig.embed->runs == 1);
  rig.search->network = network;
  CHECK(rig.tracker->update(rig.frame()).ok && rig.tracker->frame_index() == 2);
}

void renewing_templates_allocates_nothing() {
  SlotRig rig;
  for (int n = 0; n < 4; ++n) rig.tracker->update(rig.frame());
  const std::size_t before = allocation_count;
  for (int n = 0; n < 100; ++n) CHECK(rig.tracker->update(rig.frame()).ok);
  CHECK(allocation_count == before);
  CHECK(rig.tracker->slots().stored() <= 4 && rig.tracker->slots().shown(2) == 104);
}

}  // namespace

int main() {
  slots_are_renewed_and_the_state_is_handed_on();
  a_state_that_is_not_finite_counts_as_not_seen();
  renewing_templates_allocates_nothing();
  what_is_told_reaches_the_search_graph_and_stays();
  nothing_is_tracked_before_all_is_told();
  what_cannot_be_told_is_refused();
  the_template_reaches_the_search_graph_once_per_target();
  boxes_are_those_of_the_formula();
  boxes_keep_inside_the_frame();
  a_frame_narrower_than_the_margin_is_covered();
  candidates_are_peaks_best_first();
  steady_updates_allocate_nothing();
  a_throwing_engine_leaves_the_loop_consistent();
  guards_report_lost_and_touch_nothing();
  init_refuses_a_template_that_is_not_finite();
  lost_frames_keep_the_last_box_but_the_loop_goes_on();
  scores_keep_within_bounds();
  wrong_calls_are_refused();
  wrong_specs_and_graphs_are_refused();
  return failures;
}
