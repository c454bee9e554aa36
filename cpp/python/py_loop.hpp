// What Python sees of every family's tracking loop.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>

#include "edgetrack/crop_loop.hpp"

namespace edgetrack::python {

using Quad = std::tuple<double, double, double, double>;

inline Quad quad_of(const Box& box) { return {box.x, box.y, box.w, box.h}; }

// The Python face of a CropLoop. Small values are copied after every call, with the GIL held, so that another
// thread (a display, say) may read them while a frame is being tracked; everything else needs the tracker to
// itself.
class PyLoop {
 public:
  PyLoop() = default;
  PyLoop(const PyLoop&) = delete;
  PyLoop& operator=(const PyLoop&) = delete;
  virtual ~PyLoop() = default;

  void init(const pybind11::object& frame, const pybind11::object& box, const std::string& color);
  std::pair<bool, Quad> update(const pybind11::object& frame, const std::string& color);
  void reset();
  void set_state(const pybind11::object& box);
  pybind11::array_t<double> corners();
  pybind11::array_t<double> leads();

  double score() const { return seen_.result.score; }
  State state() const { return seen_.result.state; }
  Quad box() const { return quad_of(seen_.result.box); }
  Quad raw_box() const { return quad_of(seen_.raw_box); }
  double raw_score() const { return seen_.raw_score; }
  std::int64_t frame_index() const { return seen_.frame_index; }
  pybind11::dict timings_ms() const;

 protected:
  // Holds the tracker for one call; a second caller gets an error instead of torn memory.
  class Lease {
   public:
    explicit Lease(PyLoop& loop);
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { busy_.clear(std::memory_order_release); }

   private:
    std::atomic_flag& busy_;
  };

  virtual CropLoop& loop() = 0;

  // Copies the small values, with the GIL held; a family with more of them adds its own.
  virtual void publish();

 private:
  struct Seen {
    Result result;
    Timings timings;
    Box raw_box;
    double raw_score = 0;
    std::int64_t frame_index = 0;
  };

  Seen seen_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace edgetrack::python
