// The vision-language margin by itself; that its numbers are the published ones is tested from Python.
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/margin_gate.hpp"

namespace {

using namespace edgetrack;

// Four boxes in a row: the first two overlap by a third, the others stand alone.
struct Row {
  std::vector<float> cls{0.1F, 0.8F, 0.3F, 0.2F};
  std::vector<float> boxes{0.2F, 0.5F, 0.2F, 0.2F, 0.3F, 0.5F, 0.2F, 0.2F,
                           0.6F, 0.5F, 0.1F, 0.2F, 0.9F, 0.5F, 0.1F, 0.2F};
  std::vector<float> sims{0.5F, 0.4F, 0.1F, -0.2F};

  Candidates view() const { return {cls.data(), boxes.data(), sims.data()}; }
};

GateSpec agreement(double tau, double psi) { return {1, tau, 0, 0, psi}; }

void margins_compare_with_the_best_elsewhere() {
  const Row row;
  MarginGate strict(agreement(0.05, 0), 4);
  CHECK(strict.read(row.view()));
  CHECK_NEAR(strict.margins()[0], std::tanh(0.5 - 0.1), 1e-7);  // the second overlaps it
  CHECK_NEAR(strict.margins()[1], std::tanh(0.4 - 0.1), 1e-7);
  CHECK_NEAR(strict.margins()[2], std::tanh(0.1 - 0.5), 1e-7);
  CHECK(strict.selected() == 2 && strict.best() == 1);  // of the two, the head prefers the second
  MarginGate lenient(agreement(0.05, 0.4), 4);
  CHECK(lenient.read(row.view()));
  CHECK_NEAR(lenient.margins()[0], std::tanh(0.5 - 0.4), 1e-7);
  CHECK(lenient.selected() == 1 && lenient.best() == 0);
}

void nobody_trusted_means_the_best_of_all() {
  const Row row;
  MarginGate gate(agreement(0.9, 0), 4);
  CHECK(gate.read(row.view()));
  CHECK(gate.selected() == 0 && gate.best() == 1);
  CHECK_NEAR(gate.lead(), 0.5, 1e-6);  // the third scores 0.3; all are further from the threshold
}

void leads_are_the_least_change() {
  const Row row;
  MarginGate gate(agreement(0.05, 0), 4);
  CHECK(gate.read(row.view()));
  CHECK_NEAR(gate.lead(), std::tanh(0.3) - 0.05, 1e-6);  // the second falls out before the first overtakes it
  MarginGate single(agreement(0, 0), 1);
  CHECK(single.read(row.view()));
  CHECK(single.margins()[0] == 0 && single.selected() == 1 && single.lead() == 0);
}

void a_box_that_overlaps_all_others_is_compared_with_the_least() {
  Row row;
  row.boxes = {0.5F, 0.5F, 1, 1, 0.3F, 0.5F, 0.2F, 0.2F, 0.6F, 0.5F, 0.1F, 0.2F, 0.9F, 0.5F, 0.1F, 0.2F};
  MarginGate gate(agreement(0, 0), 4);
  CHECK(gate.read(row.view()));
  CHECK_NEAR(gate.margins()[0], std::tanh(0.5 + 0.2), 1e-7);
}

void the_past_is_remembered_only_when_told() {
  const Row row;
  Row later;
  later.sims = {0.1F, 0.9F, 0.1F, -0.2F};
  MarginGate gate({1, 0.3, 0.5, 0.25, 0}, 4);
  CHECK(gate.read(row.view()) && gate.confidences()[1] == gate.margins()[1]);
  const float first = gate.margins()[1];
  gate.remember();
  for (int n = 0; n < 3; ++n) {  // reading again changes nothing
    CHECK(gate.read(later.view()));
    const float now = gate.margins()[1];
    CHECK_NEAR(gate.memory()[1], 0.75F * now + 0.25F * first, 1e-7);
    CHECK_NEAR(gate.confidences()[1], 0.5F * now + 0.5F * gate.memory()[1], 1e-7);
  }
  gate.forget();
  CHECK(gate.read(later.view()) && gate.memory()[1] == gate.margins()[1]);
}

void another_spec_judges_from_the_next_frame_on() {
  const Row row;
  MarginGate gate(agreement(0.05, 0), 4);
  CHECK(gate.read(row.view()) && gate.selected() == 2);
  const double lead = gate.lead();
  gate.set_spec({1, 0.9, 0.5, 0.25, 0});
  CHECK(gate.selected() == 2 && gate.lead() == lead);  // what was said of the last frame stands
  gate.remember();
  const float first = gate.margins()[1];
  Row later;
  later.sims = {0.1F, 0.9F, 0.1F, -0.2F};
  CHECK(gate.read(later.view()) && gate.selected() == 0);
  CHECK_NEAR(gate.memory()[1], 0.75F * gate.margins()[1] + 0.25F * first, 1e-7);
  CHECK_THROWS(gate.set_spec({1, 0.9, 0.5, 1.25, 0}), ArtifactError);
  CHECK(gate.spec().lambda == 0.25);
}

void numbers_that_are_not_finite_are_refused() {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (int which = 0; which < 3; ++which) {
      Row row;
      (which == 0 ? row.cls : which == 1 ? row.boxes : row.sims).back() = bad;
      MarginGate gate({}, 4);
      CHECK(!gate.read(row.view()));
    }
  }
}

void wrong_specs_are_refused() {
  const double nan = std::nan("");
  for (const GateSpec& spec : {GateSpec{1.5, 0, 0, 0, 0}, GateSpec{1, 1.5, 0, 0, 0}, GateSpec{1, 0, -1, 0, 0},
                               GateSpec{1, 0, 0, 2, 0}, GateSpec{1, 0, 0, 0, 1.1}, GateSpec{nan, 0, 0, 0, 0}}) {
    CHECK_THROWS(MarginGate(spec, 4), ArtifactError);
  }
}

void a_frame_allocates_nothing() {
  const Row row;
  MarginGate gate({}, 4);
  const std::size_t before = allocation_count;
  for (int n = 0; n < 10; ++n) {
    CHECK(gate.read(row.view()));
    gate.remember();
  }
  CHECK(allocation_count == before);
}

}  // namespace

int main() {
  margins_compare_with_the_best_elsewhere();
  nobody_trusted_means_the_best_of_all();
  leads_are_the_least_change();
  a_box_that_overlaps_all_others_is_compared_with_the_least();
  the_past_is_remembered_only_when_told();
  another_spec_judges_from_the_next_frame_on();
  numbers_that_are_not_finite_are_refused();
  wrong_specs_are_refused();
  a_frame_allocates_nothing();
  return failures;
}
