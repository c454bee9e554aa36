// Measuring the stages of an update. Internal to the library.
#pragma once

#include <chrono>

namespace edgetrack {

// Milliseconds since the last lap.
class Stopwatch {
 public:
  double lap() {
    const auto now = Clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

}  // namespace edgetrack
