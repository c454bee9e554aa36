// The errors the core throws on purpose. Bindings map each one to its namesake in Python's
// `edgetrack.errors`.
#pragma once

#include <stdexcept>

namespace edgetrack {

// Base of all errors thrown on purpose. The message says what was wrong, the value, and the remedy, in one
// line.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A frame, box or option that cannot be used.
class InputError : public Error {
 public:
  using Error::Error;
};

// An artifact (tracker spec, graph) that is damaged, incomplete or foreign.
class ArtifactError : public Error {
 public:
  using Error::Error;
};

// An inference engine that failed, or whose graph does not have the buffers the tracker needs.
class EngineError : public Error {
 public:
  using Error::Error;
};

}  // namespace edgetrack
