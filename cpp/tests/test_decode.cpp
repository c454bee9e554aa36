// Coordinate bins, confidences and the tokens that are kept.
#include <cmath>
#include <limits>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/decode.hpp"
#include "edgetrack/error.hpp"

namespace {

using namespace edgetrack;

constexpr int classes = 605;
constexpr int used = 600;

// Logits (4, classes) that are `low` but for one class of each coordinate.
std::vector<float> peaks(const std::array<int, 4>& where, float low, float high) {
  std::vector<float> logits(4 * classes, low);
  for (std::size_t i = 0; i < 4; ++i) logits[i * classes + static_cast<std::size_t>(where[i])] = high;
  return logits;
}

void sharp_peaks_decode_to_their_bins() {
  const std::array<int, 4> where{0, 150, 450, 599};
  const std::vector<float> logits = peaks(where, -50, 50);
  const BinDecode both = decode_bins(logits.data(), {});
  const BinDecode argmax = decode_bins(logits.data(), {300, 2, classes, false});
  CHECK(both.finite && argmax.finite && both.argmax == where && argmax.argmax == where);
  for (std::size_t i = 0; i < 4; ++i) {
    const double bin = where[i];
    CHECK_NEAR(both.corners[i], ((bin + 0.5) / 299 - 0.5 + bin / 300 - 0.5) / 2, 1e-6);
    CHECK_NEAR(argmax.corners[i], bin / 299 - 0.5, 1e-6);
    CHECK_NEAR(both.probability[i], 1, 1e-6);
  }
}

void special_classes_win_but_are_not_expected() {
  std::vector<float> logits = peaks({604, 600, 603, 601}, -50, 50);
  for (std::size_t i = 0; i < 4; ++i) logits[i * classes + 300] = 0;
  const BinDecode decoded = decode_bins(logits.data(), {});
  CHECK(decoded.argmax[0] == 604);
  CHECK_NEAR(decoded.corners[0], ((604.5 / 299 - 0.5) + 0.5) / 2, 1e-6);
}

void flat_logits_have_the_first_class_and_even_mass() {
  const std::vector<float> logits(4 * classes, 3.0f);
  const BinDecode decoded = decode_bins(logits.data(), {});
  CHECK(decoded.argmax[0] == 0);
  CHECK_NEAR(decoded.probability[0], 1.0 / classes, 1e-7);
  CHECK_NEAR(bin_mass(logits.data(), classes, used, 8).value, 9.0 / used, 1e-6);
  CHECK_NEAR(bin_mass(logits.data(), classes, used, used).value, 1, 1e-6);
}

void mass_is_a_geometric_mean_over_real_bins() {
  std::vector<float> logits = peaks({300, 300, 300, 300}, 0, 80);
  CHECK_NEAR(bin_mass(logits.data(), classes, used, 0).value, 1, 1e-6);
  logits[604] = 500;  // not a bin
  CHECK_NEAR(bin_mass(logits.data(), classes, used, 0).value, 1, 1e-6);
  logits[300] = 0;
  CHECK_NEAR(bin_mass(logits.data(), classes, used, 8).value, std::pow(9.0 / used, 0.25), 1e-6);
}

void large_logits_do_not_overflow() {
  const std::vector<float> logits = peaks({10, 20, 30, 40}, -3e38f, 3e38f);
  const BinDecode decoded = decode_bins(logits.data(), {});
  CHECK(decoded.finite);
  CHECK_NEAR(decoded.probability[3], 1, 1e-6);
  CHECK_NEAR(decoded.corners[3], (40.5 / 299 - 0.5 + 40.0 / 300 - 0.5) / 2, 1e-6);
  CHECK_NEAR(bin_mass(logits.data(), classes, used, 8).value, 1, 1e-6);
}

void numbers_that_are_not_finite_are_reported() {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t where : {std::size_t{0}, std::size_t{1300}, std::size_t{4 * classes - 1}}) {
      std::vector<float> logits(4 * classes);
      logits[where] = value;
      CHECK(!decode_bins(logits.data(), {}).finite);
      const BinMass mass = bin_mass(logits.data(), classes, used, 8);
      CHECK(!mass.finite && mass.value == 0);
    }
  }
}

void layouts_must_fit() {
  check(BinLayout{});
  check(BinLayout{2, 1, 2, false});
  for (const BinLayout& layout :
       {BinLayout{1, 2, 605, true}, BinLayout{300, 0, 605, true}, BinLayout{300, 3, 605, true},
        BinLayout{300, 2, 1 << 20, true}, BinLayout{2147483647, 2147483647, 605, true}}) {
    CHECK_THROWS(check(layout), ArtifactError);
  }
}

std::vector<int> kept(const std::vector<float>& score, int prune) {
  const int count = static_cast<int>(score.size());
  std::vector<int> out(static_cast<std::size_t>(count - prune), -1);
  keep_rows(score.data(), count, prune, out.data());
  return out;
}

void lowest_scores_go_first() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK((kept({5, 1, 4, 2, 3}, 2) == std::vector<int>{0, 2, 4}));
  CHECK((kept({1, 1, 1, 1}, 2) == std::vector<int>{2, 3}));  // equal scores: the lowest index goes
  CHECK((kept({2, 1, 2, 1, 2}, 3) == std::vector<int>{2, 4}));
  CHECK((kept({nan, 0, nan, 1}, 2) == std::vector<int>{0, 2}));
  CHECK((kept({infinity, nan, -infinity, nan}, 2) == std::vector<int>{1, 3}));
  CHECK((kept({3, 2, 1}, 0) == std::vector<int>{0, 1, 2}));
  CHECK(kept({3, 2, 1}, 3).empty());
  int unused = 0;
  const float score[2] = {0, 1};
  CHECK_THROWS(keep_rows(score, 2, 3, &unused), InputError);
  CHECK_THROWS(keep_rows(score, 2, -1, &unused), InputError);
}

void nothing_is_allocated() {
  const std::vector<float> logits(4 * classes, 1.0f);
  const std::vector<float> score(49, 1.0f);
  std::array<int, 37> out{};
  const std::size_t before = allocation_count;
  decode_bins(logits.data(), {});
  bin_mass(logits.data(), classes, used, 8);
  keep_rows(score.data(), 49, 12, out.data());
  CHECK(allocation_count == before);
}

}  // namespace

int main() {
  sharp_peaks_decode_to_their_bins();
  special_classes_win_but_are_not_expected();
  flat_logits_have_the_first_class_and_even_mass();
  mass_is_a_geometric_mean_over_real_bins();
  large_logits_do_not_overflow();
  numbers_that_are_not_finite_are_reported();
  layouts_must_fit();
  lowest_scores_go_first();
  nothing_is_allocated();
  return failures;
}
