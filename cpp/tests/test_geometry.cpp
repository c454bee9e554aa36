// Windows, mapping and clipping.
#include <array>
#include <limits>

#include "check.hpp"
#include "edgetrack/error.hpp"
#include "edgetrack/geometry.hpp"

namespace {

using namespace edgetrack;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

bool is(const CropWindow& window, int x1, int y1, int side) {
  return window.x1 == x1 && window.y1 == y1 && window.side == side;
}

void check_equal(const Box& box, const Box& wanted) {
  CHECK_NEAR(box.x, wanted.x, 1e-9);
  CHECK_NEAR(box.y, wanted.y, 1e-9);
  CHECK_NEAR(box.w, wanted.w, 1e-9);
  CHECK_NEAR(box.h, wanted.h, 1e-9);
}

void windows_round_as_published() {
  CHECK(is(crop_window({10, 20, 16, 16}, 2), 2, 12, 32));
  CHECK(is(crop_window({10, 20, 16, 9}, 4), -6, 0, 48));       // centre (18, 24.5): 0.5 goes to 0
  CHECK(is(crop_window({0, 3, 1, 1}, 2), 0, 2, 2));            // -0.5 goes to 0, 2.5 to 2
  CHECK(is(crop_window({2, -3, 1, 1}, 2), 2, -4, 2));          // 1.5 goes to 2, -3.5 to -4
  CHECK(is(crop_window({0, 0, 10.001, 10}, 2), -5, -6, 21));   // the side is rounded up
  CHECK(is(crop_window({0.6, 0.6, 1e-6, 1e-6}, 2), 0, 0, 1));  // at least one pixel
}

void windows_stay_within_integers() {
  const CropWindow far = crop_window({-9e8, 9e8, 3, 3}, 4);
  CHECK(is(far, -900000004, 899999996, 12));
  CHECK(crop_window({-2e8, -2e8, 2.5e8, 2.5e8}, 4).side == max_window_coordinate);
  for (const Box& box : {Box{0, 0, 3e8, 3e8}, Box{2e9, 0, 1, 1}, Box{0, -1e300, 1, 1}, Box{0, 0, 1e300, 1e300},
                         Box{0, 0, 1e17, 1e-9}, Box{0, 0, 5e-324, 5e-324}}) {
    CHECK_THROWS(crop_window(box, 4), InputError);
  }
  for (const double factor : {0.0, -1.0, nan, infinity}) {
    CHECK_THROWS(crop_window({0, 0, 5, 5}, factor), InputError);
  }
}

void mapping_moves_scales_and_keeps_inverted_corners() {
  const Box state{100, 50, 40, 20};
  check_equal(map_box({0, 0, 1, 1}, state, 2, 200), {70, 10, 100, 100});
  check_equal(map_box({0.25, 0.5, 0.5, 0.75}, state, 2, 200), {95, 60, 25, 25});
  check_equal(map_box({0.5, 0.75, 0.25, 0.5}, state, 2, 200), {120, 85, -25, -25});
}

void clipping_follows_the_published_order() {
  check_equal(clip_box({20, 30, 40, 50}, 360, 480, 10), {20, 30, 40, 50});
  check_equal(clip_box({-20, -30, 25, 25}, 360, 480, 10), {0, 0, 10, 10});
  check_equal(clip_box({475, 355, 50, 50}, 360, 480, 10), {470, 350, 10, 10});
  check_equal(clip_box({100, 100, -40, -40}, 360, 480, 10), {100, 100, 10, 10});
  check_equal(clip_box({-1000, -1000, 5000, 5000}, 360, 480, 10), {0, 0, 480, 360});
  // Where the frame is smaller than the margin, the box is the frame.
  check_equal(clip_box({1, 1, 1, 1}, 4, 4, 10), {0, 0, 4, 4});
  check_equal(clip_box({100, -9, 1, 1}, 4, 480, 10), {100, 0, 10, 4});
}

void boxes_must_touch_the_frame() {
  check_box({0, 0, 5, 5}, 100, 50);
  check_box({-4.9, -4.9, 5, 5}, 100, 50);
  check_box({99.9, 49.9, 500, 500}, 100, 50);
  for (const Box& box :
       {Box{-5, 0, 5, 5}, Box{0, -5, 5, 5}, Box{100, 0, 5, 5}, Box{0, 50, 5, 5}, Box{0, 0, 0, 5}, Box{0, 0, 5, -1},
        Box{nan, 0, 5, 5}, Box{0, infinity, 5, 5}, Box{0, 0, nan, 5}, Box{-infinity, 0, infinity, 5}}) {
    CHECK_THROWS(check_box(box, 100, 50), InputError);
  }
}

}  // namespace

int main() {
  windows_round_as_published();
  windows_stay_within_integers();
  mapping_moves_scales_and_keeps_inverted_corners();
  clipping_follows_the_published_order();
  boxes_must_touch_the_frame();
  return failures;
}
