// Just enough of a test framework: each check prints where it failed and counts; main returns `failures`.
#pragma once

#include <cmath>
#include <cstdio>

namespace {

int failures = 0;

inline void report(bool passed, const char* file, int line, const char* what) {
  if (passed) return;
  if (failures < 100) ++failures;  // an exit code has eight bits
  std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
}

}  // namespace

// The condition holds.
#define CHECK(condition) report(static_cast<bool>(condition), __FILE__, __LINE__, #condition)

// Two numbers differ by no more than the tolerance (a NaN fails).
#define CHECK_NEAR(left, right, tolerance)                                                                    \
  report(std::abs(static_cast<double>(left) - static_cast<double>(right)) <= (tolerance), __FILE__, __LINE__, \
         #left " is near " #right)

// The expression throws this class or one derived from it; any other exception ends the test.
#define CHECK_THROWS(expression, error)                                \
  do {                                                                 \
    bool thrown = false;                                               \
    try {                                                              \
      static_cast<void>(expression);                                   \
    } catch (const error&) {                                           \
      thrown = true;                                                   \
    }                                                                  \
    report(thrown, __FILE__, __LINE__, #expression " throws " #error); \
  } while (false)
