// The window, the peaks and the targets of centre maps.
#include <cmath>
#include <limits>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "edgetrack/centre_maps.hpp"
#include "edgetrack/error.hpp"

namespace {

using namespace edgetrack;

using Cells = std::vector<std::size_t>;

// Maps of `grid` x `grid` cells: one score everywhere, boxes of a quarter of the crop at the cells' corners.
struct Maps {
  explicit Maps(int grid, float fill = 0.5F)
      : cells(static_cast<std::size_t>(grid * grid)), score(cells, fill), size(2 * cells, 0.25F), offset(2 * cells) {}

  CentreMaps view() const { return {score.data(), size.data(), offset.data()}; }

  std::size_t cells;
  std::vector<float> score, size, offset;
};

void windows_are_symmetric_and_above_zero() {
  for (const int grid : {1, 2, 3, 16, 20, 24, 64}) {
    const CentreDecoder decoder(grid);
    const auto side = static_cast<std::size_t>(grid);
    const std::vector<float>& window = decoder.window();
    CHECK(decoder.grid() == grid && window.size() == side * side);
    for (std::size_t y = 0; y < side; ++y) {
      for (std::size_t x = 0; x < side; ++x) {
        const auto h = [&](std::size_t n) {
          return 0.5 - 0.5 * std::cos(2 * std::acos(-1.0) * static_cast<double>(n + 1) / (grid + 1));
        };
        CHECK(window[y * side + x] > 0);
        CHECK(window[y * side + x] == window[x * side + y]);
        CHECK_NEAR(window[y * side + x], h(y) * h(x), 4e-7);
      }
    }
  }
  for (const int grid : {0, -1, max_grid + 1}) CHECK_THROWS(CentreDecoder(grid), ArtifactError);
}

void the_window_decides_where_scores_are_equal() {
  CentreDecoder decoder(5);
  const Maps maps(5);
  CHECK(decoder.read(maps.view()));
  CHECK(decoder.best() == 12);
  CHECK((decoder.peaks(9) == Cells{12}));
  CHECK(decoder.response(12) == decoder.window()[12] * 0.5F && decoder.score(12) == 0.5F);
}

void equal_responses_go_to_the_first_cell() {
  CentreDecoder decoder(4);
  Maps maps(4, 0);
  CHECK(decoder.read(maps.view()));
  CHECK(decoder.best() == 0);
  CHECK(decoder.lead() == 0);
  CHECK((decoder.peaks(20) == Cells{0}));  // each other cell has an equal one before it
  maps.score[3] = maps.score[12] = 0.5F;   // two corners, whose window is the same but for a rounding
  CHECK(decoder.read(maps.view()));
  CHECK(decoder.response(3) == decoder.response(12));
  CHECK(decoder.best() == 3);
  CHECK(decoder.lead() == 0);
  CHECK((decoder.peaks(2) == Cells{3, 12}));
}

void peaks_are_apart_and_best_first() {
  CentreDecoder decoder(8);
  Maps maps(8, 0);
  maps.score[2 * 8 + 2] = 0.6F;
  maps.score[2 * 8 + 3] = 0.2F;  // beside a better one
  maps.score[5 * 8 + 5] = 0.9F;
  maps.score[5 * 8 + 2] = 0.7F;
  CHECK(decoder.read(maps.view()));
  CHECK((decoder.peaks(3) == Cells{45, 42, 18}));
  CHECK((decoder.peaks(1) == Cells{45}));
  CHECK(decoder.peaks(0).empty());
  CHECK(decoder.best() == 45);
  CHECK(decoder.lead() == decoder.response(45) - decoder.response(42));
}

void targets_are_read_at_their_cell() {
  CentreDecoder decoder(16);
  Maps maps(16);
  const std::size_t cell = 6 * 16 + 9;
  maps.offset[cell] = 0.5F;
  maps.offset[256 + cell] = -1.25F;  // offsets may leave their cell
  maps.size[cell] = 0.3F;
  maps.size[256 + cell] = 0.125F;
  CHECK(decoder.read(maps.view()));
  const auto target = decoder.target(cell);
  CHECK(target[0] == 9.5F / 16 && target[1] == 4.75F / 16 && target[2] == 0.3F && target[3] == 0.125F);
}

void a_single_cell_is_a_grid_too() {
  CentreDecoder decoder(1);
  const Maps maps(1);
  CHECK(decoder.read(maps.view()));
  CHECK(decoder.best() == 0 && std::isinf(decoder.lead()));
  CHECK((decoder.peaks(5) == Cells{0}));
}

void values_that_are_not_finite_are_noticed_anywhere() {
  CentreDecoder decoder(16);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    Maps maps(16);
    for (std::vector<float>* map : {&maps.score, &maps.size, &maps.offset}) {
      for (const std::size_t where : {std::size_t{0}, map->size() / 2, map->size() - 1}) {
        const float good = (*map)[where];
        (*map)[where] = bad;
        CHECK(!decoder.read(maps.view()));
        (*map)[where] = good;
        CHECK(decoder.read(maps.view()));
      }
    }
  }
}

void reading_allocates_nothing() {
  CentreDecoder decoder(24);
  const Maps maps(24);
  const std::size_t before = allocation_count;
  CHECK(decoder.read(maps.view()));
  decoder.target(decoder.best());
  decoder.lead();
  CHECK(allocation_count == before);
}

}  // namespace

int main() {
  windows_are_symmetric_and_above_zero();
  the_window_decides_where_scores_are_equal();
  equal_responses_go_to_the_first_cell();
  peaks_are_apart_and_best_first();
  targets_are_read_at_their_cell();
  a_single_cell_is_a_grid_too();
  values_that_are_not_finite_are_noticed_anywhere();
  reading_allocates_nothing();
  return failures;
}
