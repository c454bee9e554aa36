// What every tracking loop offers, whatever its family.
#pragma once

#include "edgetrack/geometry.hpp"
#include "edgetrack/image.hpp"

namespace edgetrack {

// How far a result can be trusted. The values are part of the Python and C interfaces.
enum class State {
  tracking = 0,
  uncertain = 1,  // a box is given, but the score is low
  lost = 2,       // no box: the last one that was given still stands
};

// What one frame gave.
struct Result {
  bool ok = false;   // state is not lost
  Box box;           // in frame pixels; the last box that was ok when this one is not
  double score = 0;  // confidence in [0, 1]
  State state = State::lost;
};

// Where the time of the last update went, in milliseconds.
struct Timings {
  double crop_ms = 0;    // cutting, resizing and normalising
  double run_ms = 0;     // inside Graph::run
  double decode_ms = 0;  // from network outputs to a box and a score
  double memory_ms = 0;  // moving templates in and out of the memory
  double total_ms = 0;   // the whole call
};

// A single-object tracker: one target, one video. Used by one thread at a time.
class Tracker {
 public:
  Tracker() = default;
  Tracker(const Tracker&) = delete;
  Tracker& operator=(const Tracker&) = delete;
  virtual ~Tracker() = default;

  // Starts on `box` in `frame`, forgetting any earlier target. Throws InputError when the frame or box cannot
  // be used; whatever is thrown, the tracker then stands as before the call.
  virtual void init(const ImageView& frame, const Box& box) = 0;

  // Starts without a box, for trackers that are told otherwise what to look for: none has been found yet, so the result
  // is lost, and its box the whole frame. Throws InputError also where the tracker needs a box.
  virtual void init(const ImageView& frame) = 0;

  // Follows the target into the next frame, of the init frame's size and any pixel format. Throws InputError
  // when the frame cannot be used or there was no init; whatever is thrown, the frame then counts as not
  // seen.
  virtual Result update(const ImageView& frame) = 0;

  // Forgets the target: back to before init.
  virtual void reset() noexcept = 0;

  // Returns the last result; after init with a box: that box, ok, with score 1.
  virtual const Result& result() const noexcept = 0;

  // Returns the stages of the last update that was completed; zeros before it.
  virtual const Timings& timings() const noexcept = 0;
};

}  // namespace edgetrack
