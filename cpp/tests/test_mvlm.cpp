// MVLM's loop over graphs written in C++, without Python.
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/mvlm.hpp"
#include "fake_graph.hpp"

namespace {

MvlmSpec small(int templates) {
  MvlmSpec spec;
  spec.grid = 8;
  spec.text_tokens = 3;
  spec.channels = 4;
  spec.templates = templates;
  spec.template_tokens = 2;
  spec.update_interval = 2;
  spec.update_above = 0.5;
  spec.score = {std::nullopt, 0, 0};
  return spec;
}

// A tracker, its graphs, a sentence, and a textured frame. Of the boxes, one in each cell, one is marked.
struct Rig {
  explicit Rig(const MvlmSpec& s = small(0)) : spec(s), pixels(textured_pixels()), words(12, 0.5F) {
    const std::int64_t cells = spec.grid * spec.grid;
    search->add_input("search", {1, 3, spec.search_size, spec.search_size});
    search->add_input("text", {1, spec.text_tokens, spec.channels});
    if (spec.templates > 0) search->add_input("templates", {1, spec.templates * spec.template_tokens, spec.channels});
    search->add_output("cls", {1, cells});
    search->add_output("boxes", {1, cells, 4});
    search->add_output("sims", {1, cells});
    embed->add_input("image", {1, 3, spec.template_size, spec.template_size});
    embed->add_output("tokens", {1, spec.template_tokens, spec.channels});
    embed->network = [this, tokens = embed->output("tokens").data] { tokens[7] = static_cast<float>(embed->runs); };
    cls = search->output("cls").data;
    sims = search->output("sims").data;
    float* boxes = search->output("boxes").data;
    for (int n = 0; n < cells; ++n, boxes += 4) {
      boxes[0] = (static_cast<float>(n % spec.grid) + 0.5F) / static_cast<float>(spec.grid);
      boxes[1] = (static_cast<float>(n / spec.grid) + 0.5F) / static_cast<float>(spec.grid);
      boxes[2] = boxes[3] = 0.125F;
    }
    mark(4, 4, 0.75F, 0.5F);
    tracker = std::make_unique<MvlmTracker>(spec, spec.templates > 0 ? embed : nullptr, search);
  }

  void mark(int x, int y, float score, float sim) {
    cls[y * spec.grid + x] = score;
    sims[y * spec.grid + x] = sim;
  }

  void begin() {
    tracker->init(frame(), start);
    tracker->set_text(words.data(), words.size());
  }

  float token(int index) const { return search->input("templates").data[index]; }
  ImageView frame() const { return frame_of(pixels); }

  MvlmSpec spec;
  std::shared_ptr<FakeGraph> embed = std::make_shared<FakeGraph>();
  std::shared_ptr<FakeGraph> search = std::make_shared<FakeGraph>();
  std::vector<std::uint8_t> pixels;
  std::vector<float> words;
  float* cls = nullptr;
  float* sims = nullptr;
  std::unique_ptr<MvlmTracker> tracker;
};

bool same(const Box& a, const Box& b) { return a.x == b.x && a.y == b.y && a.w == b.w && a.h == b.h; }

void a_sentence_finds_a_target_in_the_whole_frame() {
  Rig rig;
  rig.tracker->init(rig.frame());
  CHECK(!rig.tracker->result().ok && rig.tracker->result().state == State::lost);
  CHECK(same(rig.tracker->result().box, {0, 0, frame_width, frame_height}));
  CHECK_THROWS(rig.tracker->update(rig.frame()), InputError);
  rig.tracker->set_text(rig.words.data(), rig.words.size());
  CHECK(rig.tracker->is_global() && rig.search->input("text").data[11] == 0.5F);
  const Result result = rig.tracker->update(rig.frame());
  // The middle of cell (4, 4) of 8 in a frame of 160 x 120, an eighth wide and high.
  CHECK(result.ok && rig.tracker->looked_global() && !rig.tracker->is_global());
  CHECK_NEAR(result.box.x, 90 - 10, 1e-4);
  CHECK_NEAR(result.box.y, 67.5 - 7.5, 1e-4);
  CHECK_NEAR(result.box.w, 20, 1e-4);
  CHECK_NEAR(result.box.h, 15, 1e-4);
  CHECK_NEAR(result.score, 0.5 + 0.5 * std::tanh(0.5), 1e-6);
  rig.tracker->update(rig.frame());  // local: the crop's side is ceil(sqrt(300) * 4) = 70, around the box
  CHECK(!rig.tracker->looked_global());
  CHECK_NEAR(rig.tracker->raw_box().w, 10, 1e-9);  // 70 / 8 is below the smallest size
}

void doubt_widens_the_search() {
  Rig rig;
  rig.begin();
  rig.tracker->update(rig.frame());
  CHECK(!rig.tracker->is_global() && rig.tracker->gate()->selected() == 1 && rig.tracker->chosen() == 36);
  rig.mark(4, 4, 0.75F, 0.0F);
  for (int n = 0; n < 4; ++n) rig.tracker->update(rig.frame());
  CHECK(rig.tracker->is_global() && rig.tracker->looked_global() && rig.tracker->gate()->selected() == 0);
  CHECK(rig.tracker->chosen() == 36);  // the largest score all the same
}

void templates_are_replaced_by_the_rule() {
  Rig rig(small(3));
  CHECK_THROWS(rig.tracker->init(rig.frame()), InputError);
  rig.begin();
  CHECK(!rig.tracker->is_global());
  CHECK(rig.token(7) == 1 && rig.token(15) == 1 && rig.token(23) == 1);
  rig.tracker->update(rig.frame());
  CHECK(!rig.tracker->updated() && rig.embed->runs == 1);
  rig.tracker->update(rig.frame());
  CHECK(rig.tracker->updated() && rig.embed->runs == 2);
  CHECK(rig.token(7) == 1 && rig.token(15) == 1 && rig.token(23) == 2);
  rig.tracker->update(rig.frame());
  rig.tracker->update(rig.frame());
  CHECK(rig.token(7) == 1 && rig.token(15) == 2 && rig.token(23) == 3);
  rig.mark(4, 4, 0.5F, 0.5F);  // not above the limit
  rig.tracker->update(rig.frame());
  rig.tracker->update(rig.frame());
  CHECK(!rig.tracker->updated() && rig.embed->runs == 3);
}

void guards_and_errors_touch_nothing() {
  Rig rig(small(2));
  rig.begin();
  for (int n = 0; n < 3; ++n) rig.tracker->update(rig.frame());
  const Box box = rig.tracker->raw_box();
  const auto unchanged = [&] {
    return same(rig.tracker->raw_box(), box) && rig.tracker->frame_index() == 3 && rig.token(7) == 1 &&
           rig.token(15) == 2;
  };
  const std::vector<std::uint8_t> black(rig.pixels.size(), 0);
  CHECK(rig.tracker->update(frame_of(black)).state == State::lost && unchanged() && rig.tracker->gate() == nullptr);
  for (const char* name : {"cls", "boxes", "sims"}) {
    float& value = rig.search->output(name).data[7];
    const float good = std::exchange(value, std::numeric_limits<float>::quiet_NaN());
    CHECK(rig.tracker->update(rig.frame()).state == State::lost && unchanged());
    CHECK(std::isnan(rig.tracker->corners()[0]) && std::isnan(rig.tracker->leads()[0]));
    value = good;
  }
  rig.search->network = [] { throw std::runtime_error("device gone"); };
  CHECK_THROWS(rig.tracker->update(rig.frame()), std::runtime_error);
  rig.search->network = nullptr;
  const auto network = std::exchange(rig.embed->network, [] { throw std::runtime_error("device gone"); });
  CHECK_THROWS(rig.tracker->update(rig.frame()), std::runtime_error);  // the fourth frame gives a template
  CHECK(unchanged());
  rig.embed->network = network;
  CHECK(rig.tracker->update(rig.frame()).ok && rig.tracker->updated() && rig.tracker->frame_index() == 4);
}

void sentences_are_checked() {
  Rig rig;
  rig.begin();
  rig.tracker->update(rig.frame());
  CHECK_THROWS(rig.tracker->set_text(rig.words.data(), 11), InputError);
  CHECK_THROWS(rig.tracker->set_text(nullptr, 12), InputError);
  rig.words[3] = std::numeric_limits<float>::infinity();
  CHECK_THROWS(rig.tracker->set_text(rig.words.data(), 12), InputError);
  CHECK(!rig.tracker->is_global() && rig.search->input("text").data[3] == 0.5F);
  rig.words[3] = 1;
  rig.tracker->set_text(rig.words.data(), 12);
  CHECK(rig.tracker->is_global() && rig.search->input("text").data[3] == 1);
}

void steady_updates_allocate_nothing() {
  for (const int templates : {0, 2}) {
    Rig rig(small(templates));
    rig.begin();
    rig.tracker->update(rig.frame());
    const std::size_t before = allocation_count;
    for (int n = 0; n < 40; ++n) {
      rig.mark(4, 4, 0.75F, n % 8 < 4 ? 0.5F : 0.0F);  // both views
      CHECK(rig.tracker->update(rig.frame()).ok);
    }
    CHECK(allocation_count == before);
    CHECK(templates == 0 || rig.embed->runs > 10);
  }
}

void wrong_specs_and_graphs_are_refused() {
  const Rig rig(small(2));
  CHECK_THROWS(MvlmTracker(small(2), nullptr, rig.search), ArtifactError);
  CHECK_THROWS(MvlmTracker(small(2), rig.embed, nullptr), ArtifactError);
  CHECK_THROWS(MvlmTracker(small(3), rig.embed, rig.search), ArtifactError);
  const auto refused = [&](auto change) {
    MvlmSpec spec = small(2);
    change(spec);
    CHECK_THROWS(MvlmTracker(spec, rig.embed, rig.search), ArtifactError);
  };
  refused([](MvlmSpec& spec) { spec.grid = 0; });
  refused([](MvlmSpec& spec) { spec.text_tokens = 0; });
  refused([](MvlmSpec& spec) { spec.channels = 5; });
  refused([](MvlmSpec& spec) { spec.templates = -1; });
  refused([](MvlmSpec& spec) { spec.template_tokens = 3; });
  refused([](MvlmSpec& spec) { spec.update_interval = 0; });
  refused([](MvlmSpec& spec) { spec.update_above = 2; });
  refused([](MvlmSpec& spec) { spec.gate.tau = 2; });
  refused([](MvlmSpec& spec) { spec.clip_margin_px = 0; });
}

}  // namespace

int main() {
  a_sentence_finds_a_target_in_the_whole_frame();
  doubt_widens_the_search();
  templates_are_replaced_by_the_rule();
  guards_and_errors_touch_nothing();
  sentences_are_checked();
  steady_updates_allocate_nothing();
  wrong_specs_and_graphs_are_refused();
  return failures;
}
